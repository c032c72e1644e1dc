package fault

import (
	"maps"
	"slices"
)

// Kind is an error, and a code in JSON.
type Kind string

// Error returns the code.
func (k Kind) Error() string { return string(k) }

// The kinds. Package resolver documents each.
//
// To add one, write a line here, one in advices and one in resolver/kind.go; in package
// resolver a case in TestEachKind (-update writes its golden file), a row in
// advice_test.go that follows the advice, and a case in secrecy_test.go; and a row in
// the README. Raise it in resolver's secretIn if it concerns every host that wants the
// secret, or in field.resolve if it depends on the host. If it concerns a field or a key
// alone, add it to FieldError.shared in resolver/cause.go.
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

// Kinds returns all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(advices)) }

// Advice returns what is wrong and what to do, for the UI. It never holds Vault's own
// words or anything about the network behind the Patch server.
func (k Kind) Advice() (reason, fix string) {
	a := advices[k]
	return a.reason, a.fix
}

type advice struct{ reason, fix string }

var advices = map[Kind]advice{
	NotConfigured: {"Vault is not set up", "set it up in the settings, or enter the credential itself"},
	Settings:      {"the Vault settings are wrong", "correct them"},
	Environment:   {"the agent's environment on the Patch server is wrong", "correct it there; the agent's log names the variable"},
	Pinned:        {"the Patch server does not allow this", "use the Vault, the namespace and the paths that it allows, or change its pins"},
	Unreachable:   {"Vault does not answer the Patch server", "check the address, that Vault runs there, the network, and any proxy between them; the agent's log has the cause"},
	TLS:           {"cannot establish a trusted TLS connection to Vault", "check the certificates; the agent's log says which variable helps"},
	Sealed:        {"Vault is sealed or not initialized", "unseal it"},
	NoActiveNode:  {"the Vault cluster has no active node, or this node cannot reach it", "check the cluster"},
	ServerError:   {"Vault cannot process this request", "check the Vault server; the agent's log has its answer"},
	RateLimited:   {"Vault is rate limiting the agent", "raise its rate limit quota, or set VAULT_RATE_LIMIT on the Patch server"},
	BadResponse:   {"the server at this address is not Vault, or a proxy interferes", "check that the address is that of a Vault server, and any proxy in front of it"},
	Login:         {"Vault refuses the agent's login", "check the login; the agent's log has the reason"},
	Token:         {"Vault refuses the agent's token", "replace it, or check where it may be used from; the agent's log has the reason"},
	Denied:        {"the agent may not read this path", "check that the path and its mount exist, or ask the Vault administrator to grant read on it; the agent's log has the policy line"},
	NotFound:      {"Vault has no secret at this path", "check the path"},
	Deleted:       {"this version of the secret is deleted", "write the secret again, restore the version, or pin another version"},
	NoVersion:     {"Vault has no such version of the secret", "check the pinned version, or omit it"},
	KVVersion:     {"the secret's mount has a different KV version than the settings say", "set the KV version of the settings to that of the mount"},
	NotKV:         {"the path is not in a KV mount", "name a secret in a KV mount; nothing else is ever read"},
	NotForHost:    {"the secret is meant for other hosts", "use a secret meant for this host, or add a glob for the host to its luumen_hosts in Vault, where commas separate globs"},
	NoKey:         {"the secret has no such key", "check the key; the agent's log says whether a similar one exists"},
	BadValue:      {"the value is null, empty, an object or a list", "store a non-empty string, a number or a boolean under this key"},
	BadReference:  {"the field is malformed", "write vault:PATH#KEY, such as vault:secret/luumen/windev#password"},
}
