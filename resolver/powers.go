package resolver

import (
	"context"
	"path"
	"slices"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// powers are what the token may do besides reading.
type powers struct {
	root    bool
	write   map[string]bool // by the path of Vault's API; has all that Vault was asked for
	unknown string          // why they are not known, and what to do
}

// mostPaths is the number of paths in one request. Vault refuses JSON lists of more
// than 10,000, and OpenBao of more than a few hundred.
const mostPaths = 500

// pathsToAsk returns the distinct API paths of the reads, in mounts that the token may be
// able to see: a list without any mount can be wrong.
func pathsToAsk(mounts *mountTable, reads []*read) []string {
	var paths []string
	for _, r := range reads {
		if m := mounts.find(r.path); !m.NotKV && (!mounts.hides(m) || mounts.mayBeAnyones()) {
			paths = append(paths, m.api(r.path))
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// askPowers asks Vault what the token may do on paths of its API. It skips a token with
// a limited number of uses, since each request costs one. The namespace is that of the
// client, below that of the token.
func askPowers(ctx context.Context, client *api.Client, paths []string, namespace string) powers {
	token := auth.TokenOf(ctx)
	if slices.Contains(token.Policies, "root") {
		return powers{root: true}
	}
	if token.UsesLeft != nil && len(paths) > 0 {
		return powers{unknown: "it is unknown whether the token may do more than read: asking would cost some of its uses; give it token_num_uses=0 to check it"}
	}
	p := powers{write: make(map[string]bool)}
	for some := range slices.Chunk(paths, mostPaths) {
		if !p.ask(ctx, client, some) {
			p.unknown = "it is unknown whether the token may do more than read; to let checks find out, grant it update on " + path.Join(namespace, "sys/capabilities-self") + ", which runs do not need"
			break
		}
	}
	return p
}

func (p *powers) ask(ctx context.Context, client *api.Client, paths []string) (ok bool) {
	var data map[string][]string
	ctx = transport.WithOwn(ctx, transport.Own{Optional: transport.AtOnce, Harmless: true})
	answer, err := reply.Write(ctx, client, "sys/capabilities-self", map[string][]string{"paths": paths}, &data)
	if err != nil || !answer.Ok() || answer.Malformed {
		return false
	}
	for _, path := range paths {
		capabilities, ok := data[path]
		if !ok {
			return false
		}
		p.write[path] = false
		for _, capability := range capabilities {
			switch capability {
			case "root":
				p.root = true
			case "create", "update", "patch", "delete":
				p.write[path] = true
			}
		}
	}
	return true
}

// noteUnasked notes whether a secret was read at a path that Vault was not asked about.
func (p *powers) noteUnasked(reads []*read) {
	for _, r := range reads {
		if r.secret == nil || p.unknown != "" {
			continue
		}
		if _, asked := p.write[r.mount.api(r.path)]; !asked {
			p.unknown = "it is unknown whether the token may do more than read some of the secrets, since Vault's list of mounts came late; check again"
		}
	}
}
