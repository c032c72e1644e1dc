package resolver

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/luumen/patch-vault/ref"
)

// HostError says why a host must be skipped. In its JSON, for the UI, each field decodes
// to a [Problem].
type HostError struct {
	Host   string        `json:"host"`
	Fields []*FieldError `json:"fields"` // every field that could not be resolved, sorted by name
}

// Error returns one line with all errors, for the agent's log alone.
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

// FieldError says why a field could not be resolved. It wraps its [Kind] and cause, or
// the error of the caller's context.
type FieldError struct {
	Host  string
	Field string  // its name in Host.Fields
	Ref   ref.Ref // zero if the field is malformed

	err error
}

// Kind returns the kind of the error, or Canceled if it is the context's.
func (e *FieldError) Kind() Kind { return kindOf(e.err) }

// Error returns one line: field, reference, reason and what to do. It may hold Vault's
// own words, so it is for the agent's log alone.
func (e *FieldError) Error() string {
	if e.err == nil {
		return quoted(e.Field) + ": ok" // not made by this package
	}
	if e.Ref.IsZero() {
		return quoted(e.Field) + ": " + e.err.Error()
	}
	return quoted(e.Field) + ": " + quoted(e.Ref.String()) + ": " + e.err.Error()
}

// LogValue returns e.Error(): slog's JSON handler would use MarshalJSON.
func (e *FieldError) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// Unwrap returns the error without field and reference.
func (e *FieldError) Unwrap() error { return e.err }

// MarshalJSON returns the field and its [Problem], for the UI: without Vault's words,
// names of keys and policies, and network facts.
func (e *FieldError) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Field string `json:"field"`
		Problem
	}{e.Field, problemOf(e.err, e.Ref)})
}

// UnmarshalJSON always fails, since the JSON lacks the error itself; decode a [Problem].
func (*FieldError) UnmarshalJSON([]byte) error {
	return errors.New("resolver: a FieldError cannot be decoded; decode its JSON to a Problem")
}
