package transport

import (
	"context"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// End is when an optional request gives up, if it may be the only one that fails. The
// zero End means that the request is not optional.
type End int

const (
	AtOnce   End = iota + 1
	InAWhile     // after a quarter of patience
)

type optional struct{}

// Optional marks the requests of a context as optional: the run can go on without
// their answers. A proxy may block them alone; then they give up at end. The first that
// hangs gives up after a quarter of patience, and the next one after a twelfth, so that
// together they cost a third. While Vault as a whole is down, they wait like others.
func Optional(ctx context.Context, end End) context.Context {
	return context.WithValue(ctx, optional{}, end)
}

func endOf(ctx context.Context) End { end, _ := ctx.Value(optional{}).(End); return end }

// forOptional is how long an optional request may take. In a check it leaves time for
// an attempt of another request.
func (r *Retry) forOptional() time.Duration {
	if r.isCheck() {
		whole := r.Wire.config.Timeout
		return max(min(whole, time.Until(r.Until)-whole), whole/10)
	}
	if r.hung.Load() {
		return r.Budget / 12
	}
	return r.Budget / 4
}

// isLate reports whether an optional request gives up. A bare internal error may come
// from the token, so it gives up early and lets the next request show it.
func (s *exchange) isLate(f *patience.Failure) bool {
	r := s.retry
	took := time.Since(s.began) + time.Millisecond
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return took >= r.Budget/12
	case f.Retry == patience.Paced:
		return took >= s.share // a quota on this path alone
	case isBlock(f):
		return took >= min(s.share, r.Budget/4)
	}
	return !f.Unsent && took >= s.share
}

// isBlock reports whether a failure may concern one request alone.
func isBlock(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}
