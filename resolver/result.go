package resolver

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/luumen/patch-vault/ref"
)

// ErrNoField is the error for a field that the host does not have: it was absent
// or null. It keeps a missing field from being taken for an empty password.
var ErrNoField = errors.New("the host has no such field")

// Result is the outcome for one host: all of its credentials, or the error because
// of which it must be skipped. It never changes, and outlives the run.
type Result struct {
	name        string
	credentials []namedCredential // sorted by name; none if there is an error
	err         *HostError
}

type namedCredential struct {
	field string
	Credential
}

// Host is the host's name.
func (r Result) Host() string { return r.name }

// Err returns nil if the host can be served. Otherwise it returns a *[HostError]
// with every field that could not be resolved.
func (r Result) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// String is one line: the host, and its error if there is one.
func (r Result) String() string {
	if r.err != nil {
		return quoted(r.name) + ": " + r.err.Error()
	}
	return quoted(r.name) + ": ready"
}

// Format prints what String returns, whatever the verb.
func (r Result) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.String()) }

// LogValue logs what String returns.
func (r Result) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Credential returns the credential of a field. If the host has an error, it has
// no credentials, and Credential returns that error. It returns an error that wraps
// [ErrNoField] if the host has no such field.
func (r Result) Credential(field string) (Credential, error) {
	if r.err != nil {
		return Credential{}, r.err
	}
	for _, c := range r.credentials {
		if c.field == field {
			return c.Credential, nil
		}
	}
	return Credential{}, fmt.Errorf("%s: %w", quoted(field), ErrNoField)
}

// Credential is a resolved field. It prints as what it refers to, never as what it
// holds. The zero Credential holds nothing.
type Credential struct {
	reveal  func() string // a func, for no print through reflection finds the text
	ref     ref.Ref
	version int
	created time.Time
}

// Reveal returns the credential itself: of a string in Vault or a literal, the
// exact bytes; of a number or a boolean, its exact JSON text.
func (c Credential) Reveal() string {
	if c.reveal == nil {
		return ""
	}
	return c.reveal()
}

// Ref is where the credential came from; the zero Ref for a literal.
func (c Credential) Ref() ref.Ref { return c.ref }

// Version is the version of the KV v2 secret that was read; 0 otherwise.
func (c Credential) Version() int { return c.version }

// Created is when that version was written; zero otherwise.
func (c Credential) Created() time.Time { return c.created }

// String says where the credential came from.
func (c Credential) String() string {
	switch {
	case c.reveal == nil:
		return "[none]"
	case c.ref.IsZero():
		return "[literal]"
	case c.version != 0 && c.ref.Version() == 0:
		return fmt.Sprintf("%s (version %d)", c.ref, c.version)
	}
	return c.ref.String()
}

// Format prints what String returns, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue logs where the credential came from.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON returns a mask, which decodes to an invalid [ref.Value].
func (Credential) MarshalJSON() ([]byte, error) { return []byte(`{"masked":"credential"}`), nil }

// result picks the fields of a host whose paths have all been read.
func (h *host) result() Result {
	r := Result{name: h.name, credentials: make([]namedCredential, 0, len(h.fields))}
	var failed []*FieldError
	for i := range h.fields {
		f := &h.fields[i]
		c, err := f.resolve(h.name)
		if err != nil {
			failed = append(failed, &FieldError{Host: h.name, Field: f.name, Ref: f.value.Ref(), err: err, reach: f.reach()})
			continue
		}
		r.credentials = append(r.credentials, namedCredential{f.name, c})
	}
	if failed != nil {
		r.credentials, r.err = nil, &HostError{Host: h.name, Fields: failed}
	}
	return r
}

func (f *field) resolve(host string) (Credential, error) {
	if err := f.value.Err(); err != nil {
		return Credential{}, badReference(err)
	}
	if f.read == nil {
		literal, _ := f.value.Reveal()
		return Credential{reveal: func() string { return literal }}, nil
	}
	text, err := f.text(host)
	f.letGo()
	if err != nil {
		return Credential{}, err
	}
	s := f.read.secret
	return Credential{reveal: func() string { return text }, ref: f.value.Ref(), version: s.version, created: s.created}, nil
}

// text is the value of the reference, if the host may have it.
func (f *field) text(host string) (string, error) {
	r := f.read
	switch {
	case r.err != nil:
		return "", r.err
	case !r.secret.hosts.has(host):
		return "", notForHost(host, r.mount, r.path)
	}
	return f.wanted.text, f.wanted.err
}

// letGo drops the value with the last field that wanted it: a long loop over
// many hosts should not hold every value to its end.
func (f *field) letGo() {
	if f.wanted.fields--; f.wanted.fields == 0 {
		f.wanted.text = ""
	}
}
