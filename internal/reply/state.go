package reply

import (
	"net/http"
	"slices"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// state is a state of Vault in which it does not answer a request.
type state struct {
	status []int    // of the answer; 500 means 500 and above
	says   []phrase // the answer says one of them; nil if its words do not matter
	logins bool     // it counts only for an answer to a login
	retry  patience.When
	unsent bool        // Vault certainly did not act on the request
	named  bool        // the namespace of the request is named
	fault  fault.Error // without detail and cause; What may be empty, see unwell
}

// states are the states that answers show; the first that matches counts. See words.go
// about the phrases.
var states = []state{
	{status: []int{http.StatusTooManyRequests}, retry: patience.Paced, unsent: true,
		says: []phrase{{"lease count quota exceeded", "src"}},
		fault: fault.Error{Kind: fault.RateLimited, What: "vault's lease count quota is used up",
			Do:     "raise the quota, or use fewer leases: roles with a shorter token_ttl, or batch tokens",
			Reason: "Vault's lease count quota is used up", Fix: "raise the quota, or use fewer leases: roles with a shorter token_ttl, or batch tokens"}},

	{status: []int{http.StatusTooManyRequests}, retry: patience.Paced, unsent: true,
		fault: fault.Error{Kind: fault.RateLimited, What: "vault is rate limiting the agent",
			Do: "raise Vault's rate limit quota, or set VAULT_RATE_LIMIT on the Patch server"}},

	{status: []int{http.StatusPreconditionFailed}, retry: patience.Later, unsent: true,
		says: []phrase{{"required index state", "src"}},
		fault: fault.Error{Kind: fault.ServerError, What: "vault does not answer yet",
			Do: "check how far this performance standby lags behind"}},

	// A Vault Proxy with require_request_header does not get X-Vault-Request.
	{status: []int{http.StatusPreconditionFailed}, retry: patience.Never, unsent: true,
		fault: fault.Error{Kind: fault.ServerError, What: "vault or the proxy in front of it refuses the request",
			Do: "check what headers the proxy requires, and that nothing in front of it drops them"}},

	// Two dots in a segment of the path. Later releases answer 400.
	{status: []int{500}, retry: patience.Never, unsent: true,
		says: []phrase{{"relative paths not supported", "1.14"}},
		fault: fault.Error{Kind: fault.ServerError, What: "vault refuses this path", Do: "check the path",
			Reason: "Vault refuses this path", Fix: "check the path"}},

	{status: []int{500}, retry: patience.Later, unsent: true,
		says: []phrase{{"Vault server temporarily overloaded", "src"}},
		fault: fault.Error{Kind: fault.ServerError, What: "vault is overloaded and refuses requests",
			Do: "check Vault's load and the speed of its storage"}},

	{status: []int{http.StatusForbidden, 500}, retry: patience.Later, unsent: true, named: true,
		says: []phrase{
			{"namespace is sealed", "bao"},
			{"API access to this namespace has been locked", "src"},
		},
		fault: fault.Error{Kind: fault.Sealed, What: "the namespace is sealed or locked",
			Do:     "unseal or unlock the namespace in Vault",
			Reason: "the namespace is sealed or locked", Fix: "unseal or unlock the namespace in Vault"}},

	{status: []int{http.StatusForbidden, 500}, retry: patience.Later, unsent: true,
		says: []phrase{{"Vault is sealed", "1.14 1.21 bao"}},
		fault: fault.Error{Kind: fault.Sealed, What: "vault is sealed or not initialized",
			Do: "unseal it: vault operator unseal (only a new Vault needs vault operator init first)"}},

	{status: []int{500}, retry: patience.Later, unsent: true,
		says: []phrase{
			{"local node not active but active cluster node not found", "1.14 1.21 bao"},
			{"no active Vault instance found", "src"},
			{"node is not active", "src"},
		},
		fault: fault.Error{Kind: fault.NoActiveNode, What: "vault has no active node",
			Do: "check the cluster: vault operator raft list-peers"}},

	{status: []int{http.StatusBadRequest}, retry: patience.Later, unsent: true,
		says: []phrase{{"disabled in replication DR secondary mode", "src"}},
		fault: fault.Error{Kind: fault.NoActiveNode, What: "this vault is a disaster recovery secondary, which serves no requests",
			Do:     "set the address of the primary cluster, or promote this one",
			Reason: "this Vault is a disaster recovery secondary", Fix: "set the address of the primary cluster, or promote this one"}},

	{status: []int{500}, retry: patience.Never,
		says: []phrase{
			{"failed to look up namespace from the token", "1.21 bao"},
			{"error parsing token", "src"},
			{"token check: illegal base64 data", "1.21"}, // a batch token that is cut off, or followed by more
		},
		fault: fault.Error{Kind: fault.Token, What: "vault does not know the token's namespace or cannot read the token",
			Do: "check that the token belongs to this Vault and has no quotes or other characters around it; otherwise, replace it"}},

	{status: []int{500}, retry: patience.Never, logins: true,
		says: []phrase{
			{"failed to verify client's certificate", "1.21 bao"},
			{"could not load backend configuration", "1.14 1.21 bao"},
			{"could not load configuration", "1.21"},
			{"failed to determine alias name", "1.21"},
			{"missing role_id", "bao"},
			{"failed to create HMAC of secret_id", "1.21"},
			{"failed to get connection information", "1.21"},
			{"missing name in alias", "1.21"},
			{"could not parse UID from claims", "1.21"},
			{"service account namespace and name must be set", "1.21"},
		},
		fault: fault.Error{Kind: fault.Login, What: "vault cannot process the login"}}, // what to do depends on the method

	{status: []int{500}, retry: patience.Later, // it repeats requests, and reports only the last error
		says: []phrase{{"failed to get the response: ", "1.21"}},
		fault: fault.Error{Kind: fault.Unreachable, What: "the Vault Agent or Proxy at the address cannot reach Vault",
			Do: "see its log, check the vault stanza of its configuration, and that Vault runs"}},

	{status: []int{500}, retry: patience.Later,
		says: []phrase{internalError},
		fault: fault.Error{Kind: fault.ServerError,
			Do: "see Vault's own log; if nothing is answered, a full or missing audit device is a common cause"}},

	{status: []int{500}, retry: patience.Later,
		fault: fault.Error{Kind: fault.ServerError, Do: "see Vault's own log"}},

	{status: []int{http.StatusBadRequest}, retry: patience.Never, unsent: true,
		says: []phrase{
			{"missing x-forwarded-for header", "1.21"},
			{"client address not authorized for x-forwarded-for", "src"},
		},
		fault: fault.Error{Kind: fault.Settings, Run: true, What: "vault accepts requests only through a balancer that it trusts",
			Do: "set the address of the balancer in the settings", Fix: "set the address of the balancer in front of Vault"}},

	// The listener refuses every request, even one for its health, before it looks at the path.
	{status: []int{http.StatusBadRequest}, retry: patience.Never, unsent: true,
		says: []phrase{
			{"malformed x-forwarded-for", "1.21"},
			{"unescape the client certificate", "1.21"},
			{"decode the client certificate", "1.21"},
			{"convert the client certificate", "src"},
			{"parse the client certificate", "1.21"},
			{"unknown decode option", "src"},
		},
		fault: fault.Error{Kind: fault.ServerError, What: "vault does not accept a header of the proxy in front of it",
			Do:     "compare what the proxy sends in X-Forwarded-For, or as the client's certificate, with the options x_forwarded_for_… of Vault's listener",
			Reason: "Vault does not accept a header of the proxy in front of it", Fix: "compare the headers of that proxy with the options x_forwarded_for_… of Vault's listener"}},

	{status: []int{http.StatusBadRequest}, retry: patience.Later,
		says: []phrase{
			{"Upgrading from non-versioned to versioned data", "1.14 1.21 bao"},
			{"Waiting for the primary to upgrade from non-versioned to versioned data", "bao src"},
		},
		fault: fault.Error{Kind: fault.ServerError, What: "vault is upgrading this mount to KV v2",
			Do: "wait until it is done"}},

	{status: []int{http.StatusNotFound}, retry: patience.Never, named: true,
		says: []phrase{{"namespace not found", "bao src"}},
		fault: fault.Error{Kind: fault.Settings, Run: true, What: "vault has no such namespace",
			Do: "correct namespace in the settings, or VAULT_NAMESPACE on the Patch server", Fix: "correct namespace, or VAULT_NAMESPACE on the Patch server: Vault has none of this name"}},
}

// stateOf returns the state that an answer of Vault shows, or nil if it did answer the
// request.
func stateOf(status int, errors []string, isLogin bool) *state {
	for i := range states {
		state := &states[i]
		if slices.Contains(state.status, min(status, 500)) && (state.says == nil || says(errors, state.says...)) && (isLogin || !state.logins) {
			return state
		}
	}
	return nil
}
