package transport

import (
	"context"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// login is the state of a login that Vault may have processed without an answer. Sending
// it twice is acceptable; more could use up a secret id, or leave tokens behind. So the
// second time waits until Vault is well.
type login struct {
	unclear int               // how often it was sent and not answered
	failed  time.Time         // when that first happened
	failure *patience.Failure // the first time
	well    bool              // Vault's health was good when it was last asked for
}

// unclearLogin is the failure for a login that Vault may have processed.
func (e *exchange) unclearLogin(ctx context.Context, f *patience.Failure) *patience.Failure {
	e.login.unclear++
	first := e.login.unclear == 1
	switch {
	case first:
		e.login.failed, e.login.failure = time.Now(), f
		e.retry.Unclear()
	case f.CutShort:
		f = e.login.failure // it says more than an attempt that had little time
	}
	switch {
	case isSilence(f) && e.isWaiting(ctx):
		return waiting(f)
	case first:
		return f
	}
	return unclear(f, "sent twice and not repeated")
}

// isWaiting reports whether Vault waits for another server when it does not answer a
// login: its health is good.
func (e *exchange) isWaiting(ctx context.Context) bool {
	r := e.retry
	if e.login.unclear > 1 {
		return e.login.well
	}
	limit := r.Patience.Budget() - time.Since(e.began)
	switch {
	case r.isCheck():
		limit = r.attempt()
	case limit > r.Patience.Budget()/10:
		return false // there is time for a second attempt
	}
	_, f := r.health(ctx, okQuery, limit)
	return f == nil
}

// waiting is the failure for a login that Vault does not answer although it is well.
// What it waits for depends on the method, so the caller adds the advice about that.
func waiting(f *patience.Failure) *patience.Failure {
	login := *f.Fault
	login.Kind, login.What, login.Do = fault.Login, "vault answers sys/health, but not this login", ""
	if !f.CutShort {
		login.Do = "if it is only slow, raise VAULT_CLIENT_TIMEOUT on the Patch server"
	}
	login.Reason = "Vault is well, but does not answer the agent's login"
	login.Fix = "check the server that Vault asks for this login; the agent's log names it"
	return &patience.Failure{Fault: &login}
}

// awaitHealth asks for Vault's health before a login is sent again. It returns what is left
// of the limit then, or why it is too early. It pauses first: a proxy may limit the rate of
// logins.
func (e *exchange) awaitHealth(ctx context.Context, limit time.Duration) (left time.Duration, f *patience.Failure) {
	r, began := e.retry, time.Now()
	budget := r.Patience.Budget()
	if !pause(ctx, time.Until(e.login.failed.Add(min(max(time.Second, e.last.RetryAfter), budget/12, limit/2)))) {
		return 0, e.last
	}
	waited := time.Since(e.login.failed)
	response, f := r.health(ctx, okQuery, limit)
	e.login.well = f == nil
	switch {
	case f == nil:
	case f.Retry == patience.Never && f.Fault.Kind != fault.TLS:
		// A proxy blocks sys/health.
	case mayBeBlocked(f) && (waited >= budget*3/4 || waited >= budget/3 && f.Fault.Detail != e.last.Fault.Detail):
		// It may do so with an answer that looks temporary. But if the login failed with
		// the same one, a balancer probably answers for nodes that are all down.
	default:
		return 0, f
	}
	switch {
	case e.last.Fault.Kind == fault.ServerError && waited < budget/12:
		return 0, e.last // Vault has a problem that its health does not show
	case f == nil && reply.IsStandby(response) && waited < budget/4:
		return 0, e.last // the leader may hang, until another is elected
	}
	if reply.MayBePacing(e.status, e.last) && !pause(ctx, min(time.Second, budget/12, limit/4)) { // it may count that request, too
		return 0, e.last
	}
	return max(limit-time.Since(began), time.Millisecond), nil
}

// pause waits, and reports false if ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
