// Package resolver gives each host of a run its credentials or its error: it
// reads the Vault paths that the hosts' fields refer to, each once, and skips
// nothing that it need not.
//
//	vault := auth.New(config.Vault, auth.Options{})
//	run := resolver.Resolve(ctx, vault, hosts, resolver.Options{})
//	for i, result := range run.Results() {
//		password, err := result.Credential("password")
//		if err != nil {
//			continue // skipped; the report says why, once per cause
//		}
//		connect(hosts[i], password.Reveal())
//	}
//	for _, cause := range run.Report().Causes {
//		slog.Error("hosts skipped", "cause", cause)
//	}
//
// Nothing is kept between runs: a secret rotated in Vault is used by the next.
// Start with [Resolve]; for a single target there is [One], for the UI [Check]
// and [Policy].
//
// # Scale
//
// What a run takes with a given token, 16 workers, and Vault 1.21 on the same
// two cores: beside it, through a network of 5 ms. Bare is net/http reading the
// same paths; memory is the whole process, of which the hosts themselves are most.
//
//	  hosts    paths  requests  connections   memory     time     bare    5 ms
//	    100      100       102           16   14 MiB  0.052 s  0.042 s  0.11 s
//	  1,000    1,000     1,002           16   17 MiB   0.41 s   0.25 s  0.58 s
//	 10,000   10,000    10,002           16   37 MiB    3.3 s    3.3 s   5.7 s
//	100,000  100,000   100,002           16  237 MiB     38 s     36 s    65 s
//	    100        1         3            1   12 MiB  0.013 s  0.007 s  0.03 s
//	100,000        1         3            1   71 MiB   0.31 s  0.009 s  0.29 s
//
// With a path for each host the limit is Vault's throughput, and through 5 ms the
// round trips as well, of which 16 are under way at once; more workers help as
// long as Vault has processors to spare. Where hosts share paths it is the loop
// itself, at 3 µs a host.
package resolver

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/ref"
)

// Host is a host, or an integration, with its credential fields by name. Each field
// that is there must resolve, or the host is skipped: omit what it does not use.
type Host struct {
	Name   string               // need not be unique; a secret's luumen_hosts is compared with it
	Fields map[string]ref.Value // only read, so that hosts can share one map
}

// Options shape a run. The zero Options are the default.
type Options struct {
	Workers  int           // reads under way at once, each over a connection of its own; 0 means 16
	Patience time.Duration // without any answer of Vault before the run gives it up; 0 means 60 s
	RunID    string        // goes into Vault's audit log, as part of the User-Agent; empty means a random one
}

const defaultWorkers = 16

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = defaultWorkers
	}
	return o
}

// Run is one run over a list of hosts, made by [Resolve]. Nothing happens until its
// Results are ranged over.
type Run struct {
	// A func, because a print through reflection would find the secrets.
	inner func() *run
}

// run is what a Run is about.
type run struct {
	ctx     context.Context // of Resolve; a run is that call, drawn out
	options Options
	plan    *plan
	started atomic.Bool

	mu       sync.Mutex // guards what take and read change
	taken    int
	skipped  []*HostError
	usage    auth.Usage
	token    *TokenState
	findings []Finding
}

// Resolve prepares a run: it plans the reads, and asks Vault nothing yet.
// Whatever is wrong with Vault, its settings or the environment is the error of
// just those hosts that need Vault. When ctx ends, all hosts that are not complete
// get its error; so a deadline should be longer than the patience that a dead Vault
// takes.
func Resolve(ctx context.Context, vault *auth.Vault, hosts []Host, options Options) *Run {
	r := &run{ctx: transport.Steady(ctx), options: options.withDefaults(), plan: newPlan(vault, hosts)}
	return &Run{func() *run { return r }}
}

// One resolves a single target. It is a run of its own, with a login of its own,
// and waits for a dead Vault for all of its patience, 60 s by default: for several
// targets there is [Resolve].
func One(ctx context.Context, vault *auth.Vault, host Host, options Options) Result {
	for _, result := range Resolve(ctx, vault, []Host{host}, options).Results() {
		return result
	}
	panic("unreachable: one host has one result")
}

// Results returns one result for each host, by its index, as it becomes known:
// hosts without references at once, each other as soon as its last path has been
// read. Reading goes on while the caller is busy with a result.
//
// However the loop ends, reading has ended and the run's token is revoked before
// it does. The results can be ranged over once; a further loop, even within the
// first, has none.
func (r *Run) Results() iter.Seq2[int, Result] {
	return func(yield func(int, Result) bool) {
		if inner := r.inner(); !inner.started.Swap(true) {
			inner.results(yield)
		}
	}
}

// String is the report so far.
func (r *Run) String() string { return r.Report().String() }

// Format prints the report so far, whatever the verb.
func (r *Run) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.String()) }

func (r *run) results(yield func(int, Result) bool) {
	ctx, cancel := context.WithCancel(r.ctx)
	reading := make(chan struct{})
	if len(r.plan.reads) == 0 {
		close(reading)
	} else {
		go func() {
			defer close(reading)
			r.read(ctx)
		}()
	}
	defer func() {
		cancel()
		<-reading
	}()

	for _, i := range r.plan.immediate {
		if !r.take(i, yield) {
			return
		}
	}
	done := r.ctx.Done()
	for left := len(r.plan.hosts) - len(r.plan.immediate); left > 0; left-- {
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

// take yields the result of a host whose paths have all been read.
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

// read logs in and reads every path of the plan.
func (r *run) read(ctx context.Context) {
	workers := min(r.options.Workers, len(r.plan.reads))
	use := auth.Use{Patience: r.options.Patience, Connections: workers, RunID: r.options.RunID}
	var mounts *mountTable
	var findings []Finding
	usage, err := r.plan.vault.Do(ctx, use, func(ctx context.Context, client *api.Client) (err error) {
		if mounts, err = listMounts(ctx, client, r.plan.vault.Settings()); err != nil {
			return err
		}
		findings = r.plan.shortOfUses(auth.TokenOf(ctx))
		r.plan.readAll(ctx, client, mounts, workers)
		if auth.TokenOf(ctx).Proven {
			findings = slices.Concat(findings, mounts.findings(r.plan.reads), r.plan.secretFindings())
		}
		return ctx.Err()
	})
	if err != nil {
		r.plan.settleAll(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usage = usage
	r.token = r.plan.tokenState(usage.Token)
	r.findings = append(usage.Findings, findings...)
}
