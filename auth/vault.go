// Package auth connects the agent to Vault: with the settings of the UI, and
// with the credentials and pins of the agent's own environment.
//
//	vault := auth.New(config.Vault, auth.Options{}) // no I/O
//	for _, fault := range config.Vault.Faults() {   // what the UI shows beside the settings
//		fmt.Println(fault)
//	}
//
// No secret comes from the UI, and nothing is kept between runs: each reads
// variables and files again, logs in, and revokes the token of its login.
//
// Start with [New]. Package resolver reads secrets with a Vault; for anything
// else there is [Vault.Do].
package auth

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/transport"
)

// Options are what the agent can replace. The zero Options are the default.
type Options struct {
	// Getenv reads the environment; nil means the process's own. A variable of
	// a process never changes; files are read at each run.
	Getenv func(name string) string

	// Methods are further login methods by the name that the settings use, such
	// as those of vault/api's packages for AWS or LDAP. One with the name of a
	// built-in method replaces it. A method logs in as the built-in ones do; the
	// tokens that Vault makes for it are revoked after the run. A method's own
	// error is not repeated, since it may quote credentials: a method that can
	// fail without Vault logs that by itself.
	Methods map[string]api.AuthMethod
}

// Format prints no credential of a method.
func (o Options) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "auth.Options{Methods: %q}", slices.Sorted(maps.Keys(o.Methods)))
}

// Vault is one Vault server as the settings and the environment describe it. It
// holds no connection and can serve several runs at once. It is made by [New];
// the zero Vault panics.
type Vault struct {
	// A func, because a print through reflection would find what was pasted
	// into the settings, and the credentials of login methods.
	inner func() *vault
}

type vault struct {
	settings Settings
	getenv   func(string) string
	methods  map[string]api.AuthMethod // handed in
}

// New describes a Vault. It copies what it is given. It does no I/O and never
// fails: what is wrong shows where Vault is needed.
func New(settings Settings, options Options) *Vault {
	v := &vault{settings: settings.clone(), getenv: options.Getenv, methods: maps.Clone(options.Methods)}
	v.settings.Address = withoutUser(settings.Address)
	if v.getenv == nil {
		v.getenv = os.Getenv
	}
	maps.DeleteFunc(v.methods, func(name string, m api.AuthMethod) bool { return name == "" || m == nil })
	return &Vault{func() *vault { return v }}
}

// Settings returns a copy of the settings, with the namespace that is in force:
// the pinned one if the UI names none.
func (v *Vault) Settings() Settings {
	settings := v.inner().settings.clone()
	if c, err := v.inner().config(); err == nil {
		settings.Namespace = c.namespace
	}
	return settings
}

// Validate checks settings, environment and pins together, as far as that goes
// without reading a file or asking Vault. The error is of one of package
// resolver's kinds NotConfigured, Settings, Environment and Pinned.
func (v *Vault) Validate() error {
	_, err := v.inner().config()
	return err
}

// Permits checks a path against the Patch server's pin LUUMEN_VAULT_PATHS. The
// error is of package resolver's kind Pinned.
func (v *Vault) Permits(path string) error {
	e := &environment{getenv: v.inner().getenv}
	return e.pins().permit(path)
}

// config is what a use of Vault works with. It holds no credential but those in
// variables; files are read when they are needed.
type config struct {
	address        *url.URL
	namespace      string // of the client
	loginNamespace string // of the login, and of requests about the token itself
	trust          trust
	proxy          *transport.Proxy // nil means none
	timeout        time.Duration    // of one attempt, body included
	perSecond      float64          // requests at most; 0 means any number
	burst          int              // of them at once
	method         chosen
	findings       []Finding // about the configuration itself
}

// chosen is the chosen way to get a token.
type chosen struct {
	name        string
	mount       string      // of a login, below auth/
	given       *given      // nil for a login
	credentials credentials // of a login
	handedIn    bool
	renew       string // what to do about a given token that is dead
}

