package reply

import (
	"net/http"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// state is a state of Vault in which it does not answer a request.
type state struct {
	retry  patience.When
	unsent bool        // Vault certainly did not act on the request
	fault  fault.Error // without detail and cause
}

var (
	limiting = &state{patience.Paced, true, fault.Error{Kind: fault.RateLimited, What: "vault is rate limiting the agent",
		Do: "raise Vault's rate limit quota, or set VAULT_RATE_LIMIT on the Patch server"}}
	lagging = &state{patience.Later, true, fault.Error{Kind: fault.ServerError, What: "vault does not answer yet",
		Do: "check how far this performance standby lags behind"}}
	demanding = &state{patience.Never, true, fault.Error{Kind: fault.ServerError, What: "vault or the proxy before it refuses the request",
		Do: "check what headers the proxy requires"}}
	sealed = &state{patience.Later, true, fault.Error{Kind: fault.Sealed, What: "vault is sealed or not initialized",
		Do: "unseal it: vault operator unseal (only a new Vault needs vault operator init first)"}}
	closedNamespace = &state{patience.Later, true, fault.Error{Kind: fault.Sealed, What: "the namespace is sealed or locked",
		Do:     "unseal or unlock the namespace in Vault",
		Reason: "the namespace is sealed or locked", Fix: "unseal or unlock the namespace in Vault"}}
	leaderless = &state{patience.Later, true, fault.Error{Kind: fault.NoActiveNode, What: "vault has no active node",
		Do: "check the cluster: vault operator raft list-peers"}}
	secondary = &state{patience.Later, true, fault.Error{Kind: fault.NoActiveNode, What: "this vault is a disaster recovery secondary, which serves no requests",
		Do:     "set the address of the primary cluster, or promote this one",
		Reason: "this Vault is a disaster recovery secondary", Fix: "set the address of the primary cluster, or promote this one"}}
	unknownToken = &state{patience.Never, false, fault.Error{Kind: fault.Token, What: "vault does not know the token's namespace or cannot read the token",
		Do: "check that the token is one of this Vault, without quotes or other characters around it, and replace it if not"}}
	unusableLogin = &state{patience.Never, false, fault.Error{Kind: fault.Login, What: "vault cannot process the login"}} // what to do depends on the method
	failing       = &state{patience.Later, false, fault.Error{Kind: fault.ServerError, What: "vault answers ",            // and the status
		Do: "see Vault's own log; a full or missing audit device is a common cause"}}
	upgradingMount = &state{patience.Later, false, fault.Error{Kind: fault.ServerError, What: "vault is upgrading this mount to KV v2",
		Do: "wait until it is done"}}
	behindAgent = &state{patience.Later, false, fault.Error{Kind: fault.Unreachable, What: "the Vault Agent or Proxy at the address does not reach Vault",
		Do: "see its log, check the vault stanza of its configuration, and that Vault runs"}}
	untrusting = &state{patience.Never, true, fault.Error{Kind: fault.Settings, Run: true, What: "vault takes requests only through a balancer that it trusts",
		Do: "set the address of the balancer in the settings", Fix: "set the address of the balancer before Vault"}}
	unknownNamespace = &state{patience.Never, false, fault.Error{Kind: fault.Settings, Run: true, What: "vault has no such namespace",
		Do: "correct namespace in the settings", Fix: "correct namespace: Vault has none of this name"}}
)

// stateOf returns the state that an answer of Vault shows, or nil if it did answer the
// request.
func stateOf(status int, errors []string) *state {
	switch {
	case status == http.StatusTooManyRequests:
		return limiting
	case status == http.StatusPreconditionFailed && says(errors, missingIndex):
		return lagging
	case status == http.StatusPreconditionFailed:
		return demanding
	case (status == http.StatusForbidden || status >= 500) && says(errors, namespaceSealed...):
		return closedNamespace
	case (status == http.StatusForbidden || status >= 500) && says(errors, vaultSealed):
		return sealed
	case status >= 500 && says(errors, notActive...):
		return leaderless
	case status == http.StatusBadRequest && says(errors, drSecondary):
		return secondary
	case status >= 500 && says(errors, badToken...):
		return unknownToken
	case status >= 500 && says(errors, loginFault...):
		return unusableLogin
	case status >= 500 && says(errors, agentUnanswered):
		return behindAgent
	case status >= 500:
		return failing
	case status == http.StatusBadRequest && says(errors, wantsBalancer...):
		return untrusting
	case status == http.StatusBadRequest && says(errors, upgrading...):
		return upgradingMount
	case status == http.StatusNotFound && says(errors, noNamespace):
		return unknownNamespace
	}
	return nil
}
