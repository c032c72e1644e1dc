package patience

import (
	"math"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// Budget returns how long the Patience waits.
func (p *Patience) Budget() time.Duration { return p.budget }

// Over returns the fault that ended patience, or nil.
func (p *Patience) Over() *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// HasAnswers reports whether any request was answered.
func (p *Patience) HasAnswers() bool { return p.Answers() > 0 }

// Answers returns how many requests were answered.
func (p *Patience) Answers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers
}

// AwaitsFirstSince reports whether none of the requests that were sent after a time has been
// answered, and others than the caller's are under way.
func (p *Patience) AwaitsFirstSince(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sending > 1 && !p.servedSent.After(at)
}

// IsPaced reports whether the rate of requests is limited, by the operator or by Vault.
func (p *Patience) IsPaced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pace.limiter != nil
}

// Rate returns how many requests a second are sent at most, which is infinite without a limit.
func (p *Patience) Rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pace.limiter == nil {
		return math.Inf(1)
	}
	return float64(p.pace.limiter.Limit())
}

// Stats returns how many requests were sent again, and how long the run waited
// without any answer.
func (p *Patience) Stats() (retries int, waited time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waited = p.waited
	if since := p.silentSince(); p.over == nil && !since.IsZero() {
		waited += p.sinceWaiting(since)
	}
	return p.retries, waited
}

// Silence returns how long the run has been waiting without any answer, and the
// last fault, which may be nil. It returns 0 in the state well.
func (p *Patience) Silence() (d time.Duration, last *fault.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.silentSince()
	if since.IsZero() {
		return 0, nil
	}
	return p.sinceWaiting(since), p.lastFault
}

// LastFault returns how the request last failed, or nil if it did not since it was answered.
func (p *Patience) LastFault(r *Request) *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.fault
}

// silentSince returns when the silence began, or zero in the state well.
func (p *Patience) silentSince() time.Time {
	if p.failingSince.IsZero() {
		return p.abandonedSince
	}
	return p.failingSince
}

// sinceWaiting is the time since then, without that in which nobody waits for an answer.
func (p *Patience) sinceWaiting(since time.Time) time.Duration {
	if p.isIdle() {
		return p.idleSince.Sub(since)
	}
	return time.Since(since)
}
