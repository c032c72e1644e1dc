package transport

import (
	"context"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// optional is how long an optional request may take.
type optional struct {
	end     End           // 0 if the request is not optional
	attempt time.Duration // of one attempt
	share   time.Duration // of patience, for all attempts
}

func (r *Retry) optional(end End) optional {
	if end == 0 {
		return optional{}
	}
	share := r.Patience.Budget() / 4
	if r.hung.Load() {
		share = r.Patience.Budget() / 12
	}
	if !r.isCheck() {
		return optional{end, share, share}
	}
	// Silence is waited for as in a run, even beyond patience, but there must be time left
	// for an attempt of another request.
	whole := r.Wire.config.Timeout
	attempt := max(min(whole, time.Until(r.Until)-whole), whole/10)
	return optional{end, attempt, min(attempt, share)}
}

// limit is how long the next attempt may take of the time that is left for it. A request
// that began long ago waits with the others, since Vault as a whole is down.
func (o optional) limit(left time.Duration, began time.Time) time.Duration {
	own := o.attempt - time.Since(began)
	if own <= 0 {
		return left
	}
	return min(left, max(own, o.attempt/10))
}

func (e *exchange) isOptional() bool { return e.optional.end != 0 }

// isLate reports whether an optional request gives up. A bare internal error may come
// from the token, so it gives up early and lets the next request show it. If Vault seems to
// be down, sealed or without a leader, its health shows whether that is true.
func (e *exchange) isLate(ctx context.Context, f *patience.Failure) bool {
	left := e.optional.share - time.Since(e.began)
	switch {
	case reply.IsInternalError(f) && !e.retry.Patience.HasAnswers():
		left -= e.optional.share - e.retry.Patience.Budget()/12
	case f.Retry == patience.Paced, isBlock(f), !f.Unsent:
	default:
		return left < time.Millisecond && e.retry.isWell(ctx)
	}
	return left < time.Millisecond
}

// isBlock reports whether a failure may concern one request alone.
func isBlock(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}
