// Package patience repeats requests that Vault did not answer, so that one
// dead Vault costs one wait whatever the number of requests, and one poisoned
// request costs only itself.
//
//	p := patience.New(time.Minute, 0, 0)
//	err := p.Do(ctx, func(ctx context.Context, limit time.Duration) *patience.Failure {
//		return … // send the request once, for no longer than limit
//	})
//
// Patience is time without any answer, counted from when the first request
// that failed was sent. Any answer refills it. When it ends, all requests fail
// at once with the last concrete cause.
//
// Until then a fault has one of two owners. It belongs to its request, which is
// tried three times while others are answered and then fails alone. Or, as soon
// as a second, different request fails alike with no answer in between, it
// belongs to Vault: that is an outage, in which one request at a time goes out
// to probe while all others wait, and which the next answer ends. What fails in
// an outage does not count against the request. Nor does what others pass by
// repetition: that is a node away behind a balancer, which a request may well
// meet three times.
//
// A request that fails with no other to compare it with has all of patience. If
// every request under way may be poisoned, it takes others to tell: a caller
// with more can send some when [Patience.AwaitOutage] says so.
//
// A refusal with 429 is neither: Vault is well and asks for fewer requests.
// They are held back to that pace, and patience ends only if none is answered
// at all.
package patience

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// aloneTries is how often a request is sent that fails while others succeed.
const aloneTries = 3

// Patience is shared by the requests of one run.
type Patience struct {
	budget time.Duration

	mu        sync.Mutex
	pace      pace
	answers   int                      // how many came
	answered  time.Time                // when the last one came
	failing   time.Time                // when the first request without an answer since then was sent; zero while all is well
	last      *fault.Error             // the last concrete cause since then
	abandoned time.Time                // when the first request was sent that nobody waits for any more, since the last answer
	suspects  map[fault.Kind]*request  // which failed first since then, by the cause of its fault
	passed    map[fault.Kind]time.Time // when a request that had failed was answered last, by the cause of its fault
	outage    bool                     // another failed alike
	prober    *request                 // the one request under way in an outage
	probeAt   time.Time                // when the next may go
	probes    int                      // how many failed in this outage
	resumed   time.Time                // when the last one ended
	waiting   []*request               // those that may not be sent yet, the longest waiting first
	changed   chan struct{}            // closed and made anew when they must look again
	over      *fault.Error             // why patience ended; nil until then
	retries   int
	waited    time.Duration
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
	since     time.Time    // when it was first sent in vain, a refusal with 429 aside
	answers   int          // Patience.answers when it failed first, likewise
	overtaken bool         // others were answered for long while it was under way in vain
	failures  int          // outside of outages, since the last one
	strikes   int          // failures outside of outages that it may have caused itself
	failed    time.Time    // when it failed last
	next      time.Time    // not to be sent before, but soon where an outage has ended since
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

// AwaitOutage returns true as soon as an outage is under way, and false if ctx
// or patience ends before.
func (p *Patience) AwaitOutage(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ctx.Err() == nil && p.over == nil {
		if p.outage {
			return true
		}
		p.sleep(ctx, p.budget)
	}
	return false
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

// turn returns how long the request has to wait at least; 0 means that it is
// the one to be sent now.
func (p *Patience) turn(r *request, now time.Time) (wait time.Duration) {
	at := r.next
	if soon := r.since.Add(p.moment()); p.isExcused(r) && soon.Before(at) {
		at = soon // the third try does not follow the second at once, all the same
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

// nextProber picks a request not sent yet and a failed one in turn: the failed
// one may be poisoned, and the other shows whether Vault is well.
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

// leave takes the request off those that wait. If its turn in an outage had
// come, another's has now.
func (p *Patience) leave(r *request) {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *request) bool { return w == r })
	if p.outage && p.prober == nil {
		p.wake()
	}
}

// sleep gives the lock away until something has changed, or for the duration.
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

// record takes down how a request ended, and says whether it is done.
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

// answer refills patience.
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

// resume ends an outage.
func (p *Patience) resume(now time.Time) {
	if !p.outage {
		return
	}
	p.outage, p.resumed = false, now
	p.wake()
}

// isExcused reports whether an outage has ended since the request failed.
func (p *Patience) isExcused(r *request) bool { return !r.failed.After(p.resumed) }

// refuse is the end of a request that a repetition would not mend. TLS that
// fails for two of them fails for all.
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

// fail starts the clock, or ends patience if it has run down.
func (p *Patience) fail(r *request, sent, now time.Time, f *Failure) {
	if p.failing.IsZero() {
		p.failing = latest(sent, p.answered)
		p.wake()
	}
	if p.last == nil || p.rest(now) > 0 { // an attempt that patience itself cut short says nothing new
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

// isStrike reports whether a request may have caused its fault itself: Vault
// looked at it, and no other passed by repetition of late. One that did shows
// that a node is away, which a balancer may well give a request to three times.
func (p *Patience) isStrike(sent time.Time, f *Failure) bool {
	return !f.Unsent && sent.Sub(p.passed[cause(f.Fault)]) > p.budget/12
}

// cause is the kind of a fault, where a node that is away shows in four of them.
func cause(f *fault.Error) fault.Kind {
	switch f.Kind {
	case fault.Sealed, fault.NoActiveNode, fault.BadResponse:
		return fault.Unreachable
	}
	return f.Kind
}

// suspect takes down that the request failed, and reports whether two different
// ones have failed alike since the last answer. Two that others have outdone
// before say nothing of Vault: they are likely to be poisoned, both of them.
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

// isItsOwn reports whether the request must fail alone: others are answered
// while it fails. A fault that came before Vault looked at the request is never
// the request's own, unless all of patience is spent on it.
func (p *Patience) isItsOwn(r *request, now time.Time) bool {
	if now.Sub(latest(r.since, p.resumed)) >= p.budget {
		return true
	}
	return r.strikes >= aloneTries && (p.isOutdone(r) || r.overtaken)
}

// abandon takes back the turn of a request that nobody waits for any more.
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

// expire ends patience if it has run down.
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

// backoff is the wait after the given number of failures: none after the
// first, since the next node behind a balancer may be well; then growing from a
// moment to a sixth of patience, which makes 11 attempts in all. Where standbys
// answer, an election is under way, whose end is not far.
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

// moment is half a second at the default budget of 60 s. It has a floor, for a
// node that goes takes as long as it does with any patience.
func (p *Patience) moment() time.Duration { return max(p.budget/120, 100*time.Millisecond) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
