package resolver

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/ref"
)

// readAll logs in, reads every path, and revokes the token. A check also asks what the token
// may do besides reading. The error is the reason why some or all paths were not read.
func (p *plan) readAll(ctx context.Context, options auth.DoOptions) (auth.Usage, error) {
	usage, err := p.vault.Do(ctx, options, func(ctx context.Context, client *api.Client) error {
		if p.invalid != nil {
			return p.invalid // the environment was fixed since, but no path was compared with the pins
		}
		ctx = transport.WithOwn(ctx, transport.Own{})
		table, err := p.listMounts(ctx, client)
		if err != nil {
			p.settleAll(err) // now, so that no host waits for the revocation
			return err
		}
		p.mounts.Store(table)
		for _, r := range p.reads {
			r.mount = table.find(r.path)
		}
		var asking sync.WaitGroup
		if options.Check {
			paths := pathsToAsk(p.reads) // here, since their mounts may change
			asking.Go(func() { p.powers = askPowers(ctx, client, paths, table.namespace) })
		}
		if len(p.reads) > 0 {
			if f := p.readPaths(ctx, client, min(options.Connections, len(p.reads))); f != nil {
				p.settleAll(f)
				err = f
			}
		}
		asking.Wait()
		if options.Check {
			p.powers.noteUnasked(p.reads)
		}
		return cmp.Or(err, ctx.Err())
	})
	if err != nil {
		p.settleAll(err)
	}
	return usage, err
}

// readPaths reads every path with a bounded number of workers. If a read fails with a fault
// that concerns every path, it returns that fault, after the reads under way, which may still
// succeed.
func (p *plan) readPaths(ctx context.Context, client *api.Client, workers int) *fault.Error {
	table := p.mounts.Load()
	if table.list == unsure {
		if f := p.tryOne(ctx, client); f != nil {
			return f
		}
	}
	if table.list == complete { // otherwise, a list that comes late may show more
		for _, r := range p.reads {
			if f := whyUnsent(r); f != nil && ctx.Err() == nil {
				p.settle(r, nil, f) // it need not wait for those that are sent
			}
		}
	}
	share := newShare(p.reads, workers)
	var ofRun atomic.Pointer[fault.Error]
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for r := share.take(); r != nil && ctx.Err() == nil; r = share.take() {
				gaveWay, f := p.read(ctx, client, r)
				if f != nil {
					ofRun.Store(f)
					return
				}
				share.done(r, gaveWay)
			}
		})
	}
	working.Wait()
	return ofRun.Load()
}

// listAgain asks for the list of mounts again, once in a run, if it failed before: Vault may
// have been down until it answered a read. It returns the same table as before if the list
// is still not available, or shows nothing.
func (p *plan) listAgain(ctx context.Context, client *api.Client) *mountTable {
	p.again.Do(func() {
		if p.mounts.Load().fault == nil {
			return
		}
		const soon = 3 * time.Second // Vault has just answered
		ctx, cancel := context.WithTimeout(ctx, soon)
		defer cancel()
		if table, err := p.listMounts(ctx, client); err == nil && table.list == complete {
			p.mounts.Store(table)
		}
	})
	return p.mounts.Load()
}

// tryOne reads one path, which shows what a list without any mount of the paths means: Vault
// sends it to a token without policies, but also to a request whose token a proxy dropped. It
// returns a fault that concerns every path, or nil.
func (p *plan) tryOne(ctx context.Context, client *api.Client) *fault.Error {
	var tried *read
	for _, r := range p.reads { // some fail without a request
		if _, f := p.read(ctx, client, r); f != nil || ctx.Err() != nil {
			return f
		}
		if tried = r; r.sent {
			break
		}
	}
	table := p.mounts.Load()
	table.list = complete
	isNamed := func(r *read) bool { return !r.mount.Guessed } // in the settings, as people do if the list is wrong
	if tried.sent && (kindOf(tried.err) != Denied || slices.ContainsFunc(p.reads, isNamed)) {
		table.list = unavailable // it is wrong
	}
	return nil
}

