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

func (p *pacingProxy) judge(e *exchange, f *patience.Failure) *patience.Failure {
	if !IsHarmless(e.request) {
		return f // Vault may have acted on it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r, now := p.of(e.request.URL.Path), time.Now()
	isNew := now.Sub(r.last) >= time.Second
	if p.passed < paceAfter {
		early := *f
		early.MayBePaced, early.Unsent = true, f.Unsent || !isNew
		if isNew {
			r.last = now
		}
		return &early
	}
	if isNew {
		answers := e.retry.Patience.Answers()
		if r.count > 0 && answers == r.answers {
			// Nothing else is answered: the nodes are down, or this is the last request that is left.
			r.last = now
			down := *f
			down.Unsent = true
			return &down
		}
		*r = refusals{r.count + 1, now, answers}
	}
	if r.count >= 3 {
		return f.Final()
	}
	paced := reply.LimitedByProxy(f.Fault.Detail)
	paced.Do = "raise its limit, or set VAULT_RATE_LIMIT=RATE:BURST on the Patch server to less"
	return &patience.Failure{Fault: paced, Retry: patience.Paced, Unsent: true}
}
