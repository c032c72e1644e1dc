package ref

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Value is a credential field: a literal, a reference, or an invalid field with its
// error. The zero Value is an absent field. A malformed field decodes from JSON to
// an invalid Value, and the decoding goes on. A literal prints as a mask, with every
// verb, in log/slog and in JSON; to store a field, keep its original JSON.
type Value struct {
	ref Ref
	err *SyntaxError

	// literal is a func because printing by reflection shows anything else: fmt
	// does not call the methods of an unexported field, and a diff follows pointers.
	literal func() string
}

func literal(text string) Value { return Value{literal: func() string { return text }} }

// invalid returns a field whose error concerns the whole of it.
func invalid(reason, fix string) Value { return Value{err: &SyntaxError{PartField, 0, reason, fix}} }

// What a literal shows of itself.
const (
	printedMask = "[masked]"
	jsonMask    = `{"masked":"literal"}`
)

// Ref returns the reference, or the zero Ref if v is not a reference.
func (v Value) Ref() Ref { return v.ref }

// Reveal returns the text of a literal. If v is not a literal, ok is false.
func (v Value) Reveal() (text string, ok bool) {
	if v.literal == nil {
		return "", false
	}
	return v.literal(), true
}

// Err returns the *[SyntaxError] of an invalid value, or nil.
func (v Value) Err() error {
	if v.err == nil {
		return nil
	}
	return v.err
}

// IsZero reports whether the field is absent or null.
func (v Value) IsZero() bool { return v.ref.IsZero() && v.literal == nil && v.err == nil }

// String returns the string form of a reference, "[masked]" for a literal,
// "[invalid ERROR]" for an invalid value, and "" for an absent field.
func (v Value) String() string {
	switch {
	case v.err != nil:
		return "[invalid " + v.err.Error() + "]"
	case v.literal != nil:
		return printedMask
	}
	return v.ref.String()
}

// Format prints v.String() for every verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.String()) }

// LogValue returns v.String().
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalJSON returns the string form of a reference, null, or a mask, which decodes
// to an invalid value that says so. The error is always nil.
func (v Value) MarshalJSON() ([]byte, error) {
	switch {
	case v.err != nil:
		return []byte(`{"masked":"invalid"}`), nil
	case v.literal != nil:
		return []byte(jsonMask), nil
	case v.IsZero():
		return []byte("null"), nil
	}
	return json.Marshal(v.ref)
}
