package transport

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// internalErrors tells a credential that Vault cannot process from a Vault that
// is in trouble. Vault answers both with a bare internal error; its health shows
// only some of its troubles.
type internalErrors struct {
	mu    sync.Mutex
	asked time.Time // when Vault's health was asked for last
	good  bool      // it was good then, too
}

// judge makes a bare internal error final if it is the answer again, a twelfth
// of patience later, and Vault's health is good both times. One to a request that
// the run can do without is left to the next request.
func (e *internalErrors) judge(ctx context.Context, s *exchange, f *patience.Failure) *patience.Failure {
	r := s.retry
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.asked) < r.Budget/12 {
		return f
	}
	response, unwell := r.get(ctx, "sys/health", "", r.attempt())
	good := unwell == nil && (response.StatusCode == http.StatusOK || response.StatusCode == 473) // a performance standby
	again := good && e.good
	e.asked, e.good = time.Now(), good
	if !again || s.end != 0 {
		return f
	}
	credential := *f.Fault
	if r.Unclear != nil {
		credential.Kind, credential.What = fault.Login, "vault answers the login with an internal error, while its health is good"
		credential.Do = "check the credential of the login, and that Vault's audit device works: a dead one looks the same"
	} else {
		credential.Kind, credential.What = fault.Token, "vault answers this token with an internal error, while its health is good"
		credential.Do = "check that the token is a Vault token of this server, and that Vault's audit device works: a dead one looks the same"
	}
	return &patience.Failure{Fault: &credential}
}
