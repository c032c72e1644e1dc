// Package auth connects the agent to Vault: with the settings of the UI, and
// with the credentials and pins of the agent's own environment.
//
//	vault := auth.New(config.Vault, auth.Options{}) // no I/O
//	for _, fault := range config.Vault.Faults() {   // what the UI shows beside the settings
//		fmt.Println(fault)
//	}
//
// No secret comes from the UI, and nothing is kept between runs: each reads
// variables and files again, logs in, and revokes the token that it logged in.
// Start with [New] and hand the Vault to package resolver: [Vault.Do],
// [Vault.PathPins], [Session] and their like are there for it alone.
package auth

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// version goes into the User-Agent of every request, and so into Vault's audit
// log.
const version = "1.0.0"

// Options are what the agent can replace. The zero Options are the default.
type Options struct {
	// Getenv reads the environment; nil means the process's own. A variable of
	// a process never changes; files are read at each run.
	Getenv func(name string) string

	// Methods are further login methods by the name that the settings use, such
	// as those of vault/api's packages for AWS or LDAP; one with the name of a
	// built-in method takes its place. Their requests go over the run's own
	// connections, without redirects, and the token that Vault answers to them
	// is revoked after the run. They need an api.Client, so for them alone a
	// malformed variable that vault/api reads is an error.
	Methods map[string]api.AuthMethod
}

// Vault is one Vault server as the settings and the environment describe it.
// It holds no connection and can serve several runs at once.
type Vault struct {
	settings    Settings
	getenv      func(string) string
	methodNames []string                         // of those handed in, sorted
	methods     func(name string) api.AuthMethod // a func, for they hold credentials that a print could find; nil if there is none
}

// New describes a Vault. It does no I/O and never fails: what is wrong shows
// where Vault is needed.
func New(settings Settings, options Options) *Vault {
	settings.Address = withoutUser(settings.Address)
	v := &Vault{settings: settings, getenv: options.Getenv}
	if v.getenv == nil {
		v.getenv = os.Getenv
	}
	methods := maps.Clone(options.Methods)
	maps.DeleteFunc(methods, func(name string, m api.AuthMethod) bool { return name == "" || m == nil })
	v.methodNames = slices.Sorted(maps.Keys(methods))
	v.methods = func(name string) api.AuthMethod { return methods[name] }
	return v
}

// Validate checks settings, environment and pins as far as that goes without
// reading a file or asking Vault. The error is of kind not_configured,
// settings, environment or pinned.
func (v *Vault) Validate() error {
	_, err := v.plan()
	return err
}

// RunOptions shape one use of Vault. The zero RunOptions are the default.
type RunOptions struct {
	Patience    time.Duration // without any answer of Vault; 0 means 60 s
	Connections int           // at most; 0 means 16
	RunID       string        // printed into Vault's audit log; empty means a random one
	Health      bool          // ask for Vault's health before the login; see Summary.Health
}

func (o RunOptions) withDefaults() RunOptions {
	if o.Patience <= 0 {
		o.Patience = 60 * time.Second
	}
	if o.Connections <= 0 {
		o.Connections = 16
	}
	if o.RunID == "" {
		o.RunID = rand.Text()[:12]
	}
	// It becomes part of a header.
	o.RunID = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, o.RunID)
	o.RunID = o.RunID[:min(len(o.RunID), 128)]
	return o
}

// Do logs in, calls use, and revokes the token that it logged in, on every way
// out. The summary is complete whether or not there is an error; the error is
// use's own, ctx's, or one of the kinds that concern a whole run.
func (v *Vault) Do(ctx context.Context, options RunOptions, use func(context.Context, *Session) error) (summary Summary, err error) {
	p, err := v.plan()
	if err != nil {
		return Summary{}, err
	}
	s, err := p.session(options.withDefaults())
	if err != nil {
		summary.find(p.findings)
		return summary, err
	}
	defer func() { summary = s.summary() }()
	defer s.client.Close()
	defer s.revoke(ctx)
	if options.Health {
		s.askHealth(ctx)
	}
	if err := s.open(ctx); err != nil {
		return summary, err
	}
	return summary, use(ctx, &Session{func() *session { return s }})
}

