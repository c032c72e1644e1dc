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

// HostError says why a host must be skipped. Its JSON is for the UI; see
// [FieldError.MarshalJSON].
type HostError struct {
	Host   string        `json:"host"`
	Fields []*FieldError `json:"fields"` // every field that could not be resolved, sorted by name
}

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

// FieldError says why a field could not be resolved. It wraps its [Kind] and cause, or
// the error of the caller's context.
type FieldError struct {
	Host  string
	Field string  // its name in Host.Fields
	Ref   ref.Ref // zero if the field is malformed

	err error
}

// Kind returns the kind of the error, or Canceled if the caller's context ended it.
func (e *FieldError) Kind() Kind { return kindOf(e.err) }

// Error returns one line: field, reference, reason and what to do. It may hold Vault's
// own words, so it is for the agent's log alone.
func (e *FieldError) Error() string {
	if e.Ref.IsZero() {
		return quoted(e.Field) + ": " + e.err.Error()
	}
	return quoted(e.Field) + ": " + quoted(e.Ref.String()) + ": " + e.err.Error()
}

// LogValue returns e.Error(): slog's JSON handler would use MarshalJSON.
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

// UnmarshalJSON returns an error: the JSON does not hold the whole of a FieldError.
func (*FieldError) UnmarshalJSON([]byte) error {
	return errors.New("resolver: a FieldError cannot be decoded; decode its JSON to a Problem")
}

// Problem describes an error; Kind OK means that there is none. Its JSON is what the UI
// may show.
type Problem struct {
	Kind      Kind    `json:"kind"`
	Reference ref.Ref `json:"reference,omitzero"` // zero if there is none, or it is malformed
	Part      string  `json:"part,omitempty"`     // of a malformed field; see ref.SyntaxError
	Offset    *int    `json:"offset,omitempty"`   // of a malformed field, in bytes
	Reason    string  `json:"reason,omitempty"`   // what is wrong
	Fix       string  `json:"fix,omitempty"`      // what to do
	Text      string  `json:"-"`                  // the complete error, for the agent's log alone
}

// outcome is the kind and the complete error, or after JSON what the UI may show of it.
func (p Problem) outcome() string {
	switch {
	case p.Kind == OK:
		return string(OK)
	case p.Text != "":
		return string(p.Kind) + ": " + p.Text
	}
	return string(p.Kind) + ": " + p.Reason + "; " + p.Fix
}

// problemOf describes an error; nil means OK.
func problemOf(err error, r ref.Ref) Problem {
	if err == nil {
		return Problem{Kind: OK, Reference: r}
	}
	p := Problem{Kind: kindOf(err), Reference: r, Reason: "canceled", Fix: "try again", Text: err.Error()}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		p.Reason, p.Fix = f.ForUI()
		if syntax, ok := errors.AsType[*ref.SyntaxError](f.Cause); ok {
			p.Part, p.Offset, p.Reason = syntax.Part, &syntax.Offset, syntax.Reason
		}
	}
	return p
}

// quoted returns a name from outside, quoted if it holds anything unprintable, or what could
// pass for a line of a policy or another piece of advice.
func quoted(name string) string {
	if strings.ContainsAny(name, `";{`) || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
