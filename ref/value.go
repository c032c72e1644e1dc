package ref

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one credential field: a literal, a reference, or invalid with the
// error that says why. The zero Value is a field that is not there.
//
// It decodes from JSON and never fails the decoding around it, so that one
// mistyped field costs one host and not the whole configuration. It prints a
// reference in clear and a literal as a mask; as JSON, a literal is
// {"masked":"literal"}, which decodes to an invalid value.
//
// To store or send a field, keep the JSON that was typed, or make it anew: the
// String of a reference, or [Escape] of what a literal reveals.
type Value struct {
	ref Ref
	err *SyntaxError

	// A func, because everything else can be printed through reflection: fmt
	// calls no method on an unexported field, and a diff follows pointers.
	literal func() string
}

const (
	mask        = "[masked]"  // what a literal prints as
	invalidMask = "[invalid " // what an invalid value begins with in print
)

func literal(text string) Value { return Value{literal: func() string { return text }} }
func invalid(f fault) Value     { return Value{err: f.in(PartField, f.offset)} }

// Ref returns the reference, or the zero Ref if v is none.
func (v Value) Ref() Ref { return v.ref }

// Reveal returns the literal's text, and whether v is a literal at all.
func (v Value) Reveal() (text string, ok bool) {
	if v.literal == nil {
		return "", false
	}
	return v.literal(), true
}

// Err returns the *[SyntaxError] of an invalid value, and nil for any other.
func (v Value) Err() error {
	if v.err == nil {
		return nil
	}
	return v.err
}

// IsZero reports whether there is no such field: it was absent or null.
func (v Value) IsZero() bool { return v.ref.IsZero() && v.literal == nil && v.err == nil }

// String returns the reference, or a note that hides what was typed.
func (v Value) String() string {
	switch {
	case v.err != nil:
		return invalidMask + v.err.Error() + "]"
	case v.literal != nil:
		return mask
	}
	return v.ref.String()
}

// Format prints what String returns, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.String()) }

// LogValue logs what String returns.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalJSON returns the reference in its string form, a mask for a literal
// or an invalid value, and null for a field that is not there.
func (v Value) MarshalJSON() ([]byte, error) {
	switch {
	case v.err != nil:
		return []byte(`{"masked":"invalid"}`), nil
	case v.literal != nil:
		return []byte(`{"masked":"literal"}`), nil
	case v.IsZero():
		return []byte("null"), nil
	}
	return json.Marshal(v.ref)
}

// UnmarshalJSON never returns an error: an invalid value holds its own.
func (v *Value) UnmarshalJSON(data []byte) error {
	*v = decode(data)
	return nil
}

func decode(data []byte) Value {
	// encoding/json hands over valid JSON only; another caller may not.
	if !json.Valid(data) {
		return invalid(fault{0, "not valid JSON", "quote the text as a JSON string"})
	}
	data = bytes.TrimSpace(data)
	switch {
	case bytes.Equal(data, []byte("null")):
		return Value{}
	case bytes.HasPrefix(data, []byte(`"`)):
		text, f := decodeString(data)
		if f != nil {
			return invalid(*f)
		}
		return Parse(text)
	case bytes.HasPrefix(data, []byte("{")):
		return decodeObject(data)
	}
	return invalid(fault{0, "neither a string nor an object", fixReference + ", or quote the literal"})
}

// decodeObject reads {"path": …, "key": …, "version": …} by its tokens, since
// decoding into a struct would accept other cases of the names, doubles and
// repaired text.
func decodeObject(data []byte) Value {
	const fixObject = `write {"path": "secret/luumen/windev", "key": "password"}`
	var (
		path, key               string
		version                 int
		hasPath, hasKey, pinned bool
	)
	d := json.NewDecoder(bytes.NewReader(data))
	d.Token() // the opening brace; as the JSON is valid, no step can fail
	for d.More() {
		token, _ := d.Token()
		var raw json.RawMessage
		d.Decode(&raw)
		var twice bool
		var f *fault
		switch token {
		case "path":
			twice, hasPath = hasPath, true
			path, f = decodeString(raw)
		case "key":
			twice, hasKey = hasKey, true
			key, f = decodeString(raw)
		case "version":
			twice, pinned = pinned, true
			var ok bool
			if version, ok = versionNumber(string(raw)); !ok {
				f = &badVersion
			}
		case "masked":
			return invalid(fault{0, "a mask in place of the credential", "enter the credential again: what was stored is its masked form"})
		default:
			return invalid(fault{0, "a member that is none of path, key, version", fixObject})
		}
		switch {
		case twice:
			return Value{err: &SyntaxError{token.(string), 0, "given twice", fixObject}}
		case f != nil:
			return Value{err: f.in(token.(string), f.offset)}
		}
	}
	r, err := New(path, key, version)
	if err != nil {
		return Value{err: err.(*SyntaxError)}
	}
	return Value{ref: r}
}

// decodeString decodes a JSON string as it stands. encoding/json would put
// U+FFFD in place of invalid UTF-8 and of half a surrogate pair, and a host
// would be sent a password that nobody chose.
func decodeString(data []byte) (string, *fault) {
	if data[0] != '"' {
		return "", &fault{0, "not a string", "quote it"}
	}
	var text string
	if i, f := unfaithful(data); f != nil {
		json.Unmarshal(append(data[:i:i], '"'), &text)
		f.offset = len(text)
		return "", f
	}
	json.Unmarshal(data, &text)
	return text, nil
}

// unfaithful finds the first place of a quoted JSON string that has no exact
// meaning as text.
func unfaithful(data []byte) (int, *fault) {
	for i := 0; i < len(data); {
		switch {
		case data[i] == '\\' && data[i+1] != 'u':
			i += 2
		case data[i] == '\\':
			unit := utf16Unit(data[i:])
			if !utf16.IsSurrogate(unit) {
				i += 6
				break
			}
			if utf16.DecodeRune(unit, utf16Unit(data[i+6:])) == utf8.RuneError {
				return i, &fault{0, "half of a surrogate pair", "store the text as UTF-8"}
			}
			i += 12
		default:
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				return i, notUTF8(0)
			}
			i += size
		}
	}
	return 0, nil
}

// utf16Unit reads the \uXXXX at the start of data, or returns -1.
func utf16Unit(data []byte) rune {
	if !bytes.HasPrefix(data, []byte(`\u`)) {
		return -1
	}
	unit, _ := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(unit)
}
