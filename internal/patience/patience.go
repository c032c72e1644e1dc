// Package patience repeats requests that Vault did not answer. The requests of a
// run share one [Patience], so a dead Vault costs one wait, however many requests
// there are. A request that fails while others are answered fails alone.
//
//	p := patience.New(time.Minute, patience.Limits{})
//	err := p.Try(ctx, &patience.Request{}, func(ctx context.Context, limit time.Duration) *patience.Failure {
//		return … // send the request once, for no longer than limit
//	})
//
// Patience is the longest time without any answer. The clock starts when the
// first request that fails is sent, and stops at the next answer to any request.
//
// A Patience is in one of four states:
//
//	state   what is sent                  event                              next
//	-----   ------------                  -----                              ----
//	well    every request at once         a request fails                    doubt
//
//	doubt   new requests at once; failed  any request is answered            well
//	        ones again, first at once,    others fail for the same cause     outage
//	        then after growing waits      the clock reaches the budget       over
//	                                      the same, but only one request     outage
//	                                      failed, and others were answered
//
//	outage  one request at a time, the    any request is answered            well
//	        prober, from each group in    Vault answers 429                  doubt
//	        turn, after growing waits;    the clock reaches the budget       over
//	        all others wait
//
//	over    nothing; every request        none
//	        fails with the last fault
//
// Whether a failure is the request's own or Vault's decides who waits (outcome.go):
//
//   - In an outage it is Vault's.
//   - Outside of one, a request that fails three times while others are answered fails
//     alone; one that gives way to others does not do so within a moment. A failure does not
//     count if Vault did not see the request, or if a request that failed for the same cause
//     has just been answered: then one node behind a balancer is down, and a request may meet
//     it three times.
//   - Others are answered if one was since the request, or another of its group, first
//     failed. Then two requests that fail are not an outage. If those others were all sent
//     before that failure, Vault may have gone down since: then three are an outage, and a
//     request that failed twice waits until it has been tried for a twelfth of the budget.
//     Before a third attempt, its caller should ask for Vault's health, if no other request
//     was answered for a moment ([Patience.MayBeDown]).
//   - A request that fails with no other to compare it with has the whole budget. Then
//     it fails alone if others were answered before. The next ones show whether Vault
//     is down; a twelfth of the budget is left for that.
//
// A request that has failed and must wait gives way to another, if its caller has one: that
// one may be answered, which shows that Vault is well.
//
// A 429 is not a failure: Vault is well and asks for fewer requests. So all are sent more
// slowly (pace.go), and the budget counts only while none is answered. But a quota may be for
// some requests alone, and it would not help those to slow down the others. A request that
// meets a 429 does not slow them down, but waits for a second itself, if others were answered
// since its last 429, if others are answered but none of its group, or if no other meets a
// 429. In the last case it fails alone after three 429s and many answers to others.
//
// If two requests cannot establish TLS, patience ends at once: waiting would not help.
package patience

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// triesAlone is how often a request is sent that fails while others are answered.
const triesAlone = 3

// manyAnswers to others, and no 429 to any, show that a quota is for one request alone.
const manyAnswers = 200

// Patience is shared by the requests of one run.
type Patience struct {
	budget   time.Duration
	underWay chan struct{} // has one for each request that is being sent; nil means no limit

	mu   sync.Mutex
	pace pace
	over *fault.Error // why patience ended; nil in every other state

	// Answers.
	answers     int                      // how many came
	answeredAt  time.Time                // when the last one came
	servedAt    time.Time                // when the last one came to a request that is not Beside
	servedSent  time.Time                // when the latest of those requests was sent
	recoveredAt map[fault.Kind]time.Time // when a request that had failed was last answered, by cause
	unserved    map[string]time.Time     // when a group first failed after its last answer

	// 429s.
	lastRefused      *Request       // the last request that met one
	answersAtRefusal map[string]int // how many answers had come when a group first met one since one of it was answered

	// Failures since the last answer.
	failingSince   time.Time                 // when the first failed request was sent; zero in the state well
	lastFault      *fault.Error              // of the last request that failed
	onlyFailed     *Request                  // the one request that failed; nil if there are several
	failing        map[fault.Kind][]*Request // the first three that failed, by cause
	abandonedSince time.Time                 // when the first request that its caller gave up was sent

	// The outage.
	outage        bool      // the state is outage
	electing      bool      // a standby answered in it, so the cluster elects a leader
	prober        *Request  // the one request under way
	failedProbes  int       // in this outage
	probeAt       time.Time // when the next probe may be sent
	outageEndedAt time.Time // when the last one ended

	waiting   []*Request    // those that may not be sent yet; the one that has waited longest first
	changed   chan struct{} // closed and replaced when waiting requests must look again
	sending   int           // requests that may be sent now, and have not ended
	idleSince time.Time     // when the last request ended, or its caller gave it up

	// In outages, groups of requests are sent in turn.
	turns    int          // how many requests were
	lastTurn map[kind]int // the number of the last one of each kind

	retries int           // requests that were sent again
	waited  time.Duration // time without an answer, before the current failure
}

