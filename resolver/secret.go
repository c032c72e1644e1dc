package resolver

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
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
// rounded, never repaired.
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

// versioned is the data of a KV v2 answer.
type versioned struct {
	Data     values   `json:"data"`
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	Version   int               `json:"version"` // from 1; 0 where there is no metadata
	Created   time.Time         `json:"created_time"`
	Deleted   string            `json:"deletion_time"` // empty, or RFC 3339
	Destroyed bool              `json:"destroyed"`
	Custom    map[string]string `json:"custom_metadata"`
}

// readSecret reads one path once.
func readSecret(ctx context.Context, session *auth.Session, mounts *mountTable, r *read) (*secret, error) {
	m, visible := mounts.find(r.path)
	r.mount = m
	switch {
	case !visible:
		return nil, invisible(mounts, m, r.path)
	case !m.isKV():
		return nil, notKV(m.Path, "of type "+m.kind)
	case m.below(r.path) == "":
		return nil, fault.New(fault.NotFound, r.path+" is a mount, not a secret", "write the path of the secret below it")
	case r.version != 0 && m.Version == 1:
		return nil, fault.New(fault.NoVersion, "the mount "+m.Path+" is KV v1, which has no versions", "leave the version out, or have the mount upgraded to KV v2")
	case mounts.blocked && m.Version == 1 && namesTokens(r.path):
		return nil, notKV(m.Path, "of a type that Vault does not tell")
	}
	query := ""
	if r.version != 0 {
		query = "version=" + strconv.Itoa(r.version)
	}
	r.sent = true
	if m.Version == 1 {
		var data values
		answer, err := readKV(ctx, session, m, r.path, query, &data)
		if err != nil {
			return nil, err
		}
		return secretV1(answer, data, m, r)
	}
	var data versioned
	answer, err := readKV(ctx, session, m, r.path, query, &data)
	if err != nil {
		return nil, err
	}
	return secretV2(answer, data, mounts, m, r)
}

// readKV gets an answer that is no dynamic secret.
func readKV(ctx context.Context, session *auth.Session, m mount, path, query string, data any) (*auth.Answer, error) {
	answer, err := session.Get(ctx, m.api(path), query, data)
	switch {
	case err != nil:
		return nil, err
	case answer.LeaseID != "":
		return nil, notKV(m.Path, "an engine that makes credentials up")
	case !(mount{kind: answer.MountType}).isKV():
		return nil, notKV(m.Path, "of type "+answer.MountType)
	}
	return answer, nil
}

func secretV1(answer *auth.Answer, data values, m mount, r *read) (*secret, error) {
	switch {
	case answer.Warns(client.VersionedMount):
		return nil, otherVersion(m, 2)
	case answer.Status != 200:
		return nil, unread(answer, m, r)
	case answer.BadData || data == nil:
		return nil, noSecret(m.api(r.path))
	}
	return &secret{values: func() values { return data }}, nil
}

func secretV2(answer *auth.Answer, data versioned, mounts *mountTable, m mount, r *read) (*secret, error) {
	meta, held := data.Metadata, data.Data
	if answer.BadData {
		meta = metadata{}
	}
	switch {
	case answer.Status == 404 && meta.Version != 0 && meta.Destroyed:
		return nil, fault.New(fault.Deleted, fmt.Sprintf("version %d of %s is destroyed", meta.Version, r.path), "write the secret again")
	case answer.Status == 404 && meta.Version != 0:
		return nil, fault.New(fault.Deleted, fmt.Sprintf("version %d of %s was deleted%s", meta.Version, r.path, at(meta.Deleted)), "write the secret again, or restore it: vault kv undelete")
	case answer.Status != 200:
		return nil, unread(answer, m, r)
	case meta.Version == 0 && mounts.blocked:
		return nil, otherVersion(m, 1)
	case meta.Version == 0:
		return nil, noSecret(m.api(r.path))
	}
	s := &secret{values: func() values { return held }, version: meta.Version, created: meta.Created}
	if hosts, ok := meta.Custom[hostsMetadata]; ok {
		s.hosts = new(hosts)
	}
	return s, nil
}

// at says when something happened, to the second; nothing if Vault does not.
func at(timestamp string) string {
	t, err := time.Parse(time.RFC3339Nano, timestamp)
	if err != nil {
		return ""
	}
	return " at " + t.UTC().Format("2006-01-02 15:04:05Z")
}

// namesTokens reports whether a path could lead to a token where Vault tells
// neither the mounts nor their types: with a namespace before it, the reserved
// segment is not the first.
func namesTokens(path string) bool {
	return slices.ContainsFunc(strings.Split(strings.ToLower(path), "/"), func(segment string) bool {
		return segment == "auth" || segment == "sys" || segment == "identity" || segment == "cubbyhole"
	})
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
func (s *secret) pick(key string) (ref.Secret, error) {
	v, ok := s.values().find(key)
	if ok && v.text != "" {
		return ref.NewSecret(v.text), nil
	}
	err := s.missed[key]
	if err == nil {
		err = s.miss(key, v, ok)
		if s.missed == nil {
			s.missed = make(map[string]*fault.Error)
		}
		s.missed[key] = err // one search and one fault, however many hosts misspell the key
	}
	return ref.Secret{}, err
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

// nearest returns the key that was probably meant: at most two edits away, and
// long enough that this says something.
func nearest(key string, candidates values) string {
	best, distance := "", 3
	for _, v := range candidates {
		if len(v.key) < 4 || len(key) < 4 {
			continue
		}
		if d := edits(key, v.key); d < distance {
			best, distance = v.key, d
		}
	}
	return best
}

// edits is the Levenshtein distance between two texts, in characters; any
// distance above 2 may come out as 3.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}
