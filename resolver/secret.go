package resolver

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
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
	values  func() map[string]value
	version int                     // 0 on KV v1
	created time.Time               // zero on KV v1
	hosts   *string                 // luumen_hosts; nil if it is not set
	missed  map[string]*fault.Error // of the keys that were asked for in vain
}

// value is what a secret holds under a key.
type value struct {
	kind jsontext.Kind
	text string // of a string, itself; of a number or a boolean, its exact JSON; else empty
}

// UnmarshalJSONFrom takes a value as it is: never rounded, never repaired.
func (v *value) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v.kind = d.PeekKind()
	switch v.kind {
	case jsontext.KindNull, jsontext.KindBeginObject, jsontext.KindBeginArray:
		return d.SkipValue()
	}
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	v.text = token.String()
	return nil
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
	answer, err := session.Get(ctx, m.api(r.path), query)
	if err != nil {
		return nil, err
	}
	if answer.LeaseID != "" {
		return nil, notKV(m.Path, "an engine that makes credentials up")
	}
	if !(mount{kind: answer.MountType}).isKV() {
		return nil, notKV(m.Path, "of type "+answer.MountType)
	}
	if m.Version == 1 {
		return readV1(answer, m, r)
	}
	return readV2(answer, mounts, m, r)
}

func readV1(answer *auth.Answer, m mount, r *read) (*secret, error) {
	if answer.Warns(client.VersionedMount) {
		return nil, otherVersion(m, 2)
	}
	if answer.Status != 200 {
		return nil, unread(answer, m, r)
	}
	var values map[string]value
	if json.Unmarshal(answer.Data, &values) != nil {
		return nil, noSecret(m.api(r.path))
	}
	return &secret{values: func() map[string]value { return values }}, nil
}

func readV2(answer *auth.Answer, mounts *mountTable, m mount, r *read) (*secret, error) {
	var data struct {
		Data     map[string]value `json:"data"`
		Metadata *struct {
			Version   int               `json:"version"`
			Created   time.Time         `json:"created_time"`
			Deleted   string            `json:"deletion_time"` // empty, or RFC 3339
			Destroyed bool              `json:"destroyed"`
			Custom    map[string]string `json:"custom_metadata"`
		} `json:"metadata"`
	}
	if len(answer.Data) > 0 && json.Unmarshal(answer.Data, &data) != nil {
		data.Metadata = nil
	}
	meta := data.Metadata
	switch {
	case answer.Status == 404 && meta != nil && meta.Destroyed:
		return nil, fault.New(fault.Deleted, fmt.Sprintf("version %d of %s is destroyed", meta.Version, r.path), "write the secret again")
	case answer.Status == 404 && meta != nil:
		return nil, fault.New(fault.Deleted, fmt.Sprintf("version %d of %s was deleted%s", meta.Version, r.path, at(meta.Deleted)), "write the secret again, or restore it: vault kv undelete")
	case answer.Status != 200:
		return nil, unread(answer, m, r)
	case meta == nil && mounts.blocked:
		return nil, otherVersion(m, 1)
	case meta == nil:
		return nil, noSecret(m.api(r.path))
	}
	values := data.Data // alone, lest the closure hold the rest as well
	s := &secret{values: func() map[string]value { return values }, version: meta.Version, created: meta.Created}
	if hosts, ok := meta.Custom[hostsMetadata]; ok {
		s.hosts = &hosts
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
	v, ok := s.values()[key]
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

// miss says why a key gives no credential.
func (s *secret) miss(key string, v value, ok bool) *fault.Error {
	if !ok {
		f := fault.New(fault.NoKey, fmt.Sprintf("no key %q%s", key, s.atVersion()), "")
		if near := nearest(key, maps.Keys(s.values())); near != "" {
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
func nearest(key string, candidates iter.Seq[string]) string {
	best, distance := "", 3
	for candidate := range candidates {
		if len(candidate) < 4 || len(key) < 4 {
			continue
		}
		if d := edits(key, candidate); d < distance || d == distance && best != "" && candidate < best {
			best, distance = candidate, d
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
