package transport

import (
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// pacingProxy distinguishes a proxy that limits the rate with status 503 from a balancer
// whose nodes are down.
type pacingProxy struct {
	mu      sync.Mutex
	refused map[string]*refusals // by path, until it is answered
	passed  int                  // paths that were refused and then answered
}

// paceAfter paths that were refused and then answered show such a proxy.
const paceAfter = 2

// refusals are the refusals of one path. Those within a second count as one: they came
// before the pace slowed down, or while others used up the rate.
type refusals struct {
	count   int // since pacing began
	last    time.Time
	answers int // to any request, until then
}

// again counts one more refusal at the slower pace. It reports false if no request was answered
// since the last one: then the nodes are down, or no other request is left. It forgets the earlier
// refusals then, and if the last one is older than long.
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

func (p *pacingProxy) answered(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[path] != nil {
		delete(p.refused, path)
		p.passed++
	}
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

// judge says what a 503 that may be a proxy's means: at first, that requests may come too
// fast; once the proxy has shown that it limits the rate, that they do, unless this path is
// never answered, or nothing is.
func (p *pacingProxy) judge(e *exchange, f *patience.Failure) *patience.Failure {
	if !IsHarmless(e.request) {
		return f // Vault may have acted on it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.of(e.request.URL.Path)
	isNew := time.Since(r.last) >= time.Second
	if p.passed < paceAfter {
		if isNew {
			r.last = time.Now()
		}
		early := *f
		early.MayBePaced, early.Unsent = true, f.Unsent || !isNew
		return &early
	}
	if isNew && !r.again(e.retry.Patience.Answers(), e.retry.Patience.Budget()/3) {
		down := *f
		down.Unsent = true
		return &down
	}
	const slower = "raise its limit, or set VAULT_RATE_LIMIT=RATE:BURST on the Patch server to less"
	if r.count >= 3 {
		refused := *f.Fault
		refused.Do += "; it limits the rate, too, perhaps to less than the agent tries: " + slower
		return &patience.Failure{Fault: &refused}
	}
	paced := reply.LimitedByProxy(f.Fault.Detail)
	paced.Do = slower
	return &patience.Failure{Fault: paced, Retry: patience.Paced, Unsent: true}
}
