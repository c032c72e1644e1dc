package fault

import (
	"maps"
	"slices"
)

// Kind is an error and, as it stands, a code in JSON.
type Kind string

// Error returns the code.
func (k Kind) Error() string { return string(k) }

// The kinds. Package resolver documents each where callers find it. To add one:
// a line here and one in advices, one in package resolver, its scenarios in that
// package's tests, and a row in the README.
const (
	NotConfigured Kind = "not_configured"
	Settings      Kind = "settings"
	Environment   Kind = "environment"
	Pinned        Kind = "pinned"
	Unreachable   Kind = "unreachable"
	TLS           Kind = "tls"
	Sealed        Kind = "sealed"
	NoActiveNode  Kind = "no_active_node"
	ServerError   Kind = "server_error"
	RateLimited   Kind = "rate_limited"
	BadResponse   Kind = "bad_response"
	Login         Kind = "login"
	Token         Kind = "token"
	Denied        Kind = "denied"
	NotFound      Kind = "not_found"
	Deleted       Kind = "deleted"
	NoVersion     Kind = "no_version"
	KVVersion     Kind = "kv_version"
	NotKV         Kind = "not_kv"
	NotForHost    Kind = "not_for_host"
	NoKey         Kind = "no_key"
	BadValue      Kind = "bad_value"
	BadReference  Kind = "bad_reference"
)

// Kinds are all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(advices)) }

// Advice is what the UI may say to a person about the kind: never Vault's own
// words, nor anything about the network behind the Patch server.
func (k Kind) Advice() string {
	if advice, ok := advices[k]; ok {
		return advice
	}
	return "see the agent's log on the Patch server"
}

var advices = map[Kind]string{
	NotConfigured: "set up Vault in the settings, or enter the credential itself",
	Settings:      "correct the Vault settings",
	Environment:   "have the agent's environment corrected on the Patch server; its log names the variable",
	Pinned:        "use the Vault, the namespace and the paths that the Patch server allows, or have its pins changed there",
	Unreachable:   "have the Vault server and the network between it and the Patch server checked; the agent's log has the cause",
	TLS:           "have the certificates checked; the agent's log says which variable helps",
	Sealed:        "have Vault unsealed",
	NoActiveNode:  "have the Vault cluster checked: it has no active node, or this node does not reach it",
	ServerError:   "have the Vault server checked; the agent's log has its answer",
	RateLimited:   "have Vault's rate limit quota raised, or set VAULT_RATE_LIMIT on the Patch server",
	BadResponse:   "check that the address is that of a Vault server, and what stands before it",
	Login:         "have the agent's login to Vault checked; the agent's log has the reason",
	Token:         "have the agent's Vault token replaced, or where it may be used from checked",
	Denied:        "ask the Vault administrator to grant read on this path; the agent's log has the policy line",
	NotFound:      "check the path; Vault has no secret there",
	Deleted:       "have the secret written again or the version restored, or pin another version",
	NoVersion:     "check the pinned version, or leave it out",
	KVVersion:     "set the KV version of the settings to the one this secret's mount has",
	NotKV:         "name a secret of a KV mount; others are never read",
	NotForHost:    "use a secret meant for this host, or have its luumen_hosts changed in Vault",
	NoKey:         "check the key; the agent's log says whether a similar one exists",
	BadValue:      "have a text, a number or a boolean stored under this key",
	BadReference:  "write vault:PATH#KEY, such as vault:secret/luumen/windev#password",
}
