// Package patience repeats requests that Vault did not answer, so that one
// dead Vault costs one wait whatever the number of requests, and one poisoned
// request costs only itself.
//
//	p := patience.New(time.Minute, 0, 0)
//	err := p.Do(ctx, func(ctx context.Context, limit time.Duration) *patience.Failure {
//		return … // send the request once, for no longer than limit
//	})
//
// Patience is time without any answer, counted from when the first request that
// failed was sent. Any answer refills it. The requests of a run share one
// [Patience], which is in one of four states:
//
//	state    what is sent               left when
//	-----    ------------               ---------
//	well     every request at once      a request fails: doubt
//	doubt    every request; the failed  any answer: well
//	         one again at once, then    a second, different request fails
//	         with growing waits         alike: outage
//	                                    patience runs out: over
//	outage   one request at a time,     any answer: well
//	         the prober, with growing   a refusal with 429: doubt
//	         waits; all others wait     patience runs out: over
//	over     nothing; every request     never
//	         fails with the last cause
//
// A failure belongs to its request or to Vault. It is the request's own, and the
// request fails alone, if it fails three times outside of an outage while others
// are answered. It is Vault's in an outage, and also where other requests that
// failed alike were answered when they were repeated: a balancer has a node that
// is away, which a request may well meet three times.
//
// A request that fails with no other to compare it with has all of patience.
//
// A refusal with 429 is neither: Vault is well and asks for fewer requests. They
// are sent at that pace (pace.go), and patience runs out only if none is answered
// at all. TLS that two requests cannot establish ends patience at once: no wait
// changes it.
package patience

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// triesAlone is how often a request is sent that fails while others are answered.
const triesAlone = 3

// Patience is shared by the requests of one run.
type Patience struct {
	budget time.Duration

	mu        sync.Mutex
	pace      pace
	answers   int                      // how many came
	answered  time.Time                // when the last one came
	failing   time.Time                // when the first request that failed since then was sent; zero in the state well
	last      *fault.Error             // the last concrete cause since then
	abandoned time.Time                // when the first request was sent that its caller gave up, since the last answer
	suspects  map[fault.Kind]*request  // the first that failed since then, by the cause of its fault
	passed    map[fault.Kind]time.Time // when a request that had failed was last answered, by the cause of its fault
	outage    bool                     // the state is outage
	prober    *request                 // the one request under way in an outage
	probeAt   time.Time                // when the next may be sent
	probes    int                      // how many failed in this outage
	resumed   time.Time                // when the last outage ended
	waiting   []*request               // those that may not be sent yet, the longest waiting first
	changed   chan struct{}            // closed and replaced when waiting requests must look again
	over      *fault.Error             // why patience ended; nil in every other state
	retries   int                      // requests that were sent again
	waited    time.Duration            // in which Vault answered nothing, before failing
}

// New makes a patience with the budget. It sends at most perSecond requests a
// second, in bursts of burst; 0 means no limit but the one that Vault asks for.
func New(budget time.Duration, perSecond float64, burst int) *Patience {
	return &Patience{
		budget:   budget,
		pace:     newPace(perSecond, burst),
		suspects: make(map[fault.Kind]*request),
		passed:   make(map[fault.Kind]time.Time),
		changed:  make(chan struct{}),
	}
}

// request is one call of Do.
type request struct {
	fault     *fault.Error // the last one; nil until it failed
	since     time.Time    // when it was first sent and failed, refusals with 429 aside
	answers   int          // Patience.answers at that time
	overtaken bool         // others were answered long after one of its failing attempts began
	failures  int          // outside of outages, since the last one ended
	strikes   int          // of all its failures outside of outages, those that it may have caused itself
	failed    time.Time    // when it last failed
	next      time.Time    // when it may be sent again; earlier if an outage ends
}

// Do sends the request until it is answered, fails for good, or patience or
// ctx ends. send sends it once, within the limit it is given, and returns nil
// for any answer that is not a fault. Do returns ctx's error or a *fault.Error.
func (p *Patience) Do(ctx context.Context, send func(ctx context.Context, limit time.Duration) *Failure) error {
	r := &request{}
	for {
		limit, err := p.await(ctx, r)
		if err != nil {
			return err
		}
		sent := time.Now()
		f := send(ctx, limit)
		if f != nil && ctx.Err() != nil {
			p.abandon(r, sent)
			return ctx.Err()
		}
		if done, err := p.record(r, sent, f); done {
			return err
		}
		if f.GiveUp {
			return f.Fault
		}
	}
}

// Over is the fault that ended patience, or nil.
func (p *Patience) Over() *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// HasAnswers reports whether any request was answered.
func (p *Patience) HasAnswers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers > 0
}

// Stats returns how many requests were sent again, and how long Vault
// answered nothing while it was asked.
func (p *Patience) Stats() (retries int, waited time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over == nil && !p.failing.IsZero() {
		return p.retries, p.waited + time.Since(p.failing)
	}
	return p.retries, p.waited
}