// Limits limit the requests. The zero Limits are none, until Vault asks for fewer.
type Limits struct {
	PerSecond float64 // requests a second; 0 means no limit
	Burst     int     // requests at once after a pause; 0 means 1
	UnderWay  int     // requests at the same time; 0 means no limit
}

// New makes a Patience that waits for budget. A request that waits for another to end does
// not use up the time of its attempt.
func New(budget time.Duration, limits Limits) *Patience {
	p := &Patience{
		budget:           budget,
		pace:             newPace(limits.PerSecond, limits.Burst),
		failing:          make(map[fault.Kind][]*Request),
		recoveredAt:      make(map[fault.Kind]time.Time),
		unserved:         make(map[string]time.Time),
		answersAtRefusal: make(map[string]int),
		lastTurn:         make(map[kind]int),
		changed:          make(chan struct{}),
	}
	if limits.UnderWay > 0 {
		p.underWay = make(chan struct{}, limits.UnderWay)
	}
	return p
}

// Request is a request as Patience sees it. The zero Request is in no group and never gives
// way. Each Request belongs to one Patience, and to one Try at a time.
type Request struct {
	// Group names the requests that probably fail together, such as those to one mount.
	Group string

	// Others reports whether another request could be sent in place of this one; nil means
	// never. If so, Try returns [ErrAside] when this one has failed and must wait, unless a
	// proxy may have refused it for its rate, or has met a 429 and waits for any reason.
	Others func() bool

	// Beside is whether an answer to the request says nothing about others: a request that
	// fails does not fail alone because this one is answered.
	Beside bool

	turn chan struct{} // tells it that it is the next one at a limited rate; nil until it waits
	history
}

// history is what happened to a request since it was last answered.
type history struct {
	fault       *fault.Error // the last one; nil until the request fails
	ended       *fault.Error // with which it fails alone; nil until then
	firstSent   time.Time    // when its first failed attempt was sent, apart from 429
	unservedAt  time.Time    // when the first one that may be its own failed, or had waited a moment for an answer
	failures    int          // outside of outages, since the last one
	ownFailures int          // those outside of outages that it may have caused itself
	failedAt    time.Time    // when it last failed

	refusals         int       // 429s since the last one to another request; those within a second are one
	othersServed     int       // answers to others since the first of them
	answersAtRefusal int       // Patience.answers at the last of them
	refusedAt        time.Time // when the last of them came

	isRefused  bool          // it met a 429 when it was last sent
	mayBePaced bool          // a proxy may have refused it for its rate when it was last sent
	asideSince time.Time     // when it gave way; zero after Try goes on with it
	wasAside   time.Duration // for how long in all, before that

	retryAt time.Time // when it may be sent again
	dueBy   time.Time // when it is sent again whatever others do; zero means never
}

// IsReady reports whether a request that gave way need not wait any longer.
func (r *Request) IsReady() bool { return !time.Now().Before(r.retryAt) }

// ErrAside is the error of a request that gave way to another.
var ErrAside = errors.New("the request gave way to another")

