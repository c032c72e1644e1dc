package ref

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

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
			return invalid(fault{0, "a mask in place of the credential", "enter the credential again; this is only its mask"})
		default:
			return invalid(fault{0, "something besides path, key and version", fixObject})
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
		return "", &fault{0, "not a string", "write a string in quotes"}
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
