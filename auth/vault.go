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
// Start with [New] and hand the Vault to package resolver; [Vault.Session] is there
// for that package alone.
package auth

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/session"
)

// Options are what the agent can replace. The zero Options are the default.
type Options struct {
	// Getenv reads the environment; nil means the process's own. A variable of
	// a process never changes; files are read at each run.
	Getenv func(name string) string

	// Methods are further login methods by the name that the settings use, such
	// as those of vault/api's packages for AWS or LDAP; one with the name of a
	// built-in method takes its place. Their requests go over the run's own
	// connections, without redirects, and the token that Vault answers to them
	// is revoked after the run. What a method's own error says is not repeated,
	// since it may quote credentials: a method that can fail without Vault logs
	// that by itself. Methods need an api.Client, so for them alone a malformed
	// variable that vault/api reads is an error of the run.
	Methods map[string]api.AuthMethod
}

// Vault is one Vault server as the settings and the environment describe it. It
// holds no connection and can serve several runs at once. It is made by [New]; the
// zero Vault is of no use, and panics.
type Vault struct {
	settings    func() Settings // a func, for anything can have been pasted into them
	getenv      func(string) string
	methodNames []string                         // of those handed in, sorted
	methods     func(name string) api.AuthMethod // a func, for they hold credentials that a print could find; nil if there is none
}

// New describes a Vault. It does no I/O and never fails: what is wrong shows
// where Vault is needed.
func New(settings Settings, options Options) *Vault {
	settings.Address = withoutUser(settings.Address)
	v := &Vault{settings: func() Settings { return settings }, getenv: options.Getenv}
	if v.getenv == nil {
		v.getenv = os.Getenv
	}
	methods := maps.Clone(options.Methods)
	maps.DeleteFunc(methods, func(name string, m api.AuthMethod) bool { return name == "" || m == nil })
	v.methodNames = slices.Sorted(maps.Keys(methods))
	v.methods = func(name string) api.AuthMethod { return methods[name] }
	return v
}

// Validate checks settings, environment and pins together, as far as that goes
// without reading a file or asking Vault. The error is of one of package resolver's
// kinds NotConfigured, Settings, Environment and Pinned.
func (v *Vault) Validate() error {
	_, err := v.Session()
	return err
}

// Session is what package resolver logs in with. Its error is that of Validate.
func (v *Vault) Session() (*session.Config, error) {
	s := v.settings()
	if !s.Configured() {
		what, do := "vault is not configured", "set it up in the UI, or enter the credential itself"
		if s.Enabled != nil && s.Address != "" {
			what, do = "vault is disabled in the UI", "enable it there, or enter the credential itself"
		}
		return nil, fault.New(fault.NotConfigured, what, do)
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
	trust, pins := e.trust(), e.pins()
	c := &session.Config{
		Namespace: strings.TrimSuffix(s.Namespace, "/"),
		TLS:       trust.config,
		Timeout:   e.timeout(),
		KVVersion: kvVersions[s.KVVersion],
		Permits:   pins.permit,
	}
	c.Address, _, _ = parseAddress(s.Address)
	c.Proxy = e.proxy(c.Address.Scheme)
	c.PerSecond, c.Burst = e.rateLimit()
	for _, mount := range s.Mounts {
		c.Mounts = append(c.Mounts, strings.TrimSuffix(mount, "/"))
	}
	c.Method = v.method(e)
	if len(e.problems) > 0 {
		e.suspectMethod(c.Method.Name)
		return nil, fault.New(fault.Environment, "the environment of the agent is wrong: "+strings.Join(e.problems, ". "), "")
	}
	if err := pins.hold(c); err != nil {
		return nil, err
	}
	if trust.skipVerify {
		c.Findings = append(c.Findings, session.Finding{Code: session.SkipVerify, Text: "VAULT_SKIP_VERIFY is set: anybody in between can read the token and every secret; set VAULT_CACERT instead"})
	}
	if c.Address.Scheme == "http" && !isLoopback(c.Address.Hostname()) {
		c.Findings = append(c.Findings, session.Finding{Code: session.PlainHTTP, Text: "the address begins with http: anybody in between can read the token and every secret; use https"})
	}
	return c, nil
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

// method is the chosen way to get a token.
func (v *Vault) method(e *environment) session.Method {
	name := v.settings().AuthMethod
	if handedIn := v.methods(name); handedIn != nil {
		return session.Method{Name: name, HandedIn: func() api.AuthMethod { return handedIn }, Hints: anyMethod}
	}
	m := methodNamed(name)
	if m.prepare == nil {
		return e.givenToken(m)
	}
	return session.Method{Name: m.name, Mount: e.mount(m.mount()), Login: m.prepare(e), Hints: slices.Concat(m.hints, anyMethod)}
}