func (v *vault) config() (*config, error) {
	s := v.settings
	if !s.Configured() {
		what, do := "vault is not configured", "set it up in the UI, or enter the credential itself"
		if s.Enabled != nil && s.Address != "" {
			what, do = "vault is disabled in the UI", "enable it there, or enter the credential itself"
		}
		return nil, fault.New(fault.NotConfigured, what, do).OfRun()
	}
	if faults := s.Faults(slices.Sorted(maps.Keys(v.methods))...); len(faults) > 0 {
		texts := make([]string, len(faults))
		for i, f := range faults {
			texts[i] = f.Error()
		}
		f := fault.New(fault.Settings, "the vault settings are wrong: "+strings.Join(texts, ". "), "")
		f.Fix = strings.Join(texts, ". ")
		return nil, f.OfRun()
	}
	e := &environment{getenv: v.getenv}
	c, pins := v.configure(e)
	if len(e.problems) > 0 {
		e.suspectMethod(c.method.name)
		return nil, fault.New(fault.Environment, "the environment of the agent is wrong: "+strings.Join(e.problems, ". "), "").OfRun()
	}
	if err := pins.check(c); err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return nil, f.OfRun()
		}
		return nil, err
	}
	c.warn(pins)
	return c, nil
}

// configure reads the environment. What is wrong with it are e's problems.
func (v *vault) configure(e *environment) (*config, pins) {
	trust, pins := e.trust(), e.pins()
	c := &config{namespace: strings.TrimSuffix(v.settings.Namespace, "/"), trust: trust, timeout: e.timeout()}
	if c.address, _, _ = parseAddress(v.settings.Address); c.address != nil {
		c.proxy = e.proxy(c.address)
	}
	c.perSecond, c.burst = e.rateLimit()
	if v.methods[v.settings.AuthMethod] != nil || methodNamed(v.settings.AuthMethod) != nil {
		c.method = v.method(e)
	}
	return c, pins
}

// warn notes what is dangerous about the configuration.
func (c *config) warn(pins pins) {
	add := func(f Finding) { c.findings = append(c.findings, f) }
	if c.trust.skipVerify {
		add(Finding{Code: SkipVerify, Text: "VAULT_SKIP_VERIFY is set: anybody in between can read the token and every secret; set VAULT_CACERT instead"})
	}
	if c.address.Scheme == "http" {
		proxy := ""
		if c.proxy != nil && !isLoopback(c.proxy.URL.Hostname()) {
			proxy = c.proxy.Variable
		}
		switch {
		case !isLoopback(c.address.Hostname()):
			add(Finding{Code: PlainHTTP, Text: "the address begins with http: anybody in between can read the token and every secret; use https"})
		case proxy != "":
			add(Finding{Code: PlainHTTP, Text: "the address begins with http and " + proxy + " is set: the token and every secret go to the proxy in clear; use https, or unset " + proxy})
		}
	}
	if pins.paths != nil && pins.namespace == "" {
		add(Finding{Code: NamespaceFree, Notice: true, Text: "LUUMEN_VAULT_PATHS is set without VAULT_NAMESPACE, so the UI still chooses the namespace; set VAULT_NAMESPACE on the Patch server if this Vault has namespaces"})
	}
}

// suspectMethod says which method the environment is for, if it has nothing for the
// chosen one: somebody has forgotten to choose in the UI.
func (e *environment) suspectMethod(chosen string) {
	isFor := func(m *method) (variable string) {
		for _, v := range m.variables {
			if e.isSet(v.name) {
				return v.name
			}
		}
		return ""
	}
	if m := methodNamed(chosen); m == nil || isFor(m) != "" {
		return
	}
	for i := range methods {
		if variable := isFor(&methods[i]); variable != "" {
			e.problem(fmt.Sprintf("the login method is %s, while %s is set: if %s is meant, choose it in the UI", chosen, variable, methods[i].name))
			return
		}
	}
}

// method reads the chosen way to get a token.
func (v *vault) method(e *environment) chosen {
	name := v.settings.AuthMethod
	if method := v.methods[name]; method != nil {
		return chosen{name: name, handedIn: true, credentials: handedIn{method}}
	}
	m := methodNamed(name)
	if m.read == nil {
		g := &given{e.required("VAULT_TOKEN", "VAULT_TOKEN_FILE")}
		return chosen{name: m.name, given: g, credentials: g, renew: g.renew()}
	}
	mount := e.mount(m.mount())
	return chosen{name: m.name, mount: mount, credentials: m.read(e, mount)}
}
