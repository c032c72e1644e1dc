package patience

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	slowest       = 1.0                    // requests a second, however often Vault refuses
	oneCut        = time.Second            // refusals within it count once: they were under way together
	shortestPause = 100 * time.Millisecond // whatever Retry-After says
)

// pace holds back requests: by the operator's limit, and by as much as Vault
// asks for with 429. It is guarded by Patience.mu.
type pace struct {
	limiter *rate.Limiter // nil while there is no limit
	most    rate.Limit    // the operator's limit
	ceiling rate.Limit    // where Vault refused last
	until   time.Time     // no request before, by Retry-After
	started time.Time     // of the first request
	cut     time.Time     // when the rate was halved last
	raised  time.Time     // when it was last raised
}

func newPace(perSecond float64, burst int) pace {
	if perSecond <= 0 {
		return pace{most: rate.Inf}
	}
	limit := rate.Limit(perSecond)
	return pace{most: limit, limiter: rate.NewLimiter(limit, max(burst, 1))}
}

// take lets one request go if it returns 0; else it says how long to wait
// before the next try.
func (p *pace) take(now time.Time) (wait time.Duration) {
	if p.started.IsZero() {
		p.started = now
	}
	if now.Before(p.until) {
		return p.until.Sub(now)
	}
	if p.limiter == nil || p.limiter.AllowN(now, 1) {
		return 0
	}
	missing := (1 - p.limiter.TokensAt(now)) / float64(p.limiter.Limit())
	return time.Duration(missing*float64(time.Second)) + time.Microsecond // tokens are floats
}

// slow halves the rate after a refusal. answers is how many requests Vault has
// answered so far.
func (p *pace) slow(now time.Time, retryAfter, rest time.Duration, answers int) {
	if retryAfter > 0 {
		p.until = latest(p.until, now.Add(min(max(retryAfter, shortestPause), rest)))
	}
	if now.Sub(p.cut) < oneCut {
		return
	}
	if p.limiter == nil {
		// A quota counts whole seconds: what it let through in a fraction of one
		// says nothing about its rate.
		elapsed := max(now.Sub(p.started), time.Second)
		p.limiter = rate.NewLimiter(rate.Limit(float64(answers)/elapsed.Seconds()), 1)
	}
	p.ceiling = max(p.limiter.Limit(), min(slowest, p.most))
	p.limiter.SetLimitAt(now, min(max(p.ceiling/2, slowest), p.ceiling))
	p.limiter.SetBurstAt(now, 1)
	p.cut, p.raised = now, now
}

// quicken raises a reduced rate after an answer: quickly to nine tenths of
// where Vault refused, slowly around there, and in proportion to itself beyond,
// since Vault now allows more than it did.
func (p *pace) quicken(now time.Time) {
	if p.ceiling == 0 {
		return
	}
	limit := p.limiter.Limit()
	slope := limit / 5 // a second
	switch {
	case limit < p.ceiling*9/10:
		slope = p.ceiling / 5
	case limit < p.ceiling*11/10:
		slope = p.ceiling / 50
	}
	p.limiter.SetLimitAt(now, min(limit+slope*rate.Limit(now.Sub(p.raised).Seconds()), p.most))
	p.raised = now
}
