package transport

import (
	"context"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// isSilence reports whether a request was sent and no answer came in time.
func isSilence(f *patience.Failure) bool {
	return !f.Unsent && f.Fault.Kind == fault.Unreachable && isTimeout(f.Fault.Cause)
}

// isWaiting reports whether Vault waits for another server when it does not answer a
// login: its health is good.
func (s *exchange) isWaiting(ctx context.Context) bool {
	r := s.retry
	if s.unclear > 1 {
		return s.well
	}
	limit := r.Patience.Budget() - time.Since(s.began)
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
// What it waits for depends on the method.
func waiting(f *patience.Failure) *patience.Failure {
	login := *f.Fault
	login.Kind, login.What, login.Do = fault.Login, "vault does not answer, while sys/health does", ""
	login.Reason = "Vault is well, but does not answer the agent's login"
	login.Fix = "check what Vault asks for this login; the agent's log names it"
	return &patience.Failure{Fault: &login}
}

// mustWait asks for Vault's health after a failed login, and returns why it is too early
// to send the login again, or nil.
func (s *exchange) mustWait(ctx context.Context, limit time.Duration) *patience.Failure {
	r := s.retry
	waited := time.Since(s.failed)
	response, f := r.health(ctx, okQuery, limit)
	s.well = f == nil
	blocked := f != nil && (f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError)
	switch {
	case f != nil && (f.Fault.Kind == fault.TLS || f.Retry != patience.Never) && !(blocked && waited >= r.Patience.Budget()/3):
		return f
	case s.last != nil && s.last.Fault.Kind == fault.ServerError && waited < r.Patience.Budget()/12:
		return s.last // Vault has a problem that its health does not show
	case s.last != nil && f == nil && reply.IsStandby(response) && waited < r.Patience.Budget()/4:
		return s.last // the leader may hang, until another is elected
	}
	return nil // well, or a proxy blocks sys/health
}
