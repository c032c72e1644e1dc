package resolver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/session"
	"github.com/luumen/patch-vault/internal/walk"
)

// scouts is how many reads are tried beside those of the workers in an outage.
// All workers may hold paths of one mount that is ill; only the answer to another
// path shows that Vault is well.
const scouts = 4

// readAll reads with a bounded number of workers, joined by the scouts in an
// outage, until all is read or no request has a chance any more.
func (p *plan) readAll(ctx context.Context, s *session.Session, mounts *mountTable, workers int) {
	var working, scouting sync.WaitGroup
	for range workers {
		working.Go(func() {
			for r := p.next(); r != nil && p.read(ctx, s, mounts, r); r = p.next() {
			}
		})
	}
	needed, dismiss := context.WithCancel(ctx)
	for range min(scouts, workers) {
		scouting.Go(func() {
			for s.AwaitOutage(needed) {
				if r := p.elsewhere(mounts); r == nil || !p.read(ctx, s, mounts, r) {
					return
				}
			}
		})
	}
	working.Wait()
	dismiss()
	scouting.Wait()
	if err := s.Over(); err != nil {
		p.settleAll(err)
	}
}

// read reads one path, and reports whether others have a chance.
func (p *plan) read(ctx context.Context, s *session.Session, mounts *mountTable, r *read) bool {
	if ctx.Err() != nil {
		return false
	}
	secret, err := readSecret(ctx, s, mounts, r)
	if err != nil && (ctx.Err() != nil || err == s.Over()) {
		return false // what ends the run is every path's, not this one's
	}
	if err != nil && s.Unanswered() != nil {
		p.settleAll(err)
		return false
	}
	p.settle(r, secret, err)
	return true
}

// readSecret reads one path once.
func readSecret(ctx context.Context, s *session.Session, mounts *mountTable, r *read) (*secret, error) {
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
		answer, err := readKV(ctx, s, m, r.path, query, &data)
		if err != nil {
			return nil, err
		}
		return secretV1(answer, data, mounts, m, r)
	}
	var data versioned
	answer, err := readKV(ctx, s, m, r.path, query, &data)
	if err != nil {
		return nil, err
	}
	return secretV2(answer, data, mounts, m, r)
}

// readKV gets an answer that is no dynamic secret.
func readKV(ctx context.Context, s *session.Session, m mount, path, query string, data any) (*client.Answer, error) {
	answer, err := s.Get(ctx, m.api(path), query, data)
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

func secretV1(answer *client.Answer, data values, mounts *mountTable, m mount, r *read) (*secret, error) {
	switch {
	case answer.ReadAsV1():
		return nil, otherVersion(m, 2)
	case answer.Status != 200:
		return nil, unread(answer, mounts, m, r)
	case answer.BadData || data == nil:
		return nil, noSecret(m.api(r.path))
	}
	return &secret{values: func() values { return data }}, nil
}

func secretV2(answer *client.Answer, data versioned, mounts *mountTable, m mount, r *read) (*secret, error) {
	if answer.BadData {
		data = versioned{}
	}
	held := data.values
	switch {
	case answer.Status == 404 && data.version != 0 && data.destroyed:
		return nil, fault.New(fault.Deleted, fmt.Sprintf("version %d of %s is destroyed", data.version, r.path), "write the secret again")
	case answer.Status == 404 && data.version != 0:
		return nil, fault.New(fault.Deleted, fmt.Sprintf("version %d of %s was deleted%s", data.version, r.path, at(data.deleted)), fmt.Sprintf("write the secret again, or restore it: vault kv undelete -mount=%s -versions=%d %s", m.Path, data.version, m.below(r.path)))
	case answer.Status != 200:
		return nil, unread(answer, mounts, m, r)
	case data.version == 0 && mounts.blocked:
		return nil, otherVersion(m, 1)
	case data.version == 0:
		return nil, noSecret(m.api(r.path))
	}
	created, _ := time.Parse(time.RFC3339Nano, data.created) // no reason to withhold the secret
	s := &secret{values: func() values { return held }, version: data.version, created: created}
	if hosts, ok := data.custom[hostsMetadata]; ok {
		s.hosts = new(hosts)
	} else {
		r.almost = almostHosts(data.custom)
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

// versioned is the data of a KV v2 answer.
type versioned struct {
	values    values
	version   int    // from 1; 0 where there is no metadata
	created   string // RFC 3339
	deleted   string // the same, or empty
	destroyed bool
	custom    map[string]string
}

// UnmarshalJSONFrom reads the values and the metadata about them.
func (v *versioned) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*v = versioned{}
	return walk.Object(d, func(name []byte) error {
		switch string(name) {
		case "data":
			return v.values.UnmarshalJSONFrom(d)
		case "metadata":
			return walk.Object(d, v.metadata(d))
		}
		return d.SkipValue()
	})
}

func (v *versioned) metadata(d *jsontext.Decoder) func(name []byte) error {
	return func(name []byte) error {
		switch string(name) {
		case "version":
			return walk.Number(d, &v.version)
		case "created_time":
			return walk.Text(d, &v.created)
		case "deletion_time":
			return walk.Text(d, &v.deleted)
		case "destroyed":
			return walk.Bool(d, &v.destroyed)
		case "custom_metadata":
			return walk.Other(d, &v.custom)
		}
		return d.SkipValue()
	}
}
