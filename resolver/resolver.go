// Package resolver resolves HashiCorp Vault references in the credential fields of hosts.
// A host that cannot be resolved is skipped, with the reason.
//
//	vault := auth.New(config.Vault, auth.Options{})
//	run := resolver.Resolve(ctx, vault, hosts, resolver.Options{})
//	for i, result := range run.Results() {
//		password, err := result.Credential("password")
//		if err != nil {
//			continue // skipped; the report has the reason, unless it is ErrNoField
//		}
//		connect(hosts[i], password.Reveal())
//	}
//	slog.Info("run ended", "report", run.Report())
//
// A run reads each path once, and keeps nothing for the next. Start with [Resolve], or
// [One] for a single target. [Check] and [Policy] are for the UI.
package resolver

// Runs, checks and policies are one package because they must agree: a check plans
// and reads as a run does, and a policy grants the paths that both read.

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/ref"
)

// Host is a host or an integration. It is skipped if one of its fields cannot be
// resolved, so omit fields that it does not use.
type Host struct {
	Name   string               // need not be unique; a secret's luumen_hosts is matched against it
	Fields map[string]ref.Value // credential fields by name; hosts can share a map
}

// Options are the options of a run. The zero Options are the default.
type Options struct {
	Workers  int           // concurrent reads, each over its own connection; 0 means 16
	Patience time.Duration // see auth.DoOptions; 0 means 60 s
	RunID    string        // see auth.DoOptions; empty means a random one
}

const defaultWorkers = 16

// Run is a run of [Resolve]. It starts with the loop over Results.
type Run struct {
	// A func, because printing by reflection would show the secrets.
	inner func() *run
}

// run is the state of a Run.
type run struct {
	ctx     context.Context // of Resolve: Results is the rest of that call
	options Options
	plan    *plan
	started atomic.Bool

	mu       sync.Mutex // guards the rest
	taken    int
	skipped  []*HostError
	usage    auth.Usage
	findings []auth.Finding
}

// Resolve prepares a run, without contacting Vault yet. It never fails: an error of Vault,
// the settings or the environment becomes the error of the hosts that need Vault. A nil
// vault is not configured. It copies the hosts, so the caller may change them and their
// maps. When ctx ends, the hosts whose secrets have not been read get its error, so a
// deadline should be longer than Patience.
func Resolve(ctx context.Context, vault *auth.Vault, hosts []Host, options Options) *Run {
	if options.Workers <= 0 {
		options.Workers = defaultWorkers
	}
	r := &run{ctx: transport.Steady(ctx), options: options, plan: newPlan(vault, hosts)}
	r.findings = r.plan.odd.findings()
	return &Run{func() *run { return r }}
}

// One resolves a single target in a run of its own. For several, use [Resolve]: each run
// waits again for a dead Vault. Use Resolve for findings, too, which a Result does not have.
func One(ctx context.Context, vault *auth.Vault, host Host, options Options) Result {
	for _, result := range Resolve(ctx, vault, []Host{host}, options).Results() {
		return result
	}
	panic("unreachable: one host has one result")
}

// Results yields the result of each host, with its index, as soon as it is known. Hosts
// without references come first. Reading goes on while the caller uses a result. However
// it ends, the loop first revokes the token, in up to 2 s, or about 4 s if ctx ends during
// a login. Any further loop is empty. Any goroutine can use results and credentials at any
// time.
func (r *Run) Results() iter.Seq2[int, Result] {
	return func(yield func(int, Result) bool) {
		if inner := r.inner(); !inner.started.Swap(true) {
			inner.results(yield)
		}
	}
}

func (r *run) results(yield func(int, Result) bool) {
	ctx, cancel := context.WithCancel(r.ctx)
	var reading sync.WaitGroup
	defer func() {
		cancel()
		reading.Wait()
		r.plan.forget()
	}()
	if len(r.plan.reads) > 0 {
		reading.Go(func() { r.read(ctx) })
	}

	done := r.ctx.Done()
	for range r.plan.hosts {
		var i int
		select {
		case i = <-r.plan.complete:
		case <-done:
			r.plan.settleAll(r.ctx.Err())
			i, done = <-r.plan.complete, nil
		}
		if !r.take(i, yield) {
			return
		}
	}
}

// take yields the result of a host that waits for no more reads.
func (r *run) take(i int, yield func(int, Result) bool) bool {
	result := r.plan.hosts[i].result()
	r.mu.Lock()
	r.taken++
	if result.err != nil {
		r.skipped = append(r.skipped, result.err)
	}
	r.mu.Unlock()
	return yield(i, result)
}

// read reads every path of the plan, and notes what that cost and showed.
func (r *run) read(ctx context.Context) {
	p := r.plan
	usage, err := p.readAll(ctx, auth.DoOptions{Patience: r.options.Patience, Connections: min(r.options.Workers, len(p.reads)), RunID: r.options.RunID})
	usage.Token = p.afterRun(usage.Token)
	findings := slices.Concat(p.findings(usage, kindOf(err)), p.secretFindings())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usage, r.findings = usage, append(r.findings, findings...)
}
