package resolver

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// Kind is the kind of an error: a code in JSON, and an error to compare with, as in
// errors.Is(err, resolver.Denied).
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
	NotKV         Kind = fault.NotKV         // not_kv: the mount is not KV, and nothing else is ever read
	NotForHost    Kind = fault.NotForHost    // not_for_host: the secret names other hosts in luumen_hosts
	NoKey         Kind = fault.NoKey         // no_key: the secret has no such key
	BadValue      Kind = fault.BadValue      // bad_value: the value is null, empty, an object or a list
	BadReference  Kind = fault.BadReference  // bad_reference: the field is malformed; see ref.SyntaxError
)

// HostError says why a host must be skipped.
type HostError struct {
	Host   string
	Fields []*FieldError // every field that could not be resolved, sorted by name
}

// LogValue returns e.Error(): slog's JSON handler would use MarshalJSON.
func (e *HostError) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Error returns one line with the errors of all fields, for the agent's log alone.
func (e *HostError) Error() string {
	texts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		texts[i] = f.Error()
	}
	return strings.Join(texts, " | ")
}

// Unwrap returns the errors of the fields.
func (e *HostError) Unwrap() []error {
	all := make([]error, len(e.Fields))
	for i, f := range e.Fields {
		all[i] = f
	}
	return all
}

// MarshalJSON returns what the UI may show; see [FieldError.MarshalJSON].
func (e *HostError) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Host   string        `json:"host"`
		Fields []*FieldError `json:"fields"`
	}{e.Host, e.Fields})
}

// FieldError says why a field could not be resolved. It wraps its [Kind] and cause, or
// the error of the caller's context.
type FieldError struct {
	Host  string
	Field string  // its name in Host.Fields
	Ref   ref.Ref // zero if the field is malformed

	err   error
	reach reach
}

// reach is what an error concerns, and so which hosts share it.
type reach int

const (
	reachField reach = iota
	reachPath
	reachRun
)

// Kind returns the kind of the error, or Canceled if the caller's context ended it.
func (e *FieldError) Kind() Kind { return kindOf(e.err) }

func kindOf(err error) Kind {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Kind
	}
	return Canceled
}

// Error returns one line: field, reference, reason and what to do. It may hold Vault's
// own words, so it is for the agent's log alone.
func (e *FieldError) Error() string {
	if e.Ref.IsZero() {
		return quoted(e.Field) + ": " + e.err.Error()
	}
	return quoted(e.Field) + ": " + e.Ref.String() + ": " + e.err.Error()
}

// LogValue returns e.Error().
func (e *FieldError) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Unwrap returns the error without field and reference.
func (e *FieldError) Unwrap() error { return e.err }

// MarshalJSON returns the field and its [Problem], for the UI. It leaves out Vault's
// own words, names of keys and policies, and everything about the network: whoever
// edits a field could use errors to find them out.
func (e *FieldError) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Field string `json:"field"`
		Problem
	}{e.Field, problemOf(e.err, e.Ref)})
}

// Problem is an error as the UI may show it. If the Kind is OK, there is none.
type Problem struct {
	Kind      Kind    `json:"kind"`
	Reference ref.Ref `json:"reference,omitzero"` // zero if there is none, or it is malformed
	Part      string  `json:"part,omitempty"`     // of a malformed field; see ref.SyntaxError
	Offset    *int    `json:"offset,omitempty"`   // of a malformed field, in bytes
	Reason    string  `json:"reason,omitempty"`   // what is wrong
	Fix       string  `json:"fix,omitempty"`      // what to do
}

// problemOf returns what the UI may show of an error; nil means OK.
func problemOf(err error, r ref.Ref) Problem {
	if err == nil {
		return Problem{Kind: OK, Reference: r}
	}
	p := Problem{Kind: kindOf(err), Reference: r, Reason: "canceled", Fix: "try again"}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		p.Reason, p.Fix = f.ForUI()
		if syntax, ok := errors.AsType[*ref.SyntaxError](f.Cause); ok {
			p.Part, p.Offset, p.Reason = syntax.Part, &syntax.Offset, syntax.Reason
		}
	}
	return p
}

// Canceled is the kind of the caller's own cancellation or deadline in reports and
// JSON. The error itself is the context's; no error wraps Canceled.
const Canceled Kind = "canceled"

func (f *field) reach() reach {
	if f.read == nil || f.read.err == nil {
		return reachField
	}
	if err, ok := f.read.err.(*fault.Error); ok && !err.Run {
		return reachPath
	}
	return reachRun // or the caller's own context
}

// quoted returns a name from outside, quoted if it holds anything unprintable.
func quoted(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
