package auth

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpproxy"

	"github.com/luumen/patch-vault/internal/transport"
)

const defaultTimeout = 10 * time.Second

// environment reads variables and collects what is wrong, so that an operator sees
// everything at once.
type environment struct {
	getenv    func(string) string
	problems  []string
	malformed map[string]bool // variables whose value is not what it should be
}

func (e *environment) problem(text string) {
	if !slices.Contains(e.problems, text) {
		e.problems = append(e.problems, text)
	}
}

// reject adds the problem of a malformed variable, whose value is then never shown: it
// may be a pasted secret.
func (e *environment) reject(name, reason string) {
	if e.malformed == nil {
		e.malformed = make(map[string]bool)
	}
	e.malformed[name] = true
	e.problem(name + " " + reason)
}

// text returns the variable without the white space and BOM that editors leave around
// it. An empty variable counts as unset.
func (e *environment) text(name string) string {
	text, ok := trimmed(e.getenv(name))
	if !ok {
		e.reject(name, "holds a control character; remove it")
		return ""
	}
	return text
}

// trimmed removes white space and a BOM around a credential, and reports whether the
// rest is free of control characters. A line break in a token would break the HTTP
// header.
func trimmed(text string) (string, bool) {
	text = strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
	return text, !strings.ContainsFunc(text, unicode.IsControl)
}

// isSet reports whether a variable holds more than white space, malformed or not.
func (e *environment) isSet(name string) bool {
	text, _ := trimmed(e.getenv(name))
	return text != ""
}

// source is where a credential comes from: the value of a variable, or the file that a
// variable names. The zero source means that there is no credential.
type source struct {
	variable string // the one that is set
	value    string
	file     string
	odd      string // what is unusual about the credential that was last read
}

func (s *source) isSet() bool { return s.variable != "" }

// misplaced says why a text cannot be the source's credential.
func (s *source) misplaced(text string) (reason, fix string) {
	if strings.HasPrefix(s.variable, "VAULT_TOKEN") {
		return misplacedToken(text)
	}
	return misplaced(text)
}

// note sets odd for a credential that is used.
func (s *source) note(text string) {
	switch {
	case strings.HasPrefix(s.variable, "VAULT_TOKEN"):
		s.odd = oddToken(text)
	case strings.HasSuffix(s.variable, "_JWT_FILE"):
		s.odd = oddJWT(s.variable, text)
	default:
		s.odd = oddID(s.variable, text)
	}
}

// oneOf returns the source of a credential that comes from a variable or from a
// file.
func (e *environment) oneOf(variable, fileVariable string) source {
	raw, _ := trimmed(e.getenv(variable))
	s := source{variable: variable, value: raw}
	if reason, fix := s.misplaced(raw); raw != "" && reason != "" && !e.isSet(fileVariable) {
		e.reject(variable, reason+"; "+fix)
		return source{}
	}
	switch value, file := e.text(variable), e.text(fileVariable); {
	case value != "" && file != "":
		e.problem(variable + " and " + fileVariable + " are both set; unset one")
	case value != "":
		s.note(value)
		return s
	case file != "":
		return source{variable: fileVariable, file: file}
	}
	return source{}
}

// required is oneOf for a required credential.
func (e *environment) required(variable, fileVariable string) source {
	s := e.oneOf(variable, fileVariable)
	if !s.isSet() && !e.isSet(variable) && !e.isSet(fileVariable) {
		e.problem("neither " + variable + " nor " + fileVariable + " is set; set one on the Patch server")
	}
	return s
}

func (e *environment) requiredText(name string) string {
	if !e.isSet(name) {
		e.problem(name + " is not set; set it on the Patch server")
	}
	return e.text(name)
}

// mount returns where a login method is mounted.
func (e *environment) mount(v variable) string {
	mount := cmp.Or(e.text(v.name), v.otherwise)
	if !isPlainPath(mount) || contains("auth", mount) {
		e.reject(v.name, "is not the path of a login mount; write it without auth/, such as "+v.otherwise)
	}
	return strings.TrimSuffix(mount, "/")
}

func (e *environment) timeout() time.Duration {
	text := e.text("VAULT_CLIENT_TIMEOUT")
	if text == "" {
		return defaultTimeout
	}
	d, err := time.ParseDuration(text)
	if seconds, plain := strconv.Atoi(text); plain == nil {
		d, err = time.Duration(min(seconds, 24*60*60))*time.Second, nil
	}
	if err != nil || d <= 0 {
		e.reject("VAULT_CLIENT_TIMEOUT", "is not a positive duration; write seconds such as 10, or 10s")
		return defaultTimeout
	}
	return d
}

// rateLimit returns the requests a second, and the burst.
func (e *environment) rateLimit() (perSecond float64, burst int) {
	text := e.text("VAULT_RATE_LIMIT")
	if text == "" {
		return 0, 0
	}
	first, second, both := strings.Cut(text, ":")
	perSecond, err := strconv.ParseFloat(first, 64)
	burst = max(int(min(perSecond, 1e6)), 1)
	if both && err == nil {
		burst, err = strconv.Atoi(second)
	}
	if err != nil || !(perSecond > 0 && perSecond < 1e9) || burst <= 0 {
		e.reject("VAULT_RATE_LIMIT", "is not a positive rate; write requests a second such as 100, or rate:burst such as 100:20")
		return 0, 0
	}
	return perSecond, burst
}

func (e *environment) boolean(name string) bool {
	text := e.text(name)
	if text == "" {
		return false
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		e.reject(name, "is not a boolean; write true or false")
	}
	return b
}

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
	const some = "proxy.invalid"
	through := (&httpproxy.Config{HTTPProxy: some, HTTPSProxy: some, NoProxy: e.text(e.either("NO_PROXY"))}).ProxyFunc()
	if proxy, err := through(address); proxy == nil || err != nil {
		return nil // it is not for Vault, malformed or not
	}
	return e.proxyAt(variable, text)
}

func (e *environment) proxyAt(variable, text string) *transport.Proxy {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		e.reject(variable, "is not the URL of a proxy; write it like http://proxy.example:3128")
		return nil
	}
	if strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, "?#") || u.Port() != "" && !isPort(u.Port()) {
		// Behind such a character in a password, the rest of it stands outside
		// the user info, and a part before it can be the host name.
		e.reject(variable, "is not the URL of a proxy alone; write it like http://user:password@proxy.example:3128, and / ? # in the password as %2F %3F %23")
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
