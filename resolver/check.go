package resolver

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
)

// CheckOptions are options of a check. The zero CheckOptions are the default.
type CheckOptions struct {
	Host     string        // matched against a secret's luumen_hosts; empty means that such a secret gets a notice
	Patience time.Duration // see auth.DoOptions; attempts under way may take longer; 0 means 3 s
	RunID    string        // see auth.DoOptions; empty means a random one
}

// Check says whether a run would resolve the fields, and what looks wrong with them.
// Without fields, it checks the connection alone. It reports temporary states, such as
// sealed, as they are now. It takes seconds, or up to Patience and twice
// VAULT_CLIENT_TIMEOUT if Vault is silent. A nil vault is not configured.
//
// Log the verdicts with slog: the UI refers people to the agent's log. Let only those
// who may edit credentials start checks, since they learn which secrets and keys exist.
func Check(ctx context.Context, vault *auth.Vault, fields []ref.Value, options CheckOptions) Verdicts {
	if options.Patience <= 0 {
		options.Patience = 3 * time.Second
	}
	c := newCheck(vault, fields, options)
	usage, err := c.plan.readAll(ctx, auth.DoOptions{Patience: options.Patience, Connections: defaultWorkers, RunID: options.RunID, Check: true})
	switch {
	case kindOf(err) == RateLimited && c.plan.hasSecret():
		err = nil // a quota on only some of the paths
	case err == nil && !usage.Token.Proven:
		err = c.unproven()
	}
	return c.verdicts(usage, err)
}

type check struct {
	options   CheckOptions
	plan      *plan // each field is a host of its own
	effective auth.Effective
}

func newCheck(vault *auth.Vault, fields []ref.Value, options CheckOptions) *check {
	hosts := make([]Host, len(fields))
	for i, value := range fields {
		hosts[i] = Host{Name: options.Host, Fields: map[string]ref.Value{"": value}}
	}
	p := newPlan(vault, hosts)
	return &check{options: options, plan: p, effective: p.vault.Effective()}
}

func (c *check) verdicts(usage auth.Usage, err error) Verdicts {
	usage.Token = c.plan.afterRun(usage.Token)
	v := Verdicts{
		Connection: c.connection(usage, err),
		Fields:     make([]Verdict, len(c.plan.hosts)),
		Mounts:     c.mountsOfReads(usage.Health),
		RunID:      usage.RunID,
	}
	for i := range c.plan.hosts {
		v.Fields[i] = c.verdict(&c.plan.hosts[i])
	}
	return v
}

// mountsOfReads are the mounts of the references. A mount from the settings is also a
// guess until it has led to a secret. Something else may be mounted below a guess, so one
// secret outweighs any other answer.
func (c *check) mountsOfReads(server *auth.Health) []Mount {
	if c.plan.invalid != nil {
		return nil
	}
	settings := c.plan.vault.Settings()
	login := cmp.Or(strings.Trim(setting(c.effective, "pinned_namespace"), "/"), settings.Namespace)
	table := cmp.Or(c.plan.mounts.Load(), unlisted(settings, auth.Token{Namespace: login}))
	mounts := make(map[string]Mount)
	for _, r := range c.plan.reads {
		m := table.find(r.path)
		one := m.Mount
		if server != nil && !server.Namespaces && table.token.Namespace == "" {
			one.Namespace = "" // Vault ignores it, but lines stay relative to a pinned one
		}
		one.NotKV = m.NotKV || r.sent && kindOf(r.err) == NotKV // by its answer
		one.Guessed = !m.listed && r.secret == nil && !one.NotKV
		if before, ok := mounts[m.Path]; !ok || before.NotKV || before.Guessed && !one.NotKV {
			mounts[m.Path] = one
		}
	}
	return slices.SortedFunc(maps.Values(mounts), func(a, b Mount) int { return strings.Compare(a.Path, b.Path) })
}

func (c *check) verdict(h *host) Verdict {
	if len(h.fields) == 0 {
		return Verdict{Problem: Problem{Kind: OK}} // the field is absent
	}
	f, s := &h.fields[0], &secret{}
	if f.read != nil && f.read.secret != nil {
		s = f.read.secret
	}
	host := cmp.Or(c.options.Host, s.hosts.example())
	value, err := f.resolve(host)
	v := Verdict{Problem: problemOf(err, f.value.Ref()).now()}
	v.Findings = append(v.Findings, s.findings...)
	if err == nil {
		v.Version, v.Created = s.version, s.created
		if host != c.options.Host {
			v.Findings = append(v.Findings, limitedToHosts)
		}
		if f.read != nil && c.plan.powers.write[f.read.mount.api(f.read.path)] {
			v.Findings = append(v.Findings, canWrite)
		}
		v.Findings = append(v.Findings, oddValue(value.text, s.version != 0 && value.number)...)
	}
	if warning := f.value.Warning(); warning != "" {
		v.Findings = append(v.Findings, oddField(warning))
	}
	return v
}
