package patience

import (
	"cmp"
	"slices"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// answered notes that the request was answered. The state becomes well, unless it is over.
func (p *Patience) answered(r *Request, sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endAttempt(r)
	now := time.Now()
	if r.fault != nil {
		p.recoveredAt[cause(r.fault)] = now
		r.history = history{}
	}
	p.answers++
	if !r.Beside {
		p.servedAt, p.servedSent = now, latest(p.servedSent, sent)
	}
	p.answeredAt, p.abandonedSince = now, time.Time{}
	p.pace.quicken(now)
	if p.pace.resume() {
		p.wake()
	}
	clear(p.failing)
	delete(p.unserved, r.Group)
	delete(p.answersAtRefusal, r.Group)
	if p.over != nil {
		return
	}
	p.stopClock(now)
	p.resume(now)
	p.wakeNext() // the answer may have made another one the next
}

// stopClock forgets the failures since the last answer.
func (p *Patience) stopClock(now time.Time) {
	if !p.failingSince.IsZero() {
		p.waited += now.Sub(p.failingSince)
	}
	p.failingSince, p.lastFault, p.onlyFailed = time.Time{}, nil, nil
}

// abandoned notes that the caller of a request gave it up.
func (p *Patience) abandoned(r *Request, sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endAttempt(r)
	if p.abandonedSince.IsZero() {
		p.abandonedSince = latest(sent, p.answeredAt)
	}
}

// failed notes that the request failed. It returns the fault that ends the request, or nil
// if it is sent again.
func (p *Patience) failed(r *Request, sent time.Time, f *Failure) *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	probed := p.endAttempt(r)
	now := time.Now()
	switch {
	case p.over != nil:
		return p.over
	case f.Retry == Never:
		return p.refuse(r, sent, now, f.Fault)
	case f.GiveUp && p.isOnlyOneSilent(f, sent, now):
		p.failing[cause(f.Fault)] = []*Request{r}
		return f.Fault
	}
	p.noteFailure(r, sent, now, f)
	p.checkClock(now)
	if end := p.endOf(r); end != nil {
		return end
	}
	switch {
	case f.Retry == Paced:
		if p.slowDown(r, now, f) {
			return f.Fault
		}
	case !p.outage:
		if p.doubt(r, sent, now, f) {
			return f.Fault.After(r.tried(now))
		}
	case probed:
		p.failedProbes++
		p.electing = p.electing || f.Fault.Kind == fault.NoActiveNode
		p.probeAt = now.Add(p.backoff(p.failedProbes+1, p.electing))
	}
	if f.GiveUp {
		p.probeAt = now // the next request shows whether this one alone fails
		p.wake()
		return f.Fault
	}
	return nil
}

// endAttempt notes that the request is not under way any more. If it was the prober, another
// can be the next.
func (p *Patience) endAttempt(r *Request) (wasProber bool) {
	p.sending--
	p.noteIdle()
	if p.prober != r {
		return false
	}
	p.prober = nil
	p.wake()
	return true
}

// slowDown makes requests slower after a 429, which also ends an outage. It reports whether
// the request fails alone.
func (p *Patience) slowDown(r *Request, now time.Time, f *Failure) (alone bool) {
	defer p.resume(now)
	if f.GiveUp { // the quota may be for this request alone
		p.pace.reset()
		p.lastRefused = nil
		return false
	}
	longest := p.remaining(now)
	if longest > 2*time.Second {
		longest -= time.Second // so that some patience is left for a request after the pause
	}
	pause := f.RetryAfter
	if pause > 0 {
		pause = max(pause, shortestPause)
	}
	noAnswerSince := p.lastRefused != nil && p.lastRefused.answersAtRefusal == p.answers
	othersAnswered := p.servesOthersThanRefused(r, now)
	switch ownQuota := p.countRefusal(r, now); {
	case ownQuota && r.refusals >= triesAlone && r.othersServed >= manyAnswers:
		return true
	case ownQuota, othersAnswered: // slowing down the others would not help this one
		pause = max(pause, oneRefusal)
	default:
		p.pace.slow(now, p.answers)
	}
	until := now.Add(min(pause, longest))
	r.retryAt = latest(r.retryAt, until)
	if noAnswerSince && !othersAnswered { // all are refused, so all wait
		p.pace.pausedUntil = latest(p.pace.pausedUntil, until)
	}
	return false
}

// NotPaced discards the refusals: their cause was not the rate of requests, but one dead
// node behind a balancer. The rate returns to what the operator allows.
func (p *Patience) NotPaced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.reset()
	p.lastRefused = nil
	clear(p.answersAtRefusal)
	p.recoveredAt[fault.Unreachable] = time.Now()
	p.wake()
}

