package resolver

import (
	"errors"

	"github.com/luumen/patch-vault/internal/fault"
)

// Kind is a code in JSON, and an error to compare with: errors.Is(err, resolver.Denied).
// errors.AsType[resolver.Kind](err) returns the kind of an error. A [HostError] has one
// for each of its Fields.
type Kind = fault.Kind

// The kinds, each with its code.
const (
	NotConfigured Kind = fault.NotConfigured // not_configured: a host has references, but Vault is not set up in the UI
	Settings      Kind = fault.Settings      // settings: the UI's settings are wrong
	Environment   Kind = fault.Environment   // environment: a variable or file on the Patch server is missing, malformed or unreadable
	Pinned        Kind = fault.Pinned        // pinned: the UI's address, namespace or a path is outside the Patch server's pins; nothing was sent
	Unreachable   Kind = fault.Unreachable   // unreachable: no connection, or no answer, until patience ended
	TLS           Kind = fault.TLS           // tls: a certificate is not trusted, or the scheme is wrong
	Sealed        Kind = fault.Sealed        // sealed: Vault, or the namespace, is sealed or not initialized
	NoActiveNode  Kind = fault.NoActiveNode  // no_active_node: the cluster has no leader, or this node cannot forward to it
	ServerError   Kind = fault.ServerError   // server_error: Vault failed, or rejected the request
	RateLimited   Kind = fault.RateLimited   // rate_limited: a rate limit let no request through until patience ended
	BadResponse   Kind = fault.BadResponse   // bad_response: the server is not Vault, or a proxy interferes
	Login         Kind = fault.Login         // login: Vault refused the login, or could not process it
	Token         Kind = fault.Token         // token: the token is expired, revoked, used up, or not allowed from here
	Denied        Kind = fault.Denied        // denied: the token's policies do not grant read on the path
	NotFound      Kind = fault.NotFound      // not_found: there is no secret at the path
	Deleted       Kind = fault.Deleted       // deleted: the version is deleted or destroyed
	NoVersion     Kind = fault.NoVersion     // no_version: there is no such version, or no such secret, or the mount is KV v1
	KVVersion     Kind = fault.KVVersion     // kv_version: the mount has the other KV version, and Vault's list of mounts is not available
	NotKV         Kind = fault.NotKV         // not_kv: the mount is not KV, or its type is unknown; nothing but KV is read
	NotForHost    Kind = fault.NotForHost    // not_for_host: the secret names other hosts in luumen_hosts
	NoKey         Kind = fault.NoKey         // no_key: the secret has no such key
	BadValue      Kind = fault.BadValue      // bad_value: the value is null, empty, an object or a list
	BadReference  Kind = fault.BadReference  // bad_reference: the field is malformed; see ref.SyntaxError
)

// The kinds that no error wraps.
const (
	OK       Kind = "ok"       // a run would resolve the field, the connection works, or a FieldError is zero
	Canceled Kind = "canceled" // the caller's context ended; the error is the context's own
)

func kindOf(err error) Kind {
	if err == nil {
		return OK
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Kind
	}
	return Canceled
}
