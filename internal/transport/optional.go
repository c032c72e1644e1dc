package transport

import (
	"context"
	"net/http"
	"slices"
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
		return optional{end: end, attempt: share, share: share}
	}
	// Silence is waited for as in a run, even beyond patience, but there must be time left
	// for an attempt of another request.
	whole := r.Wire.config.Timeout
	attempt := max(min(whole, time.Until(r.Until)-whole), whole/10)
	return optional{end: end, attempt: attempt, share: min(attempt, share)}
}

// limitOptional is limit for an optional request. One that began long ago, and last failed
// because Vault as a whole is down, waits with the others.
func (e *exchange) limitOptional(left time.Duration) (time.Duration, *patience.Failure) {
	last, took := e.last, time.Since(e.began)
	if last != nil && last.Fault.Kind == fault.Unreachable && !last.Unsent && took >= e.optional.share {
		return 0, last.GivenUp() // a dead Vault gets no more dials
	}
	own := e.optional.attempt - took
	if own <= 0 && (last == nil || !mayBeItsOwn(last)) {
		return left, nil
	}
	return min(left, max(own, e.optional.attempt/10)), nil
}

func (e *exchange) isOptional() bool { return e.optional.end != 0 }

// mayBeItsOwn reports whether an optional request may have caused a failure itself. If
// Vault cannot be reached, it has not.
func mayBeItsOwn(f *patience.Failure) bool {
	return f.Retry == patience.Paced || !f.Unsent || f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError || saysUnwell(f)
}

// saysUnwell reports whether the answer was that Vault is sealed or has no leader.
func saysUnwell(f *patience.Failure) bool {
	return f.Fault.Kind == fault.Sealed || f.Fault.Kind == fault.NoActiveNode
}

// orBlocked makes the failure final of an optional request that a proxy may block. A read that
// a gateway refused is sent again, three times at most: another node may be well, or the read
// came too soon after others.
func (e *exchange) orBlocked(ctx context.Context, f *patience.Failure) *patience.Failure {
	e.refusals++
	isGateway := slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, e.status)
	if f.Retry == patience.Never || !isGateway || e.request.Method != http.MethodGet || e.refusals > 3 {
		return f.Final()
	}
	return e.orGiveUp(ctx, f)
}

// orGiveUp gives up an optional request if it is late. A bare internal error may come from
// the token, so the request gives up early, and the next one shows it. If the answer is that
// Vault is unwell, Vault's health shows, once, whether that is true.
func (e *exchange) orGiveUp(ctx context.Context, f *patience.Failure) *patience.Failure {
	share, budget := e.optional.share, e.retry.Patience.Budget()
	if reply.IsInternalError(f) && !e.retry.Patience.HasAnswers() {
		share = budget / 12
	}
	if left := share - time.Since(e.began); left > 0 {
		if f.Retry == patience.Paced && e.retry.isCheck() {
			left = max(left, e.pause(f))
		}
		return f.AgainWithin(left)
	}
	if saysUnwell(f) && (e.unwell || !e.retry.isWell(ctx, min(e.retry.attempt(), budget/12))) {
		e.unwell = true
		return f
	}
	return f.GivenUp() // if the next request fails alike, Vault as a whole is down
}

// pause is how long an optional request of a check waits after a rate limit refused it,
// even beyond its share: most quotas are for a second, which is longer. 0 means that too
// little patience would be left for a read.
func (e *exchange) pause(f *patience.Failure) time.Duration {
	pause := max(f.RetryAfter, time.Second)
	if waited, _ := e.retry.Patience.Silence(); waited+pause > e.retry.Patience.Budget()*3/4 {
		return 0
	}
	return pause
}
