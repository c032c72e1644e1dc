package ref

import (
	"bytes"
	"encoding/json"
	"slices"
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
		return invalid("not valid JSON", "write the text as a JSON string")
	}
	data = bytes.TrimSpace(data)
	switch {
	case bytes.Equal(data, []byte("null")):
		return Value{}
	case bytes.HasPrefix(data, []byte(`"`)):
		text, err := decodeString(data, PartField)
		if err != nil {
			return Value{err: err}
		}
		return Parse(text)
	case bytes.HasPrefix(data, []byte("{")):
		return decodeObject(data)
	}
	return invalid("neither a string nor an object", fixReference+", or put a literal in quotes")
}

// decodeObject decodes {"path": …, "key": …, "version": …} token by token.
// Decoding into a struct would accept member names in another letter case,
// repeated members, and repaired text.
func decodeObject(data []byte) Value {
	const fixObject = `write {"path": "secret/luumen/windev", "key": "password"}`
	var path, key string
	var version int
	var given []string
	d := json.NewDecoder(bytes.NewReader(data))
	d.Token() // the opening brace; no step can fail, because the JSON is valid
	for d.More() {
		token, _ := d.Token()
		var raw json.RawMessage
		d.Decode(&raw)
		var err *SyntaxError
		member := token.(string)
		switch member {
		case "path":
			path, err = decodeString(raw, PartPath)
		case "key":
			key, err = decodeString(raw, PartKey)
		case "version":
			version, err = decodeVersion(raw)
		case "masked":
			return invalid("a mask in place of the credential", "enter the credential again; this is only its mask")
		default:
			return invalid("something besides path, key and version", fixObject)
		}
		if slices.Contains(given, member) {
			err = &SyntaxError{member, 0, "given twice", "write it once"}
		}
		if err != nil {
			return Value{err: err}
		}
		given = append(given, member)
	}
	r, err := New(path, key, version)
	if err != nil {
		return Value{err: err.(*SyntaxError)}
	}
	return Value{ref: r}
}

func decodeVersion(data []byte) (int, *SyntaxError) {
	version, ok := versionNumber(string(data))
	if !ok {
		return 0, badVersion()
	}
	return version, nil
}

// decodeString decodes a JSON string without repairing it. encoding/json replaces
// invalid UTF-8 and lone surrogates with U+FFFD; a host would get a password that
// nobody chose.
func decodeString(data []byte, part string) (string, *SyntaxError) {
	if data[0] != '"' {
		return "", &SyntaxError{part, 0, "not a string", "write a string in quotes"}
	}
	var text string
	if i, reason := findNotText(data); reason != "" {
		json.Unmarshal(append(data[:i:i], '"'), &text) // offsets count in the decoded string
		return "", &SyntaxError{part, len(text), reason, fixUTF8}
	}
	json.Unmarshal(data, &text)
	return text, nil
}

// findNotText finds the first part of a quoted JSON string that is not text: invalid
// UTF-8 or a lone surrogate. The reason says which; it is empty if there is none.
func findNotText(data []byte) (offset int, reason string) {
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
				return i, "half of a surrogate pair"
			}
			i += 12
		default:
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				return i, notUTF8
			}
			i += size
		}
	}
	return 0, ""
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
