package transport

import (
	"math"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// pacingProxy says what a 503 means that a proxy may have sent: requests come too fast, as
// nginx's limit_req says by default, or a node behind a balancer is down.
//
//	what was seen                                   what the next 503 means
//	-------------                                   -----------------------
//	nothing                                         a failure like others, but it may be the rate
//	two paths were refused and then answered        the rate: requests are sent more slowly
//	nothing was answered since the path's last 503  an outage
//	others were, but the path never                 the path fails alone
//	at a low rate, 8 trials were answered           a dead node: a failure like others
//	30 more 503s, with few answers                  those 8 were chance: the rate
type pacingProxy struct {
	mu            sync.Mutex
	refused       map[string]*refusals // by path, until it is answered
	passed        int                  // paths that were refused and then answered
	answersBefore int                  // to any request, until pacing began
	chances       int                  // refusals since then, of paths that were answered later

	trials       int // refused requests that were sent again at once
	passedTrials int // those that were answered

	answersAtDisproof int
	refusedSince      int // requests, since the trials disproved it
}

// paceAfter is how many paths must be refused and then answered to show such a proxy.
const paceAfter = 2

// A balancer with a dead node refuses requests at any rate. So while the rate is low, some refused
// requests are sent again at once: such a balancer answers many of these trials, and a proxy that
// limits the rate few.
const (
	mostTrials = 24
	disproof   = 8  // answered trials that show that the rate is not the cause
	lowRate    = 20 // requests a second
)

func (p *pacingProxy) isDisproved() bool { return p.passedTrials >= disproof }

// wasChance counts a refusal after the disproof. It reports whether the disproof was chance,
// since most requests are refused at full speed. Then there are no more trials until an outage.
func (p *pacingProxy) wasChance(answers int) bool {
	if p.refusedSince++; p.refusedSince < 30 || p.refusedSince < 3*(answers-p.answersAtDisproof) {
		return false
	}
	p.passedTrials, p.refusedSince, p.trials = 0, 0, mostTrials
	return true
}

// refusals are the refusals of one path. Those within a second count as one: they came
// before the pace slowed down, or while others used up the rate.
type refusals struct {
	count   int // since pacing began
	last    time.Time
	answers int       // to any request, until then
	trialBy time.Time // when the answer to the trial under way must come to count; zero if it was not last sent as one
}

// again counts a refusal at the slower pace. It reports false if no request was answered since
// the last one: the nodes are down, or no other request is left. In that case, and if the last
// one is older than long, it forgets the earlier refusals.
func (r *refusals) again(answers int, long time.Duration) bool {
	isServing, isLongAgo := answers > r.answers, time.Since(r.last) > long
	if !isServing || isLongAgo {
		r.count = 0
	}
	r.last, r.answers = time.Now(), answers
	if isServing {
		r.count++
	}
	return isServing
}

// answered notes the answer to a path. If that disproves that the proxy limits the rate,
// requests are not paced any more.
func (p *pacingProxy) answered(path string, all *patience.Patience) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.refused[path]
	if r == nil {
		return
	}
	delete(p.refused, path)
	p.chances += r.count
	if p.passed++; p.passed == paceAfter {
		p.answersBefore = all.Answers()
	}
	if !time.Now().Before(r.trialBy) {
		return
	}
	p.answersAtDisproof = all.Answers()
	if p.passedTrials++; p.passedTrials == disproof {
		all.NotPaced()
	}
}

// tries reports whether a request that was refused at this rate is sent again at once, as a
// trial. A refused trial is not followed by another at once.
func (p *pacingProxy) tries(r *refusals, rate float64) bool {
	wasTrial := !r.trialBy.IsZero()
	r.trialBy = time.Time{}
	if wasTrial || rate > lowRate || p.trials >= mostTrials {
		return false
	}
	p.trials++
	r.trialBy = time.Now().Add(time.Duration(float64(time.Second) / rate / 10)) // a tenth of the time for one request
	return true
}

// enough is how many refusals of a path in a row are not chance: fewer than one path in ten
// thousand would get as many. It is at least three.
func (p *pacingProxy) enough(answers int) int {
	share := float64(p.chances) / float64(p.chances+1+answers-p.answersBefore)
	return max(3, int(math.Log(0.0001)/math.Log(share)))
}

// of returns the refusals of a path.
func (p *pacingProxy) of(path string) *refusals {
	if p.refused == nil {
		p.refused = make(map[string]*refusals)
	}
	if p.refused[path] == nil {
		p.refused[path] = &refusals{}
	}
	return p.refused[path]
}

// judge says what a 503 means that a proxy may have sent. At first, requests may be too fast.
// Once the proxy has shown that it limits the rate, they are too fast, unless this path is
// never answered, or no path is.
func (p *pacingProxy) judge(e *exchange, f *patience.Failure) *patience.Failure {
	if !IsHarmless(e.request) {
		return f // Vault may have acted on it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isDisproved() && !p.wasChance(e.retry.Patience.Answers()) {
		return f
	}
	r := p.of(e.request.URL.Path)
	isNew := time.Since(r.last) >= time.Second
	if p.passed < paceAfter {
		// The proxy may keep requests waiting that are too fast, and refuse the rest. Then those
		// that it accepts again are answered late.
		isNew = isNew && (r.last.IsZero() || !e.retry.Patience.AwaitsFirstSince(r.last))
		if isNew {
			r.last = time.Now()
		}
		early := *f
		early.MayBePaced, early.Unsent = true, f.Unsent || !isNew
		return &early
	}
	if isNew && !r.again(e.retry.Patience.Answers(), e.retry.Patience.Budget()/3) {
		p.trials, p.passedTrials = 0, 0 // of an outage
		down := *f
		down.Unsent = true
		return &down
	}
	const slower = "raise its limit, or set VAULT_RATE_LIMIT=RATE:BURST on the Patch server to stay below it"
	if r.count >= p.enough(e.retry.Patience.Answers()) {
		refused := *f.Fault
		refused.Do += "; it also limits the rate of requests, which may be the cause: " + slower
		return &patience.Failure{Fault: &refused}
	}
	paced := reply.LimitedByProxy(f.Fault.Detail)
	paced.Do = slower
	pacing := &patience.Failure{Fault: paced, Retry: patience.Paced, Unsent: true, RetryAfter: f.RetryAfter}
	if f.RetryAfter == 0 && p.tries(r, e.retry.Patience.Rate()) {
		return pacing.AgainWithin(time.Nanosecond)
	}
	return pacing
}