// servesOthersThanRefused reports whether others were answered since the request last met a
// 429, or have just been answered while its group met only 429s.
func (p *Patience) servesOthersThanRefused(r *Request, now time.Time) bool {
	before, ok := p.answersAtRefusal[r.Group]
	isServing := now.Sub(p.answeredAt) < 2*oneRefusal
	return isServing && ok && p.answers > before || !r.refusedAt.IsZero() && p.answers > r.answersAtRefusal
}

// doubt notes a failure outside of an outage, which may begin one. It reports whether the
// request fails alone.
func (p *Patience) doubt(r *Request, sent, now time.Time, f *Failure) (alone bool) {
	r.failures++
	isOwn := p.mayBeItsOwn(sent, f)
	if isOwn {
		r.ownFailures++
	}
	if p.failsAlone(r, now, isOwn) {
		return true
	}
	r.retryAt = now.Add(p.backoff(r.failures, false))
	if alike := p.noteFailing(r, f.Fault); p.showOutage(alike, r, f.Unsent) {
		p.beginOutage(now, max(alike[0].failures-1, 0))
	}
	return false
}

// countRefusal counts a 429 that the request met. It reports whether the quota may be for
// this request alone, and not for the run: no other has met a 429, or none since this one
// last did.
func (p *Patience) countRefusal(r *Request, now time.Time) (ownQuota bool) {
	if _, ok := p.answersAtRefusal[r.Group]; !ok && r.Group != "" {
		p.answersAtRefusal[r.Group] = p.answers
	}
	if now.Sub(r.refusedAt) < oneRefusal { // counts as the same refusal
		r.retryAt = r.refusedAt.Add(oneRefusal)
		return false
	}
	r.refusedAt = now
	ownQuota = p.lastRefused == nil || p.lastRefused == r
	if p.lastRefused == r && p.answers > r.answersAtRefusal {
		r.othersServed += p.answers - r.answersAtRefusal
	} else {
		p.lastRefused, r.refusals, r.othersServed = r, 0, 0
	}
	r.refusals++
	r.answersAtRefusal = p.answers
	return ownQuota
}

// isOnlyOneSilent reports whether a request that is given up took the whole budget
// while nothing else has failed since the last answer. Patience does not end then:
// a proxy may block this request alone. The next request shows it.
func (p *Patience) isOnlyOneSilent(f *Failure, sent, now time.Time) bool {
	return p.failingSince.IsZero() && p.failing[cause(f.Fault)] == nil && now.Sub(latest(sent, p.answeredAt)) >= p.budget
}

// beginOutage begins an outage. The failures before it count as probes.
func (p *Patience) beginOutage(now time.Time, failures int) {
	p.outage, p.electing, p.failedProbes, p.probeAt = true, false, failures, now.Add(p.backoff(failures, false))
	p.wake()
}

// resume ends an outage.
func (p *Patience) resume(now time.Time) {
	if !p.outage {
		return
	}
	p.outage, p.outageEndedAt = false, now
	p.wake()
}

// refuse ends a request that would fail again. It ends patience if two requests cannot
// establish TLS, or if the fault concerns the whole run.
func (p *Patience) refuse(r *Request, sent, now time.Time, f *fault.Error) *fault.Error {
	if r.fault != nil && r.fault.Kind == f.Kind {
		f = f.After(r.tried(now))
	}
	switch {
	case f.Run:
		p.end(now, f)
	case f.Kind == fault.TLS:
		p.noteFirst(r, sent, now)
		if p.showOutage(p.noteFailing(r, f), r, false) {
			p.end(now, f)
		}
	}
	if p.over != nil {
		return p.over
	}
	return f
}

// noteFailure notes how the request failed, and starts the clock if it is not running.
func (p *Patience) noteFailure(r *Request, sent, now time.Time, f *Failure) {
	if p.failingSince.IsZero() {
		p.failingSince, p.onlyFailed = latest(sent, p.answeredAt), r
		p.wake()
	} else if p.onlyFailed != r {
		p.onlyFailed = nil
	}
	// An attempt that was cut short, perhaps by the end of patience, says less than
	// what failed before it.
	if p.lastFault == nil || !f.CutShort && p.remaining(now) > 0 {
		p.lastFault = f.Fault
	}
	if f.Retry != Paced {
		p.noteFirst(r, sent, now)
	}
	if !r.failedAt.After(p.outageEndedAt) {
		r.failures = 0
	}
	r.fault, r.failedAt, r.isRefused, r.mayBePaced = f.Fault, now, f.Retry == Paced, f.MayBePaced
	r.dueBy = time.Time{}
	if f.Within > 0 {
		r.dueBy = now.Add(f.Within)
	}
}

