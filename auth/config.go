package auth

import (
	"cmp"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
)

// config is the configuration of one use of Vault. It holds the credentials in
// variables; those in files are read when they are needed.
type config struct {
	address        *url.URL
	namespace      string // of the client
	loginNamespace string // of the login, and of requests about the token itself
	pins           pins
	trust          trust
	proxy          *transport.Proxy // nil means none
	timeout        time.Duration    // of one attempt, body included
	limits         patience.Limits  // without UnderWay
	method         method
	credentials    credentials // what the method needs
}

func (v *vault) config() (*config, error) {
	s := v.settings
	if !s.Configured() {
		f := fault.New(fault.NotConfigured, "vault is not configured", "set it up in the UI, or enter the credential itself")
		if s.Enabled != nil && s.Address != "" {
			f.What, f.Do = "vault is disabled in the UI", "enable it there, or enter the credential itself"
			f.Reason, f.Fix = "Vault is disabled", "enable it in the settings, or enter the credential itself"
		}
		return nil, f
	}
	if faults := v.faults(); len(faults) > 0 {
		texts, causes := make([]string, len(faults)), make([]error, len(faults))
		for i, f := range faults {
			texts[i], causes[i] = f.Error(), f
		}
		all := strings.Join(texts, "; also, ")
		return nil, &fault.Error{Kind: fault.Settings, What: "the vault settings are wrong: " + all, Fix: all, Cause: errors.Join(causes...)}
	}
	e := &environment{getenv: v.getenv}
	c := v.configure(e)
	if err := e.err(); err != nil {
		return nil, err
	}
	if err := c.checkPins(); err != nil {
		return nil, err
	}
	return c, nil
}

func (v *vault) faults() []Fault {
	return v.settings.Faults(slices.Sorted(maps.Keys(v.methods))...)
}

// configure reads the environment. It adds what is wrong to e.problems.
func (v *vault) configure(e *environment) *config {
	c := &config{trust: e.trust(), pins: e.pins(), timeout: e.timeout(), limits: e.rateLimit()}
	namespace := strings.TrimSuffix(v.settings.Namespace, "/")
	c.namespace, c.loginNamespace = cmp.Or(namespace, c.pins.namespace), cmp.Or(c.pins.namespace, namespace)
	if c.address, _, _ = parseAddress(v.settings.Address); c.address != nil {
		c.proxy = e.proxy(c.address)
	}
	c.method, c.credentials = v.method(e)
	return c
}

// warn warns of what is dangerous about the configuration.
func (c *config) warn(found *findings) {
	if c.trust.skipVerify {
		found.add(Finding{Code: SkipVerify, Text: "VAULT_SKIP_VERIFY is set: anyone on the network can read the token and every secret; set VAULT_CACERT instead"})
	}
	switch proxy := c.proxy; {
	case c.address.Scheme != "http":
	case !isLoopback(c.address.Hostname()):
		found.add(Finding{Code: PlainHTTP, Text: "the address begins with http: anyone on the network can read the token and every secret; use https"})
	case proxy != nil && !isLoopback(proxy.URL.Hostname()):
		found.add(Finding{Code: PlainHTTP, Text: "the address begins with http and " + proxy.Variable + " is set: the token and every secret go to the proxy in clear; use https, or unset " + proxy.Variable})
	}
	if c.pins.paths.prefixes != nil && c.pins.namespace == "" {
		found.add(Finding{Code: NamespaceNotPinned, Notice: true, Text: "LUUMEN_VAULT_PATHS is set without VAULT_NAMESPACE, so the UI still chooses the namespace; set VAULT_NAMESPACE on the Patch server if this Vault has namespaces"})
	}
}

// method returns the chosen way to get a token, and reads what it needs.
func (v *vault) method(e *environment) (method, credentials) {
	name := cmp.Or(v.settings.AuthMethod, tokenMethod)
	if f := v.methods[name]; f != nil {
		return method{name: name, handedIn: true, login: func(credentials) (api.AuthMethod, error) { return f() }}, credentials{}
	}
	for _, m := range methods {
		if m.name != name {
			continue
		}
		c := m.read(e)
		if !m.isGiven() {
			c.mount = e.mount(m.mountVariable())
		}
		return m, c
	}
	return method{}, credentials{} // it is unknown, which is a fault of the settings
}
