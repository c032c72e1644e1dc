package transport

import (
	"context"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// internalErrors distinguishes a credential that Vault cannot process from a Vault with
// a problem of its own. In both cases Vault answers with a bare internal error, and its
// health shows only some problems.
type internalErrors struct {
	mu    sync.Mutex // locked while Vault's health is asked for
	asked time.Time  // when Vault's health was last asked for
	good  bool       // it was good then
}

// judge makes a bare internal error final if it comes again a twelfth of patience later
// and Vault's health was good both times. For an optional request it leaves that to the
// next request.
func (i *internalErrors) judge(ctx context.Context, e *exchange, f *patience.Failure) *patience.Failure {
	r := e.retry
	if !i.mu.TryLock() {
		return f // another request is asking; waiting for it could outlast ctx
	}
	defer i.mu.Unlock()
	if time.Since(i.asked) < r.Patience.Budget()/12 {
		return f
	}
	good := r.isWell(ctx, r.attempt())
	again := good && i.good
	i.asked, i.good = time.Now(), good
	if !again || e.isOptional() {
		return f
	}
	kind, what, check := fault.Token, "this token", "that the token is a Vault token of this server"
	if r.isLogin() {
		kind, what, check = fault.Login, "the login", "the credential of the login"
	}
	credential := *f.Fault
	credential.Kind, credential.What = kind, "vault answers "+what+" with an internal error, although its health is good"
	credential.Do = "check " + check + ", and that Vault's audit device works: a dead one looks the same"
	return &patience.Failure{Fault: &credential}
}
