package auth

import (
	"net"
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
	if text := e.text("VAULT_PROXY_ADDR"); text != "" {
		return e.proxyAt("VAULT_PROXY_ADDR", text)
	}
	variable := e.either(strings.ToUpper(address.Scheme) + "_PROXY")
	text := e.text(variable)
	if text == "" {
		return nil
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text // as curl and net/http take it
	}
	proxy := e.proxyAt(variable, text)
	if proxy == nil {
		return nil
	}
	through := (&httpproxy.Config{HTTPProxy: proxy.URL.Host, HTTPSProxy: proxy.URL.Host, NoProxy: e.text(e.either("NO_PROXY"))}).ProxyFunc()
	if exempt, err := through(address); exempt == nil || err != nil {
		return nil
	}
	return proxy
}

func (e *environment) proxyAt(variable, text string) *transport.Proxy {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		e.reject(variable, "is not the URL of a proxy; write it like http://proxy.example:3128")
		return nil
	}
	return &transport.Proxy{URL: u, Variable: variable}
}

// either returns the name of a variable that may be set in upper or lower case.
func (e *environment) either(name string) string {
	if e.isSet(name) {
		return name
	}
	return strings.ToLower(name)
}

// isLoopback reports whether traffic to the host stays on this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
