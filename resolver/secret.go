package resolver

import (
	"bytes"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
)

// secret is what a read returned.
type secret struct {
	values   []value   // of the read's keys
	version  int       // 0 on KV v1
	created  time.Time // zero on KV v1
	hosts    hostList
	findings []auth.Finding // about the hosts
}

// value is the value of a key.
type value struct {
	text   string // a string itself; a number or boolean as its exact JSON text, never rounded and never repaired
	number bool
	other  string // what it is, if it is not a credential: "null", "a list"
	err    error  // why there is no text
}

// values is the JSON object with the values of a secret. Only those of some keys are kept.
type values struct {
	keys  *keys
	all   []value  // of the keys, zero for a key that the secret does not have; nil if there is no object
	near  []string // names in the secret that a mistyped key may mean; maxNames at most
	hosts bool     // luumen_hosts is a name in the secret
}

// UnmarshalJSONFrom returns an error for anything but an object or null.
func (v *values) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*v = values{keys: v.keys}
	if d.PeekKind() == '{' {
		v.all = make([]value, len(v.keys.all))
		v.near = make([]string, 0, len(v.keys.all)) // most secrets have no other names
	}
	return reply.EachMember(d, func(name string) error {
		if canBeNear(name) && len(v.near) < maxNames {
			v.near = append(v.near, name)
		}
		v.hosts = v.hosts || name == hostsMetadata
		text, err := d.ReadValue()
		if err != nil {
			return err
		}
		if i := v.keys.find(name); i >= 0 {
			v.all[i] = valueIn(text)
		}
		return nil
	})
}

// isConfigV2 reports whether this is not a secret, but the configuration of a KV v2 mount.
func (v *values) isConfigV2() bool {
	return slices.Contains(v.near, "cas_required") && slices.Contains(v.near, "delete_version_after") && slices.Contains(v.near, "max_versions")
}

// found returns the values of the keys. Those without a text say why, with the hint.
func (v *values) found(version int, hint string) []value {
	all := v.all
	if all == nil {
		all = make([]value, len(v.keys.all))
	}
	slices.Sort(v.near)
	searches := 0
	for i, key := range v.keys.all {
		one := &all[i]
		if one.text != "" {
			continue
		}
		var f *fault.Error
		if one.other != "" {
			f = badValue(key, version, one.other)
		} else {
			if searches++; searches > maxSearches {
				v.near = nil
			}
			f = noKey(key, version, v.near)
		}
		f.Do += hint
		one.err = f
	}
	return all
}

// valueIn returns the value in a JSON text.
func valueIn(json []byte) value {
	switch json[0] {
	case 'n':
		return value{other: "null"}
	case '{':
		return value{other: "an object"}
	case '[':
		return value{other: "a list"}
	case '"':
		text, ok := textIn(json)
		if !ok {
			return value{other: "not valid text"}
		}
		if text == "" {
			return value{other: "empty"}
		}
		return value{text: text}
	case 't', 'f':
		return value{text: string(json)}
	}
	return value{text: string(json), number: true}
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
