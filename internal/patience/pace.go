package patience

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	slowest       = 1.0                    // requests a second, however often Vault refuses
	oneRefusal    = time.Second            // refusals within it count as one: the requests were under way together
	shortestPause = 100 * time.Millisecond // even if Retry-After is shorter
)

// pace limits the rate of requests: to the operator's limit, and to what Vault asks
// for with 429. It is guarded by Patience.mu.
type pace struct {
	allowed     rate.Limit    // by the operator
	burst       int           // allowed by the operator
	limiter     *rate.Limiter // nil while there is no limit
	refusedRate rate.Limit    // the rate at which Vault last refused; 0 if it never did
	pausedUntil time.Time     // by Retry-After
	startedAt   time.Time     // when the first request was sent
	halvedAt    time.Time     // when the rate was last halved
	raisedAt    time.Time     // when it was last raised
}

func newPace(perSecond float64, burst int) pace {
	p := pace{allowed: rate.Limit(perSecond), burst: max(burst, 1)}
	if perSecond <= 0 {
		p.allowed = rate.Inf
	}
	p.reset()
	return p
}

// reset returns to what the operator allows.
func (p *pace) reset() {
	*p = pace{allowed: p.allowed, burst: p.burst, startedAt: p.startedAt}
	if p.allowed != rate.Inf {
		p.limiter = rate.NewLimiter(p.allowed, p.burst)
	}
}

// take lets one request go and returns 0, or returns how long to wait before the
// next try.
func (p *pace) take(now time.Time) (wait time.Duration) {
	if p.startedAt.IsZero() {
		p.startedAt = now
	}
	if !now.Before(p.pausedUntil) && (p.limiter == nil || p.limiter.AllowN(now, 1)) {
		return 0
	}
	return p.untilNext(now)
}

// spend lets a request go that cannot wait. The next one waits longer for it, but not for
// several at once: that could take longer than patience.
func (p *pace) spend(now time.Time) {
	if p.limiter != nil && p.limiter.TokensAt(now) > -1 {
		p.limiter.ReserveN(now, 1)
	}
}

// untilNext is how long to wait until a request may go, during a pause or at a limited rate.
func (p *pace) untilNext(now time.Time) time.Duration {
	if now.Before(p.pausedUntil) {
		return p.pausedUntil.Sub(now)
	}
	missing := (1 - p.limiter.TokensAt(now)) / float64(p.limiter.Limit())
	return time.Duration(missing*float64(time.Second)) + time.Microsecond // tokens are floats
}

// resume ends a pause, and reports whether there was one.
func (p *pace) resume() bool {
	wasPaused := !p.pausedUntil.IsZero()
	p.pausedUntil = time.Time{}
	return wasPaused
}

// slow halves the rate after a refusal. answers is how many requests Vault has answered
// so far.
func (p *pace) slow(now time.Time, answers int) {
	if now.Sub(p.halvedAt) < oneRefusal {
		return
	}
	if p.limiter == nil {
		// A quota counts whole seconds. How many requests it allows in a fraction
		// of one says nothing about its rate.
		elapsed := max(now.Sub(p.startedAt), time.Second)
		p.limiter = rate.NewLimiter(rate.Limit(float64(answers)/elapsed.Seconds()), 1)
	}
	p.refusedRate = max(p.limiter.Limit(), min(slowest, p.allowed))
	p.limiter.SetLimitAt(now, min(max(p.refusedRate/2, slowest), p.refusedRate))
	p.limiter.SetBurstAt(now, 1)
	p.halvedAt, p.raisedAt = now, now
}

// quicken raises a reduced rate after an answer: quickly up to nine tenths of the
// rate that Vault refused, slowly up to eleven tenths, and then by a fifth of itself
// a second, since Vault now allows more than it did.
func (p *pace) quicken(now time.Time) {
	if p.refusedRate == 0 {
		return
	}
	limit := p.limiter.Limit()
	slope := limit / 5 // a second
	switch {
	case limit < p.refusedRate*9/10:
		slope = p.refusedRate / 5
	case limit < p.refusedRate*11/10:
		slope = p.refusedRate / 50
	}
	elapsed := min(now.Sub(p.raisedAt), time.Second) // an outage in between does not count
	p.limiter.SetLimitAt(now, min(limit+slope*rate.Limit(elapsed.Seconds()), p.allowed))
	p.raisedAt = now
}