// read reads one path and settles it, unless it gives way to others, or returns a fault that
// concerns every path.
func (p *plan) read(ctx context.Context, client *api.Client, r *read) (gaveWay bool, ofRun *fault.Error) {
	if p.isSettled(r) {
		return false, nil
	}
	if table := p.mounts.Load(); table != r.mount.table { // the list came late
		r.mount = table.find(r.path)
	}
	secret, err := p.readSecret(transport.WithOwn(ctx, transport.Own{Request: r.request}), client, r)
	switch f, ok := err.(*fault.Error); {
	case err == patience.ErrAside:
		return true, nil
	case err != nil && ctx.Err() != nil:
		return false, nil // every path gets the caller's own error
	case ok && (f.Run || f.Kind == fault.BadResponse && !auth.TokenOf(ctx).Proven):
		// Until something has answered as Vault does, an answer that is not Vault's
		// concerns every path.
		return false, f
	}
	p.settle(r, secret, err)
	return false, nil
}

// ofMount are the kinds that a wrong assumption about the mount or its KV version can cause.
var ofMount = []Kind{Denied, NotFound, NoVersion, KVVersion, NotKV}

// readSecret returns the secret at the path. If the list of mounts comes late and shows
// a different mount than assumed, it reads again.
func (p *plan) readSecret(ctx context.Context, client *api.Client, r *read) (*secret, error) {
	m := r.mount
	if f := whyUnsent(r); f != nil {
		return nil, f
	}
	var query url.Values
	if r.version != 0 {
		query = url.Values{"version": {strconv.Itoa(r.version)}}
	}
	r.sent = true
	data := dataOf(r)
	answer, err := reply.Read(ctx, client, m.api(r.path), query, data.target(m.Version))
	if err != nil {
		return nil, err
	}
	if m.listed && m.Version == 1 && answer.ReadAsV1() { // upgraded since Vault listed it
		upgraded := *m
		upgraded.Version, r.mount = 2, &upgraded
		return p.readSecret(ctx, client, r)
	}
	secret, err := secretIn(answer, data, r)
	if !m.listed && slices.Contains(ofMount, kindOf(err)) {
		if table := p.listAgain(ctx, client); table != m.table {
			if r.mount = table.find(r.path); r.mount.Path != m.Path || r.mount.Version != m.Version || r.mount.NotKV {
				return p.readSecret(ctx, client, r)
			}
			return secretIn(answer, data, r)
		}
	}
	return secret, err
}

// whyUnsent is the fault for a path that must not be read, or that certainly has no secret. It
// is nil for all others.
func whyUnsent(r *read) *fault.Error {
	m := r.mount
	switch {
	case m.isHidden():
		return invisible(r)
	case m.NotKV:
		return notKV(m, "is not KV", nameKV)
	case !m.listed && namesTokens(r.path):
		return mayNotBeKV("the mount "+quoted(m.Path)+" may not be KV, since Vault does not show its type", nameKV+"; if it is in one, "+passList)
	case m.Guessed && m.Version == 1 && isBelowMetadata(r.path):
		return mayNotBeKV(quoted(r.path)+" may be the metadata of a KV v2 mount, not a secret", "name its mount in the settings, if it is KV v1")
	case m.below(r.path) == "":
		return fault.New(fault.NotFound, quoted(r.path)+" is a mount, not a secret", "write the path of the secret below it")
	case r.version != 0 && m.Version == 1:
		return &fault.Error{
			Kind: fault.NoVersion, What: "the mount " + quoted(m.Path) + " is KV v1, which has no versions", Do: "omit the version, or upgrade the mount to KV v2" + orOtherVersion(m),
			Reason: "the secret's mount is KV v1, which has no versions", Fix: "omit the version",
		}
	}
	return nil
}

// namesTokens reports whether the path of a reference could lead to a token, if Vault does
// not show what is mounted there: whether it has a segment, such as auth, that package ref
// rejects at the beginning of a path. A namespace may come before that segment.
func namesTokens(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if _, err := ref.New(segment+"/x", "x", 0); err != nil {
			return true
		}
	}
	return false
}

// isBelowMetadata reports whether a path could belong to KV v2's API for metadata.
func isBelowMetadata(path string) bool {
	_, rest, _ := strings.Cut(path, "/")
	return strings.HasPrefix(rest, "metadata/") || strings.Contains(rest, "/metadata/")
}
