// Package patience repeats requests that Vault did not answer, so that one
// dead Vault costs one wait whatever the number of requests, and one poisoned
// request costs only itself.
//
// Patience is time without any answer. A fault belongs to its request until a
// second, different one fails alike with no answer in between; then it is an
// outage, in which one request at a time goes out to probe and all others
// wait. When patience ends, all of them fail at once with the last concrete
// cause.
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

	mu       sync.Mutex
	pace     pace
	answers  int           // how many came
	answered time.Time     // when the last one came
	failing  time.Time     // when the first request without an answer since then was sent; zero while all is well
	last     *fault.Error  // the last concrete cause
	suspect  *request      // failed since the last answer, not yet confirmed by another
	outage   bool          // confirmed
	waiting  []*request    // those that may not be sent yet
	prober   *request      // the one request under way in an outage
	probeAt  time.Time     // when the next may go
	probes   int           // how many failed in this outage
	changed  chan struct{} // closed and made anew when waiting requests must look again
	expiry   *time.Timer   // ends patience
	over     *fault.Error  // why; nil until then
	retries  int
	waited   time.Duration
}

// New makes a patience with the budget. It sends at most perSecond requests a
// second, in bursts of burst; 0 means no limit but the one that Vault asks for.
func New(budget time.Duration, perSecond float64, burst int) *Patience {
	return &Patience{budget: budget, pace: newPace(perSecond, burst), changed: make(chan struct{})}
}

// request is one call of Do.
type request struct {
	tries   int          // failures that count against the request itself
	since   time.Time    // when it was first sent in vain
	answers int          // Patience.answers then
	fault   *fault.Error // the last one
	next    time.Time    // not to be sent before
}

// Do sends the request until it is answered, fails for good, or patience or
// ctx ends. send sends it once, within the limit it is given, and returns nil
// for any answer that is not a fault. Do returns ctx's error or a *fault.Error.
func (p *Patience) Do(ctx context.Context, send func(ctx context.Context, limit time.Duration) *fault.Error) error {
	r := &request{}
	for {
		limit, err := p.await(ctx, r)
		if err != nil {
			return err
		}
		sent := time.Now()
		f := send(ctx, limit)
		if f != nil && ctx.Err() != nil {
			p.abandon(r)
			return ctx.Err()
		}
		if done, err := p.record(r, sent, f); done {
			return err
		}
	}
}

// Over is the fault that ended patience, or nil.
func (p *Patience) Over() *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// Stats returns how many requests were sent again, and how long Vault
// answered nothing while it was asked.
func (p *Patience) Stats() (retries int, waited time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retries, p.waited
}