// Silence returns for how long nothing has been answered while Vault was asked,
// and the last concrete cause if there is one; 0 while all is well.
func (p *Patience) Silence() (d time.Duration, last *fault.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.failing
	if since.IsZero() {
		since = p.abandoned
	}
	if since.IsZero() {
		return 0, nil
	}
	return time.Since(since), p.last
}

// await returns when the request may be sent, and how long it may take.
func (p *Patience) await(ctx context.Context, r *request) (limit time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, r)
	defer p.leave(r)
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		now := time.Now()
		p.expire(now)
		if p.over != nil {
			return 0, p.over
		}
		rest := p.rest(now)
		wait := p.turn(r, now)
		if wait <= 0 {
			p.depart(r)
			return rest, nil
		}
		p.sleep(ctx, min(wait, rest))
	}
}

// turn returns how long the request must wait at least; 0 means that it is sent
// now.
func (p *Patience) turn(r *request, now time.Time) (wait time.Duration) {
	at := r.next
	if soon := r.since.Add(p.moment()); p.isExcused(r) && soon.Before(at) {
		at = soon // even so, the third try does not follow the second at once
	}
	if p.outage {
		if p.prober != nil || p.nextProber() != r {
			return p.budget
		}
		at = p.probeAt
	}
	if now.Before(at) {
		return at.Sub(now)
	}
	return p.pace.take(now)
}

// nextProber alternates between a request not sent yet and one that failed: the
// failed one may be poisoned, and the other shows whether Vault is well.
func (p *Patience) nextProber() *request {
	fresh := p.probes%2 == 0
	i := slices.IndexFunc(p.waiting, func(w *request) bool { return (w.fault == nil) == fresh })
	return p.waiting[max(i, 0)]
}

func (p *Patience) depart(r *request) {
	if r.fault != nil {
		p.retries++
	}
	if p.outage {
		p.prober = r
	}
}

// leave removes the request from those that wait. If it was to be the prober,
// another is now.
func (p *Patience) leave(r *request) {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *request) bool { return w == r })
	if p.outage && p.prober == nil {
		p.wake()
	}
}

// sleep releases the lock until something changes, ctx ends, or the time is over.
func (p *Patience) sleep(ctx context.Context, d time.Duration) {
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// record notes how an attempt ended, and reports whether the request is done.
func (p *Patience) record(r *request, sent time.Time, f *Failure) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	probed := p.prober == r
	if probed {
		p.prober = nil
		defer p.wake()
	}
	switch {
	case f == nil:
		p.answer(r, now)
		return true, nil
	case p.over != nil:
		return true, p.over
	case f.Retry == Never:
		return true, p.refuse(r, now, f.Fault)
	case f.GiveUp && p.isAloneIn(f, sent, now):
		p.suspects[cause(f.Fault)] = r
		return true, f.Fault
	}
	p.fail(r, sent, now, f)
	switch {
	case p.over != nil:
		return true, p.over
	case f.Retry == Paced:
		p.pace.slow(now, f.RetryAfter, p.rest(now), p.answers)
		p.resume(now)
		return false, nil
	case p.outage:
		if probed {
			p.probes++
			p.probeAt = now.Add(p.backoff(p.probes+1, f.Fault.Kind))
		}
		return false, nil
	}
	r.failures++
	if p.isStrike(sent, f) {
		r.strikes++
	}
	r.overtaken = r.overtaken || p.answered.Sub(sent) >= p.moment()
	if p.isItsOwn(r, now) {
		return true, f.Fault.After(now.Sub(r.since))
	}
	r.next = now.Add(p.backoff(max(r.failures, r.strikes), f.Fault.Kind))
	if p.suspect(r, f.Fault) {
		p.outage, p.probes, p.probeAt = true, 0, now
		p.wake()
	}
	return false, nil
}

// isAloneIn reports whether a request that is given up was silent for all of
// patience while nothing else has failed since the last answer. Patience does not
// end then: it may be that request alone that what stands before Vault blocks, and
// the next one shows.
func (p *Patience) isAloneIn(f *Failure, sent, now time.Time) bool {
	return p.failing.IsZero() && p.suspects[cause(f.Fault)] == nil && now.Sub(latest(sent, p.answered)) >= p.budget
}

// answer refills patience: the state is well.
func (p *Patience) answer(r *request, now time.Time) {
	if r.fault != nil {
		p.passed[cause(r.fault)] = now
	}
	p.answers++
	p.answered, p.abandoned = now, time.Time{}
	p.pace.quicken(now)
	clear(p.suspects)
	if p.failing.IsZero() || p.over != nil {
		return
	}
	p.waited += now.Sub(p.failing)
	p.failing, p.last = time.Time{}, nil
	p.resume(now)
}

