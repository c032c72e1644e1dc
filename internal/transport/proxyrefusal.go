package transport

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// proxyRefusals tells a proxy that refuses with 503 what comes too fast from a
// balancer whose nodes are away.
type proxyRefusals struct {
	pacing atomic.Bool // two different paths that were refused have since been answered

	mu      sync.Mutex
	refused map[string]bool // paths, until they are answered
	passed  int
}

const paceAfter = 2 // paths that were refused and then answered

// refusals are those of one request at a pace.
type refusals struct {
	count int
	last  time.Time
}

func (p *proxyRefusals) answered(path string) {
	if p.pacing.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[path] {
		delete(p.refused, path)
		if p.passed++; p.passed == paceAfter {
			p.refused = nil
			p.pacing.Store(true)
		}
	}
}

func (p *proxyRefusals) judge(s *exchange, f *patience.Failure) *patience.Failure {
	if !IsHarmless(s.request) {
		return f // who knows whether Vault acted on it
	}
	if !p.pacing.Load() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.refused == nil {
			p.refused = make(map[string]bool)
		}
		p.refused[s.request.URL.Path] = true
		return f
	}
	// Refusals within a second count once: they came before the pace was slowed.
	if now := time.Now(); now.Sub(s.refused.last) >= time.Second {
		s.refused.count, s.refused.last = s.refused.count+1, now
	}
	if s.refused.count >= 3 {
		return f.Final()
	}
	paced := *f.Fault
	paced.Kind, paced.What = fault.RateLimited, "the proxy before vault is rate limiting the agent"
	paced.Do = "raise its limit, or set VAULT_RATE_LIMIT=RATE:BURST on the Patch server below it"
	return &patience.Failure{Fault: &paced, Retry: patience.Paced, Unsent: true}
}
