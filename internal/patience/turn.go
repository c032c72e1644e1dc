package patience

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// This file decides which of the waiting requests is sent when.

// givesWay reports whether a request that failed gives way to others, since it must wait. If
// only its rate makes it wait, others would wait, too. But after a 429 it gives way even then:
// the quota may be for a few requests alone.
func (p *Patience) givesWay(r *Request, now time.Time) bool {
	mustWait := p.outage || now.Before(r.retryAt)
	return (r.isRefused || mustWait && !r.mayBePaced) && r.Others != nil && r.Others()
}

// untilTurn returns how long the request must wait at least; 0 means that it may
// be sent now.
func (p *Patience) untilTurn(r *Request, now time.Time) (wait time.Duration) {
	switch {
	case p.outage && p.prober != nil:
		return p.budget
	case r.dueBy.IsZero():
		return p.untilNext(r, now)
	case now.Before(r.dueBy):
		return min(p.untilNext(r, now), r.dueBy.Sub(now))
	}
	p.pace.spend(now)
	return 0
}

// untilNext is untilTurn without dueBy.
func (p *Patience) untilNext(r *Request, now time.Time) (wait time.Duration) {
	switch {
	case p.outage && p.nextProber() != r:
		return p.budget
	case p.outage && now.Before(p.probeAt):
		return p.probeAt.Sub(now)
	case p.outage:
	case now.Before(r.retryAt):
		return r.retryAt.Sub(now)
	case p.waitsLonger(r, now):
		return p.moment()
	case p.pace.limiter != nil && p.nextAtRate(now) != r:
		return p.moment() // or until that one has left
	}
	return p.pace.take(now)
}

// nextAtRate is the request that has waited longest, of those that wait for the rate alone,
// or nil.
func (p *Patience) nextAtRate(now time.Time) *Request {
	i := slices.IndexFunc(p.waiting, func(r *Request) bool { return !now.Before(r.retryAt) && !p.waitsLonger(r, now) })
	if i < 0 {
		return nil
	}
	return p.waiting[i]
}

// waitsLonger reports whether the request waits before its last attempt, since Vault may have
// gone down.
func (p *Patience) waitsLonger(r *Request, now time.Time) bool {
	return p.isLastTry(r) && r.tried(now) < p.budget/12 && p.mayHaveGoneDown(r)
}

// isLastTry reports whether the request fails alone if it fails once more.
func (p *Patience) isLastTry(r *Request) bool {
	return r.ownFailures >= triesAlone-1 && p.servesOthers(r)
}

// MayBeDown reports whether the request fails alone if it fails once more, although Vault may
// have gone down: no other request was answered for a moment.
func (p *Patience) MayBeDown(r *Request) bool {
	if r.fault == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.outage && p.isLastTry(r) && time.Since(p.servedAt) > p.moment()
}

// nextProber alternates between the groups, and within each between a request that failed
// and one that was never sent. Of those, it is the one that has waited longest.
func (p *Patience) nextProber() *Request {
	return slices.MinFunc(p.waiting, func(a, b *Request) int {
		return cmp.Or(
			cmp.Compare(p.lastTurnOf(a.Group), p.lastTurnOf(b.Group)),
			cmp.Compare(p.lastTurn[a.kind()], p.lastTurn[b.kind()]),
		)
	})
}

// kind is what requests are told apart by: all of one kind may fail for their own reasons.
type kind struct {
	group  string
	failed bool
}

func (r *Request) kind() kind { return kind{r.Group, r.fault != nil} }

// lastTurnOf is the number of the last turn of a group.
func (p *Patience) lastTurnOf(group string) int {
	return max(p.lastTurn[kind{group, true}], p.lastTurn[kind{group, false}])
}

// probe makes the request the prober.
func (p *Patience) probe(r *Request) {
	p.prober = r
	p.turns++
	p.lastTurn[r.kind()] = p.turns
}

// remaining is what is left until patience ends.
func (p *Patience) remaining(now time.Time) time.Duration {
	if p.failingSince.IsZero() {
		return p.budget
	}
	return p.budget - now.Sub(p.failingSince)
}

// backoff is the wait after the given number of failures. There is none after the
// first, since the next node behind a balancer may be well. Then it doubles, from
// a moment to a sixth of the budget, which makes 11 attempts in all. An election ends
// soon, so the waits are shorter then, even after a probe that met a dead node.
func (p *Patience) backoff(failures int, electing bool) time.Duration {
	if failures <= 1 {
		return 0
	}
	most := p.budget / 6
	if electing {
		most = p.budget / 24
	}
	wait := min(p.moment()<<min(failures-2, 10), most)
	return wait + rand.N(wait/4+1)
}

// moment is half a second at the default budget of 60 s. It has a floor, because
// nodes do not fail over faster where the budget is smaller.
func (p *Patience) moment() time.Duration { return max(p.budget/120, 100*time.Millisecond) }
