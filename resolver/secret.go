package resolver

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/luumen/patch-vault/internal/fault"
)

// hostsMetadata is the custom metadata by which a secret names its hosts.
const hostsMetadata = "luumen_hosts"

// secret is what one read returned.
type secret struct {
	// A func, for whatever prints a Run with all that it holds must not find
	// the values.
	values  func() values
	version int                     // 0 on KV v1
	created time.Time               // zero on KV v1
	hosts   *string                 // luumen_hosts; nil if it is not set
	missed  map[string]*fault.Error // of the keys that were asked for in vain
}

// values are what a secret holds, sorted by key: most have two or three, for
// which a map takes four times the memory.
type values []value

// value is what a secret holds under a key.
type value struct {
	key  string
	kind jsontext.Kind
	text string // of a string, itself; of a number or a boolean, its exact JSON; else empty
}

// UnmarshalJSONFrom reads an object whose values are taken as they are: never
// rounded, never repaired. Unlike [walk.Object], it takes escapes out of names.
func (all *values) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*all = nil
	if d.PeekKind() != jsontext.KindBeginObject {
		if d.PeekKind() != jsontext.KindNull {
			return errors.New("not an object")
		}
		return d.SkipValue()
	}
	d.ReadToken()
	*all = make(values, 0, 4)
	for d.PeekKind() == jsontext.KindString {
		key, err := d.ReadToken()
		if err != nil {
			return err
		}
		v := value{key: key.String(), kind: d.PeekKind()}
		switch v.kind {
		case jsontext.KindNull, jsontext.KindBeginObject, jsontext.KindBeginArray:
			err = d.SkipValue()
		default:
			var text jsontext.Token
			if text, err = d.ReadToken(); err == nil {
				v.text = text.String()
			}
		}
		if err != nil {
			return err
		}
		*all = append(*all, v)
	}
	slices.SortFunc(*all, func(a, b value) int { return strings.Compare(a.key, b.key) })
	_, err := d.ReadToken() // the end of the object, or what is wrong there
	return err
}

func (all values) find(key string) (v value, ok bool) {
	i, ok := slices.BinarySearchFunc(all, key, func(v value, key string) int { return strings.Compare(v.key, key) })
	if ok {
		v = all[i]
	}
	return v, ok
}

// isFor reports whether the secret may be sent to the host.
func (s *secret) isFor(host string) bool {
	if s.hosts == nil {
		return true
	}
	for glob := range strings.SplitSeq(*s.hosts, ",") {
		if ok, err := path.Match(strings.ToLower(strings.TrimSpace(glob)), strings.ToLower(host)); ok && err == nil {
			return true
		}
	}
	return false
}

// pick returns the value of a key. It is called by one goroutine at a time.
func (s *secret) pick(key string) (text string, err error) {
	v, ok := s.values().find(key)
	if ok && v.text != "" {
		return v.text, nil
	}
	missed := s.missed[key]
	if missed == nil {
		missed = s.miss(key, v, ok)
		if s.missed == nil {
			s.missed = make(map[string]*fault.Error)
		}
		s.missed[key] = missed // one search and one fault, however many hosts misspell the key
	}
	return "", missed
}

// isNumber reports whether the value of a key is a number.
func (s *secret) isNumber(key string) bool {
	v, _ := s.values().find(key)
	return v.kind == jsontext.KindNumber
}

// miss says why a key gives no credential.
func (s *secret) miss(key string, v value, ok bool) *fault.Error {
	if !ok {
		f := fault.New(fault.NoKey, fmt.Sprintf("no key %q%s", key, s.atVersion()), "")
		if near := nearest(key, s.values()); near != "" {
			f.Do = fmt.Sprintf("did you mean %q?", near)
		}
		return f
	}
	what := "empty"
	switch v.kind {
	case jsontext.KindNull:
		what = "null"
	case jsontext.KindBeginObject:
		what = "an object"
	case jsontext.KindBeginArray:
		what = "a list"
	}
	return fault.New(fault.BadValue, fmt.Sprintf("the value of key %q%s is %s", key, s.atVersion(), what), "store a text, a number or a boolean")
}

// atVersion names the version, where there is one.
func (s *secret) atVersion() string {
	if s.version == 0 {
		return ""
	}
	return fmt.Sprintf(" at version %d", s.version)
}
