package resolver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// secret is what one read returned, but for the values.
type secret struct {
	version int       // 0 on KV v1
	created time.Time // zero on KV v1
	hosts   *hostList // nil if the secret names none
	almost  string    // custom metadata whose name is almost luumen_hosts; empty if there is none
}

// values are the members of a secret, as they stand in the answer.
type values map[string]value

// value is the JSON of one value. It shares the memory of the answer.
type value struct{ text []byte }

// UnmarshalJSON keeps the JSON without a copy: it is used while the answer is
// decoded, and not after.
func (v *value) UnmarshalJSON(text []byte) error {
	v.text = text
	return nil
}

// find returns the values of the wanted keys, or the errors for which they have
// none. Nothing else of the secret is kept.
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

// credential returns the value as a credential: never rounded, never repaired;
// or what it is instead of one.
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

// textIn decodes a JSON string, unless it holds something that is not text.
func textIn(raw []byte) (text string, ok bool) {
	if !bytes.ContainsRune(raw, '\\') {
		return string(raw[1 : len(raw)-1]), utf8.Valid(raw)
	}
	return text, json.Unmarshal(raw, &text) == nil && !isRepaired(raw, text)
}

// isRepaired reports whether encoding/json put U+FFFD in place of something
// that is not text.
func isRepaired(raw []byte, text string) bool {
	return !utf8.Valid(raw) ||
		strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(raw, utf8.RuneError) && !bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`))
}

// noKey is the fault of a key that the secret does not have, with the candidate
// that was probably meant.
func noKey(key string, version int, candidates []string) *fault.Error {
	f := fault.New(fault.NoKey, "no key "+shownKey(key)+atVersion(version), "check the key in Vault")
	near := nearest(key, candidates)
	if near == "" {
		return f
	}
	shown := fmt.Sprintf("%q", near)
	if strings.ContainsFunc(near+key, func(r rune) bool { return r > '~' }) {
		shown = fmt.Sprintf("%+q", near) // letters that look alike differ in their escapes
	}
	f.Do = "did you mean " + shown + "?"
	if _, err := ref.New("mount/path", near, 0); err != nil {
		f.Do = "did you mean " + shown + "? no reference can name it: rename the key in Vault"
	}
	return f
}

// shownKey is a key in quotes. A long one, which has no near match, is cut: the
// reference before it in the same line has the whole.
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

// atVersion names the version, where there is one.
func atVersion(version int) string {
	if version == 0 {
		return ""
	}
	return " at version " + strconv.Itoa(version)
}

// hostsMetadata is the custom metadata by which a secret names its hosts.
const hostsMetadata = "luumen_hosts"

// hostList are the hosts that a secret names, as globs.
type hostList struct {
	globs     []string
	malformed bool // a glob is, or the whole
}

// maxHostList is the largest custom metadata that Vault stores, in bytes.
const maxHostList = 512

func parseHosts(text string) *hostList {
	if len(text) > maxHostList {
		return &hostList{malformed: true}
	}
	list := &hostList{}
	for glob := range strings.SplitSeq(text, ",") {
		glob = lowerASCII(strings.TrimSpace(glob))
		_, err := path.Match(glob, "")
		switch {
		case err != nil:
			list.malformed = true
		case glob != "":
			list.globs = append(list.globs, glob)
		}
	}
	return list
}

func (l *hostList) isMalformed() bool { return l != nil && l.malformed }

// has reports whether the secret may be sent to the host. A secret that names no
// hosts may be sent to any.
func (l *hostList) has(host string) bool {
	if l == nil {
		return true
	}
	host = lowerASCII(host)
	return slices.ContainsFunc(l.globs, func(glob string) bool {
		ok, err := path.Match(glob, host)
		return ok && err == nil
	})
}

// lowerASCII leaves other letters alone, of which some have an ASCII one in lower
// case: the Kelvin sign has k.
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// almostHosts returns a name that was probably meant as luumen_hosts: with it
// misspelt, the secret is given to every host.
func almostHosts(custom map[string]string) string {
	almost := ""
	for name := range custom {
		if edits(lowerASCII(name), hostsMetadata) <= 2 && (almost == "" || name < almost) {
			almost = name
		}
	}
	return almost
}
