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

// Value is a credential field: a literal, a reference, or an invalid field with its
// error. The zero Value is an absent field. A malformed field decodes from JSON to
// an invalid Value, and the decoding goes on.
//
// A Value prints a literal as a mask, with every verb, in log/slog and in JSON. To
// store a field, keep its original JSON.
type Value struct {
	ref Ref
	err *SyntaxError

	// literal is a func because printing by reflection shows anything else: fmt
	// does not call the methods of an unexported field, and a diff follows pointers.
	literal func() string
}

const (
	mask        = "[masked]"  // String of a literal
	invalidMask = "[invalid " // prefix of String of an invalid value
)

func literal(text string) Value { return Value{literal: func() string { return text }} }
func invalid(f fault) Value     { return Value{err: f.in(PartField, f.offset)} }

// Ref returns the reference, or the zero Ref if v is not a reference.
func (v Value) Ref() Ref { return v.ref }

// Reveal returns the text of a literal, which may be empty. If v is not a literal,
// ok is false.
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
		return invalidMask + v.err.Error() + "]"
	case v.literal != nil:
		return mask
	}
	return v.ref.String()
}

// Format implements [fmt.Formatter]. It writes v.String() for every verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.String()) }

// LogValue implements [slog.LogValuer]. It returns v.String().
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalJSON returns the string form of a reference, {"masked":"literal"},
// {"masked":"invalid"} or null. A mask decodes to an invalid value whose error says
// so. The error is always nil.
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

// UnmarshalJSON decodes a field. It always returns nil; see [Value.Err].
func (v *Value) UnmarshalJSON(data []byte) error {
	*v = decode(data)
	return nil
}

func decode(data []byte) Value {
	// encoding/json passes only valid JSON; other callers may not.
	if !json.Valid(data) {
		return invalid(fault{0, "not valid JSON", "write the text as a JSON string"})
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
	return invalid(fault{0, "neither a string nor an object", fixReference + ", or put a literal in quotes"})
}

// decodeObject decodes {"path": …, "key": …, "version": …} token by token.
// Decoding into a struct would accept member names in another letter case,
// repeated members, and repaired text.
func decodeObject(data []byte) Value {
	const fixObject = `write {"path": "secret/luumen/windev", "key": "password"}`
	var (
		path, key               string
		version                 int
		hasPath, hasKey, pinned bool
	)
	d := json.NewDecoder(bytes.NewReader(data))
	d.Token() // the opening brace; no step can fail, because the JSON is valid
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
			return invalid(fault{0, "a mask in place of the credential", "enter the credential again; only its mask was stored"})
		default:
			return invalid(fault{0, "a member other than path, key and version", fixObject})
		}
		switch {
		case twice:
			return Value{err: &SyntaxError{token.(string), 0, "given twice", "write it once"}}
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

// decodeString decodes a JSON string without repairing it. encoding/json replaces
// invalid UTF-8 and lone surrogates with U+FFFD; a host would get a password that
// nobody chose.
func decodeString(data []byte) (string, *fault) {
	if data[0] != '"' {
		return "", &fault{0, "not a string", "write a JSON string"}
	}
	var text string
	if i, f := notText(data); f != nil {
		json.Unmarshal(append(data[:i:i], '"'), &text)
		f.offset = len(text)
		return "", f
	}
	json.Unmarshal(data, &text)
	return text, nil
}

// notText finds the first part of a quoted JSON string that is not text: invalid
// UTF-8 or a lone surrogate. It returns the offset in data and the fault.
func notText(data []byte) (int, *fault) {
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

// utf16Unit decodes \uXXXX at the beginning of data. It returns -1 if there is
// none.
func utf16Unit(data []byte) rune {
	if !bytes.HasPrefix(data, []byte(`\u`)) {
		return -1
	}
	unit, _ := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(unit)
}
