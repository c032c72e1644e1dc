package resolver

import (
	"bytes"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// secret is what a read returned, except the values.
type secret struct {
	version int       // 0 on KV v1
	created time.Time // zero on KV v1
	hosts   *hostList // nil if the secret names none
	almost  string    // custom metadata whose name is almost luumen_hosts; empty if there is none
}

// values are the members of a secret, undecoded.
type values map[string]value

// value is the JSON of one value. It shares the memory of the answer.
type value struct{ text []byte }

// UnmarshalJSON keeps the JSON without copying it. It is used only before the answer
// is released.
func (v *value) UnmarshalJSON(text []byte) error {
	v.text = text
	return nil
}

// find returns the values of the wanted keys, or why they have none. Nothing else of
// the secret is kept.
func (v values) find(all []*wanted, version int) []found {
	values := make([]found, len(all))
	searches := 0
	var near []string
	for i, w := range all {
		one, ok := v[w.key]
		if !ok {
			switch searches++; searches {
			case 1:
				near = candidates(maps.Keys(v))
			case maxSearches + 1:
				near = nil
			}
			values[i].err = noKey(w.key, version, near)
			continue
		}
		text, number, what := one.credential()
		if what != "" {
			values[i].err = fault.New(fault.BadValue, fmt.Sprintf("the value of key %s%s is %s", shownKey(w.key), atVersion(version), what), "store a text, a number or a boolean")
			continue
		}
		values[i] = found{text: text, number: number}
	}
	return values
}

// credential returns the value as a credential, never rounded and never repaired. If
// it is none, what says what it is.
func (v value) credential() (text string, number bool, what string) {
	switch v.text[0] {
	case 'n':
		return "", false, "null"
	case '{':
		return "", false, "an object"
	case '[':
		return "", false, "a list"
	case '"':
		text, ok := textIn(v.text)
		if !ok {
			return "", false, "not valid text"
		}
		if text == "" {
			return "", false, "empty"
		}
		return text, false, ""
	case 't', 'f':
		return string(v.text), false, ""
	}
	return string(v.text), true, ""
}

// textIn decodes a JSON string. It returns false for invalid text, which encoding/json
// would repair with U+FFFD.
func textIn(raw []byte) (text string, ok bool) {
	if !bytes.ContainsRune(raw, '\\') { // needs no decoding
		return string(raw[1 : len(raw)-1]), utf8.Valid(raw)
	}
	decoded, err := jsontext.AppendUnquote(nil, raw)
	return string(decoded), err == nil
}

// noKey is the fault for a missing key. It names the candidate that was probably
// meant.
func noKey(key string, version int, candidates []string) *fault.Error {
	f := fault.New(fault.NoKey, "no key "+shownKey(key)+atVersion(version), "check the key in Vault")
	near := nearest(key, candidates)
	if near == "" {
		return f
	}
	shown := fmt.Sprintf("%q", near)
	if strings.ContainsFunc(near+key, func(r rune) bool { return r > '~' }) {
		shown = fmt.Sprintf("%+q", near) // escapes tell apart letters that look alike
	}
	f.Do = "did you mean " + shown + "?"
	if _, err := ref.New("mount/path", near, 0); err != nil {
		f.Do = "did you mean " + shown + "? no reference can name it: rename the key in Vault"
	}
	return f
}

// shownKey returns a key in quotes, and cuts a long one: the reference before it in the
// same line has all of it.
func shownKey(key string) string {
	if len(key) <= maxNear {
		return strconv.Quote(key)
	}
	end := maxNear
	for !utf8.RuneStart(key[end]) {
		end--
	}
	return strconv.Quote(key[:end]) + "…"
}

// atVersion names the version, if there is one.
func atVersion(version int) string {
	if version == 0 {
		return ""
	}
	return " at version " + strconv.Itoa(version)
}