// await returns when the request may be sent, and how long it may take.
func (p *Patience) await(ctx context.Context, r *request) (limit time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.fault != nil {
		p.retries++
	}
	r.next = later(r.next, p.pace.reserve())
	p.waiting = append(p.waiting, r)
	defer func() { p.waiting = slices.DeleteFunc(p.waiting, func(w *request) bool { return w == r }) }()
	for {
		if p.over != nil {
			return 0, p.over
		}
		at, mine := p.turn(r)
		wait := time.Until(at)
		if mine && wait <= 0 {
			break
		}
		var timer <-chan time.Time
		if mine {
			timer = time.After(wait)
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer:
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	if p.outage {
		p.prober = r
	}
	return p.rest(time.Now()), nil
}

// turn says whether the request is the one to be sent next, and when.
func (p *Patience) turn(r *request) (at time.Time, mine bool) {
	if !p.outage {
		return later(r.next, p.pace.until), true
	}
	if p.prober != nil {
		return time.Time{}, false
	}
	// A failed request and one not sent yet take turns: the one may be
	// poisoned, the other shows whether Vault is well again.
	failed := p.probes%2 == 0
	next := slices.IndexFunc(p.waiting, func(w *request) bool { return (w.fault != nil) == failed })
	return later(p.probeAt, p.pace.until), p.waiting[max(next, 0)] == r
}

// record takes down how a request ended, and says whether it is done.
func (p *Patience) record(r *request, sent time.Time, f *fault.Error) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.prober == r {
		p.prober = nil
	}
	switch {
	case f == nil:
		p.answer(now)
		return true, nil
	case p.over != nil:
		return true, p.over
	case f.Retry == fault.Never:
		if p.confirms(r, f) {
			p.end(f)
		}
		p.wake()
		return true, f
	}
	p.fail(r, sent, now, f)
	switch {
	case p.over != nil:
		return true, p.over
	case f.Retry == fault.Paced:
		p.pace.slow(now, f.RetryAfter, p.rest(now), p.answers)
		p.recover()
		return false, nil
	case p.confirms(r, f) && !p.outage:
		p.outage, p.probes = true, 0
		p.probeAt = now
	case p.outage:
		p.probes++
		p.probeAt = now.Add(p.backoff(p.probes + 1))
	case p.isItsOwn(r, now, f):
		return true, f.After(now.Sub(r.since))
	default:
		r.next = now.Add(p.backoff(r.tries))
	}
	p.wake()
	return false, nil
}

// answer refills patience.
func (p *Patience) answer(now time.Time) {
	p.answers++
	p.answered = now
	p.pace.quicken(now)
	if p.failing.IsZero() && p.suspect == nil {
		return
	}
	if !p.failing.IsZero() {
		p.waited += now.Sub(p.failing)
		p.expiry.Stop()
	}
	p.failing, p.suspect, p.last = time.Time{}, nil, nil
	p.recover()
}

// recover ends an outage. What failed in it does not count against the
// requests that it hit.
func (p *Patience) recover() {
	if !p.outage {
		return
	}
	p.outage = false
	for _, w := range p.waiting {
		w.tries, w.next = 0, time.Time{}
	}
	p.wake()
}

// fail starts the clock, or ends patience if it has run down.
func (p *Patience) fail(r *request, sent, now time.Time, f *fault.Error) {
	if p.failing.IsZero() {
		p.failing = later(sent, p.answered)
		p.expiry = time.AfterFunc(p.rest(now), p.expire)
	}
	if p.last == nil || p.rest(now) > 0 { // an attempt that patience itself cut short says nothing new
		p.last = f
	}
	if r.fault == nil || r.tries == 0 {
		r.since, r.answers = sent, p.answers
	}
	r.fault = f
	if f.Retry == fault.Later {
		r.tries++
	}
	if p.rest(now) <= 0 {
		p.end(p.last.After(now.Sub(p.failing)))
	}
}

// confirms reports whether two different requests have failed alike since the
// last answer.
func (p *Patience) confirms(r *request, f *fault.Error) bool {
	first := p.suspect
	if first == nil || first == r || !alike(first.fault, f) {
		r.fault, p.suspect = f, r
		return false
	}
	return true
}

// alike reports whether two faults can have one cause. A node that is gone,
// sealed or without a leader fails in all three ways.
func alike(a, b *fault.Error) bool {
	return a.Kind == b.Kind || isNodes(a.Kind) && isNodes(b.Kind)
}

func isNodes(k fault.Kind) bool {
	return k == fault.Unreachable || k == fault.Sealed || k == fault.NoActiveNode
}

// isItsOwn reports whether the request must fail alone: Vault answers others,
// or answered this one that it cannot. A fault that came before Vault looked
// at the request is never the request's own, unless all of patience is spent
// on it.
func (p *Patience) isItsOwn(r *request, now time.Time, f *fault.Error) bool {
	if now.Sub(r.since) >= p.budget {
		return true
	}
	othersSucceed := p.answers > r.answers
	return r.tries >= aloneTries && !f.Unsent && (othersSucceed || f.Kind == fault.ServerError)
}

// abandon takes back the turn of a request that nobody waits for any more.
func (p *Patience) abandon(r *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prober == r {
		p.prober = nil
		p.wake()
	}
}

// expire runs when patience may have ended.
func (p *Patience) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); !p.failing.IsZero() && p.rest(now) <= 0 {
		p.end(p.last.After(now.Sub(p.failing)))
	}
}

func (p *Patience) end(f *fault.Error) {
	if p.over != nil {
		return
	}
	if p.over = f; !p.failing.IsZero() {
		p.waited += time.Since(p.failing)
		p.expiry.Stop()
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
// first, since the next node behind a balancer may be well; then growing, in
// proportion to patience: from half a second to ten at the default of 60 s,
// which makes 11 attempts in all.
func (p *Patience) backoff(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	wait := min(p.budget/120<<min(failures-2, 10), p.budget/6)
	return wait + rand.N(wait/4+1)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