// Try repeats a request until it is answered, fails for good, or patience or ctx
// ends. send sends it once, within limit, and returns nil if Vault answered. Try
// returns nil, ctx's error, a *fault.Error or [ErrAside]. To go on with a request that gave
// way, call Try with it again.
func (p *Patience) Try(ctx context.Context, r *Request, send func(ctx context.Context, limit time.Duration) *Failure) error {
	if !r.asideSince.IsZero() {
		r.wasAside += time.Since(r.asideSince)
		r.asideSince = time.Time{}
	}
	failed := false
	for {
		limit, err := p.await(ctx, r, failed)
		if err != nil {
			return err
		}
		if p.underWay != nil {
			if limit = p.enter(ctx, r, limit); limit <= 0 {
				continue // Vault has gone down since, or ctx has ended
			}
		}
		p.countRetry(r)
		began := time.Now()
		f := send(ctx, limit)
		if p.underWay != nil {
			<-p.underWay
		}
		switch {
		case f == nil:
			p.answered(r, began)
			return nil
		case ctx.Err() != nil:
			p.abandoned(r, began)
			return ctx.Err()
		}
		if end := p.failed(r, began, f); end != nil {
			return end
		}
		failed = true
	}
}

// enter waits until a request may be under way, and returns how long it may take; 0 means
// that it must wait again.
func (p *Patience) enter(ctx context.Context, r *Request, limit time.Duration) time.Duration {
	select {
	case p.underWay <- struct{}{}:
		return limit
	default:
	}
	select {
	case p.underWay <- struct{}{}:
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.endAttempt(r)
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.checkClock(now)
	if p.endOf(r) != nil || p.outage && p.prober != r {
		<-p.underWay
		p.endAttempt(r)
		return 0
	}
	return p.remaining(now)
}

// countRetry counts a request that is sent again.
func (p *Patience) countRetry(r *Request) {
	if r.fault == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retries++
}

// await waits until the request may be sent, and returns how long it may take. If the
// request has failed in this Try, it may give way instead.
func (p *Patience) await(ctx context.Context, r *Request, failed bool) (limit time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endIdleness()
	p.waiting = append(p.waiting, r)
	defer p.leave(r)
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		now := time.Now()
		p.checkClock(now)
		if end := p.endOf(r); end != nil {
			return 0, end
		}
		remaining := p.remaining(now)
		wait := p.untilTurn(r, now)
		if wait <= 0 {
			if p.outage {
				p.probe(r)
			}
			p.sending++
			return remaining, nil
		}
		if failed && p.givesWay(r, now) {
			r.asideSince = now
			return 0, ErrAside
		}
		p.sleep(ctx, r, min(wait, remaining))
	}
}

// leave removes the request from those that wait. Another can be the next one at a limited
// rate or, if this one left unsent in an outage, the prober.
func (p *Patience) leave(r *Request) {
	p.waiting = slices.DeleteFunc(p.waiting, func(w *Request) bool { return w == r })
	p.noteIdle()
	if p.outage && p.prober == nil {
		p.wake()
	}
	p.wakeNext()
}

// isIdle reports whether nobody waits for an answer.
func (p *Patience) isIdle() bool { return p.sending == 0 && len(p.waiting) == 0 }

func (p *Patience) noteIdle() {
	if p.isIdle() {
		p.idleSince = time.Now()
	}
}

// endIdleness stops the clock for the time in which nobody waited for an answer.
func (p *Patience) endIdleness() {
	if !p.isIdle() {
		return
	}
	for _, since := range []*time.Time{&p.failingSince, &p.abandonedSince} {
		if !since.IsZero() {
			*since = since.Add(time.Since(p.idleSince))
		}
	}
}

// sleep releases the lock until something changes, the turn of the request comes, ctx ends, or
// the time is over.
func (p *Patience) sleep(ctx context.Context, r *Request, d time.Duration) {
	if r.turn == nil {
		r.turn = make(chan struct{}, 1)
	}
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-r.turn:
	case <-timer.C:
	}
}

// wakeNext makes the next request at a limited rate look again.
func (p *Patience) wakeNext() {
	if p.outage || p.pace.limiter == nil {
		return
	}
	if next := p.nextAtRate(time.Now()); next != nil {
		select {
		case next.turn <- struct{}{}:
		default: // it has been told, or does not wait yet
		}
	}
}

// wake makes all waiting requests look again.
func (p *Patience) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}
