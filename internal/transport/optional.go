package transport

import (
	"context"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// End is when a request is given up that the run can do without. The zero End is
// that of a request which the run needs.
type End int

const (
	AtOnce   End = iota + 1 // when it fails as it alone may fail
	InAWhile                // a third of patience later
)

type optional struct{}

// Optional marks the requests of a context as ones that the run can do without.
// What stands before Vault can block them alone; then they end as given. One that
// hangs ends after a third of patience. They go on while Vault as a whole is away.
func Optional(ctx context.Context, end End) context.Context {
	return context.WithValue(ctx, optional{}, end)
}

func endOf(ctx context.Context) End { end, _ := ctx.Value(optional{}).(End); return end }

// forOptional is how long a request may take that the run can do without. In a
// check it leaves the time for an attempt of another one.
func (r *Retry) forOptional() time.Duration {
	if r.isCheck() {
		whole := r.Wire.config.Timeout
		return max(min(whole, time.Until(r.Until)-whole), whole/10)
	}
	return r.Budget / 3
}

// isLate reports whether the failure ends a request that the run can do without.
// A bare internal error may be Vault's trouble with the token, of which the next
// request tells more.
func (s *exchange) isLate(f *patience.Failure) bool {
	r := s.retry
	took := time.Since(s.began) + time.Millisecond
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return took >= r.Budget/12
	case isBlock(f):
		return took >= r.Budget/3
	}
	return !f.Unsent && took >= s.share
}

// isBlock reports whether a failure can be that of one request alone.
func isBlock(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}
