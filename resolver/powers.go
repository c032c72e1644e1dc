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
	unknown []auth.Finding  // the one that says why they are not known; nil if they are
}

// mostPaths is the number of paths in one request. Vault refuses JSON lists of more
// than 10,000, and OpenBao of more than a few hundred.
const mostPaths = 500

// pathsToAsk returns the distinct API paths of the reads, in mounts that the token may be
// able to see.
func pathsToAsk(reads []*read) []string {
	var paths []string
	for _, r := range reads {
		if m := r.mount; !m.NotKV && !m.isHidden() {
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
		return powers{unknown: unknownPowers(": asking would cost some of its uses; give it token_num_uses=0 to find out")}
	}
	p := powers{write: make(map[string]bool)}
	for some := range slices.Chunk(paths, mostPaths) {
		if err := p.ask(ctx, client, some); err != nil {
			p.unknown = unanswered(err, namespace)
			break
		}
	}
	return p
}

const powersPath = "sys/capabilities-self"

// ask asks for the powers on some paths. Its error is Denied, or that of a request without
// an answer.
func (p *powers) ask(ctx context.Context, client *api.Client, paths []string) error {
	var data map[string][]string
	ctx = transport.WithOwn(ctx, transport.Own{Optional: transport.AtOnce, Harmless: true})
	answer, err := reply.Write(ctx, client, powersPath, map[string][]string{"paths": paths}, &data)
	if err != nil {
		return err
	}
	if !answer.Ok() || answer.Malformed {
		return Denied
	}
	for _, path := range paths {
		capabilities, ok := data[path]
		if !ok {
			return Denied
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
	return nil
}

// unanswered is the finding for a request for powers that failed with the error of ask.
func unanswered(err error, namespace string) []auth.Finding {
	if err == Denied {
		return unknownPowers("; to let checks find out, grant it update on " + path.Join(namespace, powersPath) + ", which runs do not need, or let the proxy in front of Vault pass it")
	}
	unknown := unknownPowers(": " + reply.Unanswered(powersPath, err))
	unknown[0].Detail = err.Error()
	return unknown
}

func unknownPowers(why string) []auth.Finding {
	return []auth.Finding{notice(CapabilitiesUnknown, "it is unknown whether the token may do more than read"+why)}
}

// noteUnasked notes whether a secret was read at a path that Vault was not asked about.
func (p *powers) noteUnasked(reads []*read) {
	for _, r := range reads {
		if r.secret == nil || p.unknown != nil {
			continue
		}
		if _, asked := p.write[r.mount.api(r.path)]; !asked {
			p.unknown = unknownPowers(" some of the secrets, since Vault's list of mounts came late; check again")
		}
	}
}
