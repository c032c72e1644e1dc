package auth

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/luumen/patch-vault/internal/transport"
)

// proxy returns the proxy for the address, or nil. VAULT_PROXY_ADDR applies to every
// address; the standard variable for the scheme does not apply to loopback. net/http
// would read the environment of the process, and only once.
func (e *environment) proxy(address *url.URL) *transport.Proxy {
	if e.isSet("VAULT_PROXY_ADDR") {
		return e.proxyAt("VAULT_PROXY_ADDR", e.text("VAULT_PROXY_ADDR"))
	}
	variable := e.inEitherCase(strings.ToUpper(address.Scheme) + "_PROXY")
	if !e.isSet(variable) {
		return nil
	}
	const some = "proxy.invalid"
	through := (&httpproxy.Config{HTTPProxy: some, HTTPSProxy: some, NoProxy: e.text(e.inEitherCase("NO_PROXY"))}).ProxyFunc()
	if proxy, err := through(address); proxy == nil || err != nil {
		return nil // it is not for Vault, malformed or not
	}
	text := e.text(variable)
	if text != "" && !strings.Contains(text, "://") {
		text = "http://" + text // as curl and net/http do
	}
	return e.proxyAt(variable, text)
}

// proxyAt returns the proxy at a URL, or nil if the URL is malformed.
func (e *environment) proxyAt(variable, text string) *transport.Proxy {
	if text == "" {
		return nil // it is malformed
	}
	u, err := url.Parse(text)
	if err != nil || !isProxy(u) || strings.ContainsAny(text, "?#") {
		e.reject(variable, `is not the URL of a proxy alone; write it like http://proxy.example:3128, or http://user:password@proxy.example:3128 with characters such as / ? # % \ ^ and space in user and password as %2F %3F %23 %25 %5C %5E %20`)
		return nil
	}
	return &transport.Proxy{URL: u, Variable: variable}
}

// isProxy reports whether a URL is that of a proxy and nothing more. If a password has a /,
// url.Parse ends the user info too early, and a part of the password can become the host name.
func isProxy(u *url.URL) bool {
	return slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) &&
		u.Hostname() != "" && (u.Port() == "" || isPort(u.Port())) && strings.Trim(u.Path, "/") == ""
}

// inEitherCase returns the name of a variable that may be set in upper or lower case.
func (e *environment) inEitherCase(name string) string {
	if e.isSet(name) {
		return name
	}
	return strings.ToLower(name)
}

// isLoopback reports whether traffic to the host stays on this machine.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host) // with or without a zone
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
