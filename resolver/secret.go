package resolver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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
	values  func() map[string]json.RawMessage
	version int       // 0 on KV v1
	created time.Time // zero on KV v1
	hosts   *string   // luumen_hosts; nil if it is not set
	picked  map[string]pick
}

// pick is the value of one key, or why it is none.
type pick struct {
	text ref.Secret
	err  *fault.Error
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
	var values map[string]json.RawMessage
	if json.Unmarshal(answer.Data, &values) != nil {
		return nil, noSecret(m.api(r.path))
	}
	return &secret{values: func() map[string]json.RawMessage { return values }}, nil
}

func readV2(answer *auth.Answer, mounts *mountTable, m mount, r *read) (*secret, error) {
	var data struct {
		Data     map[string]json.RawMessage `json:"data"`
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
	s := &secret{values: func() map[string]json.RawMessage { return values }, version: meta.Version, created: meta.Created}
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
func (s *secret) pick(key string) pick {
	p, ok := s.picked[key]
	if !ok {
		p = s.find(key)
		if s.picked == nil {
			s.picked = make(map[string]pick, 2)
		}
		s.picked[key] = p
	}
	return p
}

func (s *secret) find(key string) pick {
	raw, ok := s.values()[key]
	if !ok {
		f := fault.New(fault.NoKey, fmt.Sprintf("no key %q%s", key, s.atVersion()), "")
		if near := nearest(key, s.values()); near != "" {
			f.Do = fmt.Sprintf("did you mean %q?", near)
		}
		return pick{err: f}
	}
	bad := func(what string) pick {
		return pick{err: fault.New(fault.BadValue, fmt.Sprintf("the value of key %q%s is %s", key, s.atVersion(), what), "store a text, a number or a boolean")}
	}
	switch raw[0] {
	case '"':
		text, ok := unquote(raw)
		if !ok {
			return bad("not valid JSON")
		}
		if text == "" {
			return bad("empty")
		}
		return pick{text: ref.NewSecret(text)}
	case 'n':
		return bad("null")
	case '{':
		return bad("an object")
	case '[':
		return bad("a list")
	}
	return pick{text: ref.NewSecret(string(raw))} // the exact digits, true or false
}

// atVersion names the version, where there is one.
func (s *secret) atVersion() string {
	if s.version == 0 {
		return ""
	}
	return fmt.Sprintf(" at version %d", s.version)
}

// unquote reads a JSON string, whose syntax has been checked with the answer's.
func unquote(raw json.RawMessage) (text string, ok bool) {
	if !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1]), true // most are plain
	}
	err := json.Unmarshal(raw, &text)
	return text, err == nil
}

// nearest returns the key that was probably meant: at most two edits away, and
// long enough that this says something.
func nearest(key string, values map[string]json.RawMessage) string {
	best, distance := "", 3
	for candidate := range values {
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
