package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// Mount is the mount of a reference, as far as it is known.
type Mount struct {
	Path      string `json:"path"`                // without slashes at its ends: team/kv
	Version   int    `json:"version"`             // of KV: 1 or 2
	Guessed   bool   `json:"guessed,omitempty"`   // Vault did not list it: it is taken from the settings or the path, and may be wrong
	NotKV     bool   `json:"not_kv,omitempty"`    // something else is mounted there, and is never read
	Namespace string `json:"namespace,omitempty"` // relative to that of the token, such as team/child
}

// mount is what is known about a path's mount.
type mount struct {
	Mount
	table  *mountTable // that found it
	listed bool        // Vault listed it; otherwise the settings name it, or it is Guessed
}

// isKV reports whether a mount of the type holds secrets.
func isKV(kind string) bool { return kind == "kv" || kind == "generic" }

// api is the path of Vault's API for a secret of this mount.
func (m Mount) api(path string) string {
	if m.Version == 1 {
		return path
	}
	return m.Path + "/data/" + m.below(path)
}

// granted is the path that the token's policy must name.
func (m Mount) granted(path string) string {
	if m.Namespace == "" {
		return m.api(path)
	}
	return m.Namespace + "/" + m.api(path)
}

// below is the part of the path below the mount.
func (m Mount) below(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, m.Path), "/")
}

// mountTable finds the mount of a path.
type mountTable struct {
	list       listState         // whether Vault's list is available
	listed     map[string]*mount // those of references in Vault's list, by path
	forToken   bool              // Vault's list is that of a token; otherwise anyone may get it
	fault      *fault.Error      // why there is no list, if Vault did not answer
	named      map[string]*mount // those in the settings, by path
	version    int               // of KV in the settings, for other mounts
	token      auth.Token        // with which Vault was asked for the list
	namespace  string            // see Mount.Namespace
	isOutside  bool              // the settings' namespace is not in that of the token
	inSettings string            // the namespace in the settings
}

// listState is what Vault's list of mounts shows.
type listState int

const (
	unavailable listState = iota // nothing: there is no list, or it is wrong
	unsure                       // nothing yet: it has none of the mounts, and anyone may get it; see tryOne
	complete                     // the token cannot see any other mount
)

const listPath = transport.MountsPath

// listMounts asks Vault which mounts of the paths the token can see. If the list is blocked,
// the settings and the first segments of paths are used instead.
func (p *plan) listMounts(ctx context.Context, client *api.Client) (*mountTable, error) {
	settings := p.vault.Settings()
	list := reply.MountList{Wants: pathsOf(p.reads).have}
	own := transport.Own{Optional: transport.InAWhile, Decides: len(p.reads) == 0}
	answer, err := reply.Read(transport.WithOwn(ctx, own), client, listPath, nil, &list)
	table := unlisted(settings, auth.TokenOf(ctx))
	if f, ok := err.(*fault.Error); ok && !f.Run {
		table.fault = f
		return table, nil
	}
	if err != nil {
		return nil, err
	}
	if f := answer.NoAPI(settings.Address); f != nil && !table.token.Proven {
		return nil, f
	}
	if !answer.Ok() || answer.Malformed || list.Mounts == nil {
		return table, nil
	}
	table.list, table.forToken = complete, list.ForToken
	if len(list.Mounts) == 0 && !list.ForToken {
		table.list = unsure
	}
	table.listed = make(map[string]*mount, len(list.Mounts))
	for path, listed := range list.Mounts {
		m := &mount{table: table, listed: true}
		m.Path, m.Namespace = strings.TrimSuffix(path, "/"), table.namespace
		m.Version, m.NotKV = 1, !isKV(listed.Type)
		if listed.Options["version"] == "2" {
			m.Version = 2
		}
		table.listed[m.Path] = m
	}
	return table, nil
}

// sortedPaths finds mounts of paths fast, since a server may list millions of mounts.
type sortedPaths []string

func pathsOf(reads []*read) sortedPaths {
	paths := make([]string, len(reads))
	for i, r := range reads {
		paths[i] = r.path
	}
	slices.Sort(paths)
	return paths
}

// have reports whether one of the paths is below a mount, or is the mount. The mount's path
// ends with a slash.
func (p sortedPaths) have(mount string) bool {
	path, ok := strings.CutSuffix(mount, "/")
	_, isPath := slices.BinarySearch(p, path)
	i, _ := slices.BinarySearch(p, mount)
	return ok && (isPath || i < len(p) && strings.HasPrefix(p[i], mount))
}

// isHidden reports whether Vault's list shows that the token cannot see the mount.
func (m *mount) isHidden() bool { return m.table.list == complete && !m.listed }

// relative returns the part of a namespace below that of the token. It reports false if the
// namespace is neither that of the token nor below it.
func relative(namespace, ofToken string) (below string, ok bool) {
	switch ofToken {
	case "": // the root namespace
		return namespace, true
	case namespace:
		return "", true
	}
	if below, ok = strings.CutPrefix(namespace, ofToken+"/"); !ok {
		return "", false
	}
	return below, true
}

// unlisted is the table without Vault's list.
func unlisted(settings auth.Settings, token auth.Token) *mountTable {
	table := &mountTable{version: 2, token: token, named: make(map[string]*mount), inSettings: settings.Namespace}
	var isInside bool
	table.namespace, isInside = relative(settings.Namespace, token.Namespace)
	table.isOutside = !isInside
	if settings.KVVersion == "v1" {
		table.version = 1
	}
	for _, path := range settings.Mounts {
		path = strings.TrimSuffix(path, "/")
		table.named[path] = &mount{table: table, Mount: Mount{Path: path, Version: table.version, Namespace: table.namespace}}
	}
	return table
}

// find returns the mount of a path.
func (t *mountTable) find(path string) *mount {
	if m := covering(t.listed, path); m != nil {
		return m
	}
	if m := covering(t.named, path); m != nil {
		return m
	}
	first, _, _ := strings.Cut(path, "/")
	return &mount{table: t, Mount: Mount{Path: first, Version: t.version, Guessed: true, Namespace: t.namespace}}
}

// covering returns the mount with the longest path that is a prefix of path, or nil.
func covering(mounts map[string]*mount, path string) *mount {
	for prefix := path; ; {
		if m := mounts[prefix]; m != nil {
			return m
		}
		i := strings.LastIndexByte(prefix, '/')
		if i < 0 {
			return nil
		}
		prefix = prefix[:i]
	}
}

// findings says if the settings replaced Vault's list, and which mounts have another
// KV version than the settings say.
func (t *mountTable) findings(reads []*read) []auth.Finding {
	var findings []auth.Finding
	if t.list == unavailable {
		f := warning(MountsUnknown, "vault's list of mounts is not available ("+listPath+"), so mounts and KV versions are taken from the settings; let every proxy and rate limit pass the list, or name nested mounts in the settings")
		if t.fault != nil {
			f.Detail = t.fault.Error()
		}
		findings = append(findings, f)
	}
	seen := make(map[string]bool)
	for _, r := range reads {
		m := t.find(r.path) // that of the read may be a guess from before the list
		if !m.listed || m.NotKV || m.Version == t.version || seen[m.Path] {
			continue
		}
		seen[m.Path] = true
		findings = append(findings, notice(MountVersion, fmt.Sprintf("the mount %s is KV v%d, not v%d as in the settings; it is read as KV v%d", quoted(m.Path), m.Version, t.version, m.Version)))
	}
	return findings
}