// noteFirst notes the first attempt that failed, and the first one that may have failed by the
// request's own fault.
func (p *Patience) noteFirst(r *Request, sent, now time.Time) {
	if r.firstSent.IsZero() {
		r.firstSent = sent
	}
	if r.fault != nil && p.recoveredAt[cause(r.fault)].After(r.failedAt) { // until then, Vault or a node was down
		r.ownFailures, r.unservedAt = 0, time.Time{}
	}
	if !r.unservedAt.IsZero() {
		return
	}
	r.unservedAt = now
	if long := sent.Add(p.moment()); long.Before(now) {
		r.unservedAt = long
	}
	if _, ok := p.unserved[r.Group]; !ok && r.Group != "" {
		p.unserved[r.Group] = r.unservedAt
	}
}

// mayBeItsOwn reports whether a request may have caused its failure itself: Vault
// may have seen it, and no request that failed for the same cause has just been
// answered. If one has, a node behind a balancer is probably down.
func (p *Patience) mayBeItsOwn(sent time.Time, f *Failure) bool {
	return !f.Unsent && sent.Sub(p.recoveredAt[cause(f.Fault)]) > p.budget/12
}

// cause is the kind of a fault. The four kinds that one node that is down can show
// are the same cause.
func cause(f *fault.Error) fault.Kind {
	switch f.Kind {
	case fault.Sealed, fault.NoActiveNode, fault.BadResponse:
		return fault.Unreachable
	}
	return f.Kind
}

// noteFailing notes that the request failed, and returns the requests that failed for the same
// cause since the last answer, three at most.
func (p *Patience) noteFailing(r *Request, f *fault.Error) (alike []*Request) {
	alike = p.failing[cause(f)]
	if len(alike) <= 2 && !slices.Contains(alike, r) { // three are enough
		alike = append(alike, r)
		p.failing[cause(f)] = alike
	}
	return alike
}

// showOutage reports whether requests that fail alike show an outage: there are two, one of
// them failed while no others were answered; or there are more, and Vault may have gone down
// before r failed, the latest one, or did not see it.
func (p *Patience) showOutage(alike []*Request, r *Request, unsent bool) bool {
	isUnserved := func(r *Request) bool { return !p.servesOthers(r) }
	switch len(alike) {
	case 1:
		return false
	case 2:
		return slices.ContainsFunc(alike, isUnserved)
	}
	return unsent || p.mayHaveGoneDown(r)
}

// servesOthers reports whether another request was answered since this one, or one of its
// group, first failed.
func (p *Patience) servesOthers(r *Request) bool { return p.servedAt.After(p.unservedSince(r)) }

// mayHaveGoneDown reports whether the others that were answered had all been sent by then:
// Vault may have gone down since.
func (p *Patience) mayHaveGoneDown(r *Request) bool { return !p.servedSent.After(p.unservedSince(r)) }

// unservedSince is the request's unservedAt, or that of the first one of its group that
// failed after the group's last answer, if that is earlier.
func (p *Patience) unservedSince(r *Request) time.Time {
	if at, ok := p.unserved[r.Group]; ok && at.Before(r.unservedAt) {
		return at
	}
	return r.unservedAt
}

// failsAlone reports whether the request fails while others are answered, or has spent the
// whole budget. One that gives way is tried for a moment at least, since its worker serves
// others meanwhile.
func (p *Patience) failsAlone(r *Request, now time.Time, isOwn bool) bool {
	if now.Sub(latest(now.Add(-r.tried(now)), p.outageEndedAt)) >= p.budget {
		return true
	}
	isSoon := r.Others != nil && now.Sub(r.firstSent) < p.moment()
	return isOwn && r.ownFailures >= triesAlone && !isSoon && p.servesOthers(r)
}

// checkClock ends patience when the clock reaches the budget. But if only one request has
// failed since others were answered, only that one ends. The next one has a twelfth of the
// budget, and shows whether Vault is down.
func (p *Patience) checkClock(now time.Time) {
	if p.over != nil || p.remaining(now) > 0 {
		return
	}
	f := p.lastFault.After(now.Sub(p.failingSince))
	if p.onlyFailed == nil || p.answers == 0 {
		p.end(now, f)
		return
	}
	p.onlyFailed.ended, p.onlyFailed = f, nil
	left := p.budget / 12
	p.failingSince, p.waited = p.failingSince.Add(left), p.waited+left
	p.beginOutage(now, 0)
}

// endOf returns the fault that ends the request, or nil.
func (p *Patience) endOf(r *Request) *fault.Error { return cmp.Or(p.over, r.ended) }

func (p *Patience) end(now time.Time, f *fault.Error) {
	p.over = f.OfRun()
	if !p.failingSince.IsZero() {
		p.waited += now.Sub(p.failingSince)
	}
	p.wake()
}

// tried is how long the request has been tried, apart from the times after it gave way.
func (r *Request) tried(now time.Time) time.Duration { return now.Sub(r.firstSent) - r.wasAside }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