// resume ends an outage, if there is one.
func (p *Patience) resume(now time.Time) {
	if !p.outage {
		return
	}
	p.outage, p.resumed = false, now
	p.wake()
}

// isExcused reports whether an outage has ended since the request failed.
func (p *Patience) isExcused(r *request) bool { return !r.failed.After(p.resumed) }

// refuse ends a request that would fail again. TLS that two requests cannot
// establish ends patience.
func (p *Patience) refuse(r *request, now time.Time, f *fault.Error) error {
	if r.fault != nil && r.fault.Kind == f.Kind {
		f = f.After(now.Sub(r.since))
	}
	if f.Kind != fault.TLS {
		return f
	}
	if r.since.IsZero() {
		r.answers = p.answers
	}
	r.fault = f
	if p.suspect(r, f) {
		p.end(now, f)
		return p.over
	}
	return f
}

// fail starts the clock if it is not running, and ends patience if it has run out.
func (p *Patience) fail(r *request, sent, now time.Time, f *Failure) {
	if p.failing.IsZero() {
		p.failing = latest(sent, p.answered)
		p.wake()
	}
	if p.last == nil || p.rest(now) > 0 { // an attempt cut short by the end of patience says nothing new
		p.last = f.Fault
	}
	if r.since.IsZero() && f.Retry != Paced {
		r.since, r.answers = sent, p.answers
	}
	if p.isExcused(r) {
		r.failures = 0
	}
	r.fault, r.failed = f.Fault, now
	p.expire(now)
}

// isStrike reports whether a request may have caused its fault itself: Vault may
// have looked at it, and no request that failed alike was answered of late when it
// was repeated. One that was shows that a node behind a balancer is away.
func (p *Patience) isStrike(sent time.Time, f *Failure) bool {
	return !f.Unsent && sent.Sub(p.passed[cause(f.Fault)]) > p.budget/12
}

// cause is the kind of a fault, with one for the four kinds in which a node that
// is away shows.
func cause(f *fault.Error) fault.Kind {
	switch f.Kind {
	case fault.Sealed, fault.NoActiveNode, fault.BadResponse:
		return fault.Unreachable
	}
	return f.Kind
}

// suspect notes that the request failed, and reports whether two different ones
// have failed alike since the last answer. If other requests were answered since
// both first failed, both are probably poisoned themselves.
func (p *Patience) suspect(r *request, f *fault.Error) (confirmed bool) {
	first := p.suspects[cause(f)]
	if first == nil || first == r {
		p.suspects[cause(f)] = r
		return false
	}
	return !p.isOutdone(first) || !p.isOutdone(r)
}

// isOutdone reports whether another request was answered after this one had
// failed.
func (p *Patience) isOutdone(r *request) bool { return p.answers > r.answers }

// isItsOwn reports whether the request fails alone: others are answered while it
// fails. A failure before Vault looked at the request is not its own, unless all of
// patience was spent on it.
func (p *Patience) isItsOwn(r *request, now time.Time) bool {
	if now.Sub(latest(r.since, p.resumed)) >= p.budget {
		return true
	}
	return r.strikes >= triesAlone && (p.isOutdone(r) || r.overtaken)
}

// abandon ends the attempt of a request that its caller gave up.
func (p *Patience) abandon(r *request, sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.abandoned.IsZero() {
		p.abandoned = latest(sent, p.answered)
	}
	if p.prober == r {
		p.prober = nil
		p.wake()
	}
}

// expire ends patience if it has run out.
func (p *Patience) expire(now time.Time) {
	if p.over == nil && p.rest(now) <= 0 {
		p.end(now, p.last.After(now.Sub(p.failing)))
	}
}

func (p *Patience) end(now time.Time, f *fault.Error) {
	p.over = f.OfRun()
	if !p.failing.IsZero() {
		p.waited += now.Sub(p.failing)
	}
	p.wake()
}

// wake makes all waiting requests look again.
func (p *Patience) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// rest is what is left of patience.
func (p *Patience) rest(now time.Time) time.Duration {
	if p.failing.IsZero() {
		return p.budget
	}
	return p.budget - now.Sub(p.failing)
}

// backoff is the wait after the given number of failures: none after the first,
// since the next node behind a balancer may be well; then it doubles from a moment
// to a sixth of patience, which makes 11 attempts in all. Where standbys answer, an
// election is under way that ends soon, so the waits stay shorter.
func (p *Patience) backoff(failures int, kind fault.Kind) time.Duration {
	if failures <= 1 {
		return 0
	}
	most := p.budget / 6
	if kind == fault.NoActiveNode {
		most = p.budget / 24
	}
	wait := min(p.moment()<<min(failures-2, 10), most)
	return wait + rand.N(wait/4+1)
}

// moment is half a second at the default budget of 60 s. It has a floor, because
// a node goes away no faster where patience is shorter.
func (p *Patience) moment() time.Duration { return max(p.budget/120, 100*time.Millisecond) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
