package resolver

import (
	"errors"
	"fmt"
	"log/slog"
)

// ErrNoField is the error for a field that is absent or null.
var ErrNoField = errors.New("the host has no such field")

// Result is the outcome for one host: all of its credentials, or an error.
type Result struct {
	name        string
	credentials []namedCredential // sorted by name; none if there is an error
	err         *HostError
}

type namedCredential struct {
	field string
	Credential
}

// Err returns nil, or a *[HostError] if the host must be skipped.
func (r Result) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// String returns one line: the host, and "ready" or its error.
func (r Result) String() string {
	if r.err != nil {
		return quoted(r.name) + ": " + r.err.Error()
	}
	return quoted(r.name) + ": ready"
}

// LogValue returns r.String().
func (r Result) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Credential returns the credential of a field. Its error is that of the host, or
// wraps [ErrNoField].
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

// result resolves the fields of a host whose paths have all been read.
func (h *host) result() Result {
	r := Result{name: h.name, credentials: make([]namedCredential, 0, len(h.fields))}
	var failed []*FieldError
	for i := range h.fields {
		f := &h.fields[i]
		v, err := f.resolve(h.name)
		if err != nil {
			failed = append(failed, &FieldError{Host: h.name, Field: f.name, Ref: f.value.Ref(), err: err})
		} else {
			r.credentials = append(r.credentials, namedCredential{f.name, f.credential(v.text)})
		}
		f.letGo()
	}
	if failed != nil {
		r.credentials, r.err = nil, &HostError{Host: h.name, Fields: failed}
	}
	return r
}

// resolve returns the value of the field for a host.
func (f *field) resolve(host string) (value, error) {
	if err := f.value.Err(); err != nil {
		return value{}, badReference(err)
	}
	r := f.read
	switch {
	case r == nil:
		literal, _ := f.value.Reveal()
		return value{text: literal}, nil
	case r.err != nil:
		return value{}, r.err
	case !r.secret.hosts.allows(host):
		return value{}, notForHost()
	}
	v := r.secret.values[f.key]
	return v, v.err
}

func (f *field) credential(text string) Credential {
	c := Credential{reveal: func() string { return text }, ref: f.value.Ref()}
	if f.read != nil {
		c.version, c.created = f.read.secret.version, f.read.secret.created
	}
	return c
}

// letGo drops the values of a secret once no field wants one any more, so that a long loop
// does not hold them all to its end.
func (f *field) letGo() {
	r := f.read
	if r == nil {
		return
	}
	if r.uses--; r.uses == 0 && r.secret != nil {
		r.secret.values = nil
	}
}
