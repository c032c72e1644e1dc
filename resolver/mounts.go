package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/luumen/patch-vault/internal/session"
)

// Mount is where a KV engine is mounted in Vault.
type Mount struct {
	Path    string `json:"path"`              // without slashes at its ends: team/kv
	Version int    `json:"version"`           // of KV: 1 or 2
	Guessed bool   `json:"guessed,omitempty"` // neither Vault nor the settings told it
}

// mount is what is known of a path's mount.
type mount struct {
	Mount
	kind   string // Vault's type of it; empty if unknown
	listed bool   // Vault told it
}

// isKV reports whether secrets may be read there. Others make credentials up
// on each read, or hand out tokens.
func (m mount) isKV() bool { return m.kind == "" || m.kind == "kv" || m.kind == "generic" }

// api is the path of Vault's API for a secret of this mount.
func (m Mount) api(path string) string {
	if m.Version == 1 {
		return path
	}
	return m.Path + "/data/" + m.below(path)
}

// covers reports whether the path lies in the mount.
func (m Mount) covers(path string) bool {
	return path == m.Path || strings.HasPrefix(path, m.Path+"/")
}

// below is the part of the path below the mount.
func (m Mount) below(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, m.Path), "/")
}

// mountTable says where a path's mount is.
type mountTable struct {
	listed   []mount  // longest first
	blocked  bool     // Vault's list could not be had
	named    []mount  // in the settings, longest first
	version  int      // of KV, for mounts of which it is not known
	policies []string // of the token, as far as Vault told; for messages
}

// listMounts asks Vault which mounts the token can see. Where the list is
// blocked, the settings and the first segments have to do.
func listMounts(ctx context.Context, s *session.Session, config *session.Config) (*mountTable, error) {
	table := unlisted(config)
	for _, policy := range s.Token().Policies {
		table.policies = append(table.policies, s.Mask(policy))
	}
	var data struct {
		Secret map[string]struct {
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"secret"`
	}
	answer, err := s.Ask(ctx, "sys/internal/ui/mounts", nil, &data)
	if err != nil {
		return nil, err
	}
	if !answer.Ok() || answer.BadData {
		return table, nil
	}
	table.blocked = false
	for path, listed := range data.Secret {
		m := mount{Mount: Mount{Path: strings.TrimSuffix(path, "/"), Version: 1}, kind: shownType(s.Mask(listed.Type)), listed: true}
		if listed.Options["version"] == "2" {
			m.Version = 2
		}
		table.listed = append(table.listed, m)
	}
	slices.SortFunc(table.listed, longestFirst)
	return table, nil
}

// unlisted is what there is without Vault's list.
func unlisted(config *session.Config) *mountTable {
	table := &mountTable{version: config.KVVersion, blocked: true}
	for _, path := range config.Mounts {
		table.named = append(table.named, mount{Mount: Mount{Path: path, Version: table.version}})
	}
	slices.SortFunc(table.named, longestFirst)
	return table
}

// shownType is a mount's type if it looks like one, for it goes into errors and
// a hostile server could write the token there.
func shownType(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return "unknown"
	}
	return text
}

func longestFirst(a, b mount) int {
	if d := len(b.Path) - len(a.Path); d != 0 {
		return d
	}
	return strings.Compare(a.Path, b.Path)
}

// find returns the mount of a path, and whether the token can see it, as far
// as Vault told.
func (t *mountTable) find(path string) (m mount, visible bool) {
	covers := func(m mount) bool { return m.covers(path) }
	if i := slices.IndexFunc(t.listed, covers); i >= 0 {
		return t.listed[i], true
	}
	if i := slices.IndexFunc(t.named, covers); i >= 0 {
		return t.named[i], t.blocked
	}
	return mount{Mount: guess(path, t.version)}, t.blocked
}

// guess takes the first segment of a path for its mount, for want of better.
func guess(path string, version int) Mount {
	first, _, _ := strings.Cut(path, "/")
	return Mount{Path: first, Version: version, Guessed: true}
}

// findings say where the settings had to serve in place of Vault's list, and
// which mounts have another KV version than they say.
func (t *mountTable) findings(reads []*read) []Finding {
	var findings []Finding
	if t.blocked {
		findings = append(findings, Finding{Code: MountsUnknown, Text: "vault's list of mounts could not be had (sys/internal/ui/mounts), so mounts and KV versions are taken from the settings; name nested mounts there"})
	}
	for _, r := range reads {
		m := r.mount
		if !m.listed || !m.isKV() || m.Version == t.version {
			continue
		}
		f := Finding{Code: MountVersion, Notice: true, Text: fmt.Sprintf("the mount %s is KV v%d, not v%d as the settings say; it is read as what it is", m.Path, m.Version, t.version)}
		if !slices.Contains(findings, f) {
			findings = append(findings, f)
		}
	}
	return findings
}
