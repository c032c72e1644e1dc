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
	refused map[string]bool // paths, until they are answered
	passed  int             // paths that were refused and then answered
}

// paceAfter paths that were refused and then answered show such a proxy.
const paceAfter = 2

// refusals are the refusals of one request. Those within a second count as one: they came
// before the pace slowed down, or while others used up the rate.
type refusals struct {
	count   int // since pacing began
	last    time.Time
	answers int // to any request, until then
}

func (p *pacingProxy) answered(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[path] {
		delete(p.refused, path)
		p.passed++
	}
}

// refuses notes that a path was refused, and reports whether a proxy limits the rate.
func (p *pacingProxy) refuses(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passed >= paceAfter {
		return true
	}
	if p.refused == nil {
		p.refused = make(map[string]bool)
	}
	p.refused[path] = true
	return false
}

func (p *pacingProxy) judge(e *exchange, f *patience.Failure) *patience.Failure {
	now := time.Now()
	isNew := now.Sub(e.refusals.last) >= time.Second
	switch {
	case !IsHarmless(e.request):
		return f // Vault may have acted on it
	case !p.refuses(e.request.URL.Path):
		early := *f
		early.MayBePaced, early.Unsent = true, f.Unsent || !isNew
		if isNew {
			e.refusals.last = now
		}
		return &early
	}
	if isNew {
		answers := e.retry.Patience.Answers()
		if e.refusals.count > 0 && answers == e.refusals.answers {
			// Nothing is answered any more: the nodes are down, which is not this request's fault.
			e.refusals = refusals{}
			down := *f
			down.Unsent = true
			return &down
		}
		e.refusals = refusals{e.refusals.count + 1, now, answers}
	}
	if e.refusals.count >= 3 {
		return f.Final()
	}
	paced := reply.LimitedByProxy(f.Fault.Detail)
	paced.Do = "raise its limit, or set a lower VAULT_RATE_LIMIT=RATE:BURST on the Patch server"
	return &patience.Failure{Fault: paced, Retry: patience.Paced, Unsent: true}
}
