package resolver

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/session"
	"github.com/luumen/patch-vault/ref"
)

// CheckOptions shape a check. The zero CheckOptions are the default.
type CheckOptions struct {
	Host     string        // held against a secret's luumen_hosts; empty means that such a secret gets a notice
	Patience time.Duration // without any answer of Vault; 0 means 3 s, for a person is waiting
	RunID    string        // goes into Vault's audit log, as part of the User-Agent; empty means a random one
}

func (o CheckOptions) withDefaults() CheckOptions {
	if o.Patience <= 0 {
		o.Patience = 3 * time.Second
	}
	return o
}

// Check tells what the next run would make of the fields, for the person who
// typed them: it logs in, reads each path once, and says what is right, what is
// wrong, and what is odd. Without fields, it checks the connection alone.
//
// Log the verdicts with slog as well: what the UI shows sends people to the agent's
// log. A deadline of ctx should be longer than the patience, or it hides that Vault
// is down.
//
// Whoever may ask for a check learns which secrets and keys exist and when they
// were written, though no value: the UI is to let only those ask who may edit
// credentials.
func Check(ctx context.Context, vault *auth.Vault, fields []ref.Value, options CheckOptions) Verdicts {
	c := newCheck(vault, fields, options.withDefaults())
	run := session.Options{Patience: c.options.Patience, Connections: defaultWorkers, RunID: c.options.RunID, Health: true}
	summary, err := c.plan.session(ctx, run, func(ctx context.Context, s *session.Session) error {
		mounts, err := listMounts(ctx, s, c.plan.config)
		if err != nil {
			return err
		}
		c.plan.readAll(ctx, s, mounts, min(defaultWorkers, len(c.plan.reads)))
		if err := s.Unanswered(); err != nil {
			return cmp.Or(s.Over(), ctx.Err(), err)
		}
		c.mounts = mounts
		c.powers = askPowers(ctx, s, c.plan.reads)
		return cmp.Or(s.Over(), ctx.Err())
	})
	if err != nil {
		c.plan.settleAll(err)
	}
	return c.verdicts(summary, err)
}

type check struct {
	options  CheckOptions
	plan     *plan // each field is a host of its own
	settings auth.Effective
	mounts   *mountTable // nil if there was no login, or no answer
	powers   powers
}

func newCheck(vault *auth.Vault, fields []ref.Value, options CheckOptions) *check {
	hosts := make([]Host, len(fields))
	for i, value := range fields {
		hosts[i] = Host{Name: options.Host, Fields: map[string]ref.Value{"": value}}
	}
	return &check{options: options, plan: newPlan(vault, hosts), settings: vault.Effective()}
}

func (c *check) verdicts(summary session.Summary, err error) Verdicts {
	v := Verdicts{
		Connection: c.connection(summary, err),
		Fields:     make([]Verdict, len(c.plan.hosts)),
		Mounts:     c.mountsOfReads(),
	}
	if summary.Longest > 0 { // Vault answered
		v.RunID = summary.RunID
	}
	for i := range c.plan.hosts {
		v.Fields[i] = c.verdict(&c.plan.hosts[i])
	}
	return v
}

func (c *check) connection(summary session.Summary, err error) Connection {
	p, text := outcomeOf(err)
	told := c.mounts != nil
	return Connection{
		Kind: p.Kind, Reason: p.Reason, Fix: p.Fix, Text: text,
		Reachable: summary.Health != nil || told || answered(p.Kind),
		LoggedIn:  (told || summary.Token.Known && !summary.Token.Given) && p.Kind != Token,
		Server:    (*Server)(summary.Health),
		Token:     c.plan.tokenState(summary.Token, told),
		Settings:  c.settings,
		Findings:  c.findings(summary, p.Kind),
	}
}

// outcomeOf is how an error, or none, shows to the UI, and to the agent's log.
func outcomeOf(err error) (p problem, text string) {
	if err == nil {
		return problem{Kind: OK}, ""
	}
	return problemOf(err, ref.Ref{}), err.Error()
}

// answered reports whether an error of the kind is an answer of Vault.
func answered(k Kind) bool {
	switch k {
	case Sealed, NoActiveNode, ServerError, RateLimited, Login, Token:
		return true
	}
	return false
}

// mountsOfReads are the mounts in which the references lie, as far as they may
// hold secrets. A guess that led to a secret was right.
func (c *check) mountsOfReads() []Mount {
	if c.plan.config == nil {
		return nil
	}
	table := cmp.Or(c.mounts, unlisted(c.plan.config))
	mounts := make(map[string]Mount)
	for _, r := range c.plan.reads {
		m, _ := table.find(r.path)
		if known, ok := mounts[m.Path]; !m.isKV() || ok && !known.Guessed {
			continue
		}
		m.Guessed = m.Guessed && r.secret == nil
		mounts[m.Path] = m.Mount
	}
	return slices.SortedFunc(maps.Values(mounts), func(a, b Mount) int { return strings.Compare(a.Path, b.Path) })
}

func (c *check) verdict(h *host) Verdict {
	if len(h.fields) == 0 {
		return Verdict{Kind: OK} // no field, no credential, no error
	}
	f := &h.fields[0]
	v := Verdict{Reference: f.value.Ref()}
	err := c.resolve(f, &v)
	if warning := f.value.Warning(); warning != "" && (err != nil || v.Reference.IsZero()) {
		v.Findings = append(v.Findings, Finding{Code: OddField, Text: "this field " + warning})
	}
	p, text := outcomeOf(err)
	v.Kind, v.Part, v.Offset, v.Reason, v.Fix, v.Text = p.Kind, p.Part, p.Offset, p.Reason, p.Fix, text
	return v
}

// resolve does what field.resolve does, without a credential.
func (c *check) resolve(f *field, v *Verdict) error {
	s, err := f.source()
	switch {
	case err != nil:
		return err
	case s == nil:
		text, _ := f.value.Reveal()
		v.Findings = append(v.Findings, oddValue(text, false)...)
		return nil
	case c.options.Host != "" && !s.isFor(c.options.Host):
		return notForHost(c.options.Host, f.read.mount, f.read.path)
	}
	key := f.value.Ref().Key()
	text, err := s.pick(key)
	if err != nil {
		return err
	}
	v.Version, v.Created = s.version, s.created.UTC()
	if c.options.Host == "" && s.hosts != nil {
		v.Findings = append(v.Findings, limitedToHosts)
	}
	if f.read.almost != "" {
		v.Findings = append(v.Findings, hostsMisspelt)
	}
	if c.powers.write[f.read.mount.api(f.read.path)] {
		v.Findings = append(v.Findings, canWrite)
	}
	v.Findings = append(v.Findings, oddValue(text, s.version != 0 && s.isNumber(key))...)
	return nil
}
