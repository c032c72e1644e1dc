// Package auth connects the agent to Vault, with the settings of the UI and with
// the credentials and pins of the agent's environment.
//
//	vault := auth.New(config.Vault, auth.Options{}) // no I/O
//	for _, fault := range config.Vault.Faults() {   // the UI shows them beside the settings
//		fmt.Println(fault)
//	}
//
// Each run reads the environment and its files again, logs in, and revokes the token
// of its login. Start with [New]. Package resolver reads secrets with a Vault; use
// [Vault.Do] for anything else.
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

// Options extend a Vault. The zero Options are the default.
type Options struct {
	// Getenv reads the environment. Nil means os.Getenv.
	Getenv func(name string) string

	// Methods adds login methods, such as vault/api's for AWS or LDAP, by their
	// names in the settings. One can replace a built-in method. The run revokes
	// the tokens that Vault makes for it. Its own errors are not shown, since they
	// may quote credentials.
	Methods map[string]api.AuthMethod
}

// Format prints the names of the methods, and no credential.
func (o Options) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "auth.Options{Methods: %q}", slices.Sorted(maps.Keys(o.Methods)))
}

// Vault is a Vault server as the settings and the environment describe it. It holds
// no connection, and several runs can use it at once. Make one with [New].
type Vault struct {
	// A func, because printing by reflection would show what was pasted into the
	// settings, and the credentials of login methods.
	inner func() *vault
}

type vault struct {
	settings Settings
	getenv   func(string) string
	methods  map[string]api.AuthMethod // handed in
}

// New returns a Vault. It copies its arguments and does no I/O. It never fails: what
// is wrong becomes the error of the hosts that need Vault.
func New(settings Settings, options Options) *Vault {
	v := &vault{settings: settings.clone(), getenv: options.Getenv, methods: maps.Clone(options.Methods)}
	v.settings.Address = withoutUser(settings.Address)
	if v.getenv == nil {
		v.getenv = os.Getenv
	}
	maps.DeleteFunc(v.methods, func(name string, m api.AuthMethod) bool { return name == "" || m == nil })
	return &Vault{func() *vault { return v }}
}

// Settings returns a copy of the settings, with the pinned namespace if they name
// none.
func (v *Vault) Settings() Settings {
	settings := v.inner().settings.clone()
	if c, err := v.inner().config(); err == nil {
		settings.Namespace = c.namespace
	}
	return settings
}

// Validate checks settings, environment and pins, without files or network. The
// error has one of package resolver's kinds NotConfigured, Settings, Environment and
// Pinned.
func (v *Vault) Validate() error {
	_, err := v.inner().config()
	return err
}

// Permits checks a path against LUUMEN_VAULT_PATHS. The error has package resolver's
// kind Pinned.
func (v *Vault) Permits(path string) error {
	e := &environment{getenv: v.inner().getenv}
	return e.pins().permit(path)
}

// config is the configuration of one use of Vault. It holds the credentials in
// variables; those in files are read when they are needed.
type config struct {
	address        *url.URL
	namespace      string // of the client
	loginNamespace string // of the login, and of requests about the token itself
	trust          trust
	proxy          *transport.Proxy // nil means none
	timeout        time.Duration    // of one attempt, body included
	perSecond      float64          // limit of requests; 0 means none
	burst          int              // of requests at once
	method         chosen
	findings       []Finding // about the configuration itself
}

// chosen is the chosen way to get a token.
type chosen struct {
	name        string
	mount       string      // of a login, below auth/
	given       *given      // nil for a login
	credentials credentials // of a login
	handedIn    bool        // one of Options.Methods
	renew       string      // how to replace a given token that is dead
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

// configure reads the environment. It adds what is wrong to e.problems.
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
		add(Finding{Code: SkipVerify, Text: "VAULT_SKIP_VERIFY is set: anyone on the network can read the token and every secret; set VAULT_CACERT instead"})
	}
	if c.address.Scheme == "http" {
		proxy := ""
		if c.proxy != nil && !isLoopback(c.proxy.URL.Hostname()) {
			proxy = c.proxy.Variable
		}
		switch {
		case !isLoopback(c.address.Hostname()):
			add(Finding{Code: PlainHTTP, Text: "the address begins with http: anyone on the network can read the token and every secret; use https"})
		case proxy != "":
			add(Finding{Code: PlainHTTP, Text: "the address begins with http and " + proxy + " is set: the token and every secret go to the proxy in clear; use https, or unset " + proxy})
		}
	}
	if pins.paths != nil && pins.namespace == "" {
		add(Finding{Code: NamespaceFree, Notice: true, Text: "LUUMEN_VAULT_PATHS is set without VAULT_NAMESPACE, so the UI still chooses the namespace; set VAULT_NAMESPACE on the Patch server if this Vault has namespaces"})
	}
}

// suspectMethod says which method the environment is for, if it has nothing for the
// chosen one. Then somebody probably forgot to choose it in the UI.
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