// plan is what a run will do, before any file is read and any request sent.
type plan struct {
	address        *url.URL
	loginNamespace string // the pinned one, where there is a pin
	namespace      string // of the reads
	kvVersion      int
	mounts         []string
	pins           pins

	method   *method
	handedIn api.AuthMethod // instead of method
	name     string         // of either
	mount    string
	token    source // for the method token
	body     body   // for the others

	trust     trust
	proxy     func(*http.Request) (*url.URL, error)
	timeout   time.Duration
	perSecond float64
	burst     int
	findings  []Finding
}

func (v *Vault) plan() (*plan, error) {
	s := v.settings
	if !s.Configured() {
		return nil, fault.New(fault.NotConfigured, "vault is not configured", "set it up in the UI, or enter the credential itself")
	}
	if faults := s.Faults(v.methodNames...); len(faults) > 0 {
		texts := make([]string, len(faults))
		for i, f := range faults {
			texts[i] = f.Error()
		}
		f := fault.New(fault.Settings, "the vault settings are wrong: "+strings.Join(texts, ". "), "")
		f.Fix = strings.Join(texts, ". ")
		return nil, f
	}
	e := &environment{getenv: v.getenv}
	p := &plan{
		namespace: strings.TrimSuffix(s.Namespace, "/"),
		kvVersion: kvVersions[s.KVVersion],
		trust:     e.trust(),
		timeout:   e.timeout(),
		pins:      e.pins(),
	}
	p.address, _, _ = parseAddress(s.Address)
	p.proxy = e.proxy(p.address.Scheme)
	p.perSecond, p.burst = e.rateLimit()
	for _, mount := range s.Mounts {
		p.mounts = append(p.mounts, strings.TrimSuffix(mount, "/"))
	}
	p.chooseMethod(s.AuthMethod, v.methods(s.AuthMethod), e)
	if len(e.problems) > 0 {
		return nil, fault.New(fault.Environment, "the environment of the agent is wrong: "+strings.Join(e.problems, ". "), "")
	}
	if err := p.pin(); err != nil {
		return nil, err
	}
	if p.trust.skipVerify {
		p.findings = append(p.findings, Finding{Code: SkipVerify, Text: "VAULT_SKIP_VERIFY is set: anybody in between can read the token and every secret; set VAULT_CACERT instead"})
	}
	if p.address.Scheme == "http" && !isLoopback(p.address.Hostname()) {
		p.findings = append(p.findings, Finding{Code: PlainHTTP, Text: "the address begins with http: anybody in between can read the token and every secret; use https"})
	}
	return p, nil
}

func (p *plan) chooseMethod(name string, handedIn api.AuthMethod, e *environment) {
	if handedIn != nil {
		p.handedIn, p.name = handedIn, name
		return
	}
	p.method = methodNamed(name)
	p.name = p.method.name
	if p.name == tokenMethod {
		p.token = e.required("VAULT_TOKEN", "VAULT_TOKEN_FILE")
		return
	}
	p.mount = e.mount(p.method.mount())
	p.body = p.method.prepare(e)
}

// session makes what the run works with. It reads the TLS files.
func (p *plan) session(options RunOptions) (*session, error) {
	var f files
	tlsConfig, err := p.trust.config(&f)
	p.findings = append(p.findings, f.findings...)
	if err != nil {
		return nil, err
	}
	return &session{
		plan: p,
		client: client.New(client.Config{
			Address:     p.address,
			TLS:         tlsConfig,
			Proxy:       p.proxy,
			Connections: options.Connections,
			Timeout:     p.timeout,
			UserAgent:   "luumen-patch-vault/" + version + " run/" + options.RunID,
		}),
		patience: patience.New(options.Patience, p.perSecond, p.burst),
		budget:   options.Patience,
		runID:    options.RunID,
		findings: p.findings,
	}, nil
}
