package auth

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// parseAddress returns the address of a Vault, or what is wrong with it.
func parseAddress(text string) (address *url.URL, reason, fix string) {
	const example = "write it like https://vault.example:8200"
	u, err := url.Parse(text)
	switch {
	case strings.TrimSpace(text) != text:
		return nil, "white space at its beginning or end", "remove it"
	case err != nil || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || isUnprintable(r) }):
		return nil, "not a URL", example
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "neither https:// nor http://", example
	case u.Hostname() == "":
		return nil, "no host name", example
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > unicode.MaxASCII }):
		return nil, "holds a non-ASCII character in the host name", "write it in ASCII: : and . for full-width ones, and the xn-- form of a name"
	case u.User != nil:
		return nil, "holds a user or a password", "omit them: credentials come from the agent's environment"
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return nil, "holds a ? or a #", example
	case u.Port() == "" && strings.HasSuffix(u.Host, ":") || u.Port() != "" && !isPort(u.Port()):
		return nil, "not a port", example
	case isWithin(u.Path, "/v1") || strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v1"):
		return nil, "holds /v1", "omit /v1 and what follows: it is added to every request"
	case isWithin(u.Path, "/ui"):
		return nil, "is one of Vault's web pages", "omit /ui and what follows"
	case u.RawPath != "" || strings.Contains(u.Path, "//") || hasDots(u.Path):
		return nil, "not a plain path after the host", example
	}
	return u, "", ""
}

// hasDots reports whether a path has a segment . or .., which a server may resolve.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// withoutUser masks user info in an address, and a credential in its place. The result is
// not a valid address either.
func withoutUser(address string) string {
	at := strings.LastIndexByte(address, '@')
	switch _, reason, _ := parseAddress(address); {
	case reason == "":
		return address
	case isCredential(address):
		return "***"
	case at < 0:
		return address
	}
	start := len(schemePrefix.FindString(address[:at]))
	return address[:start] + "***" + address[at:]
}

// hasUser reports whether a text looks like a URL with user info, with a scheme or without.
func hasUser(text string) bool { return strings.Contains(text, ":") && withoutUser(text) != text }

var schemePrefix = regexp.MustCompile(`^(?i)([a-z][a-z0-9+.-]*:)?//`)

func plainAddress(u *url.URL) string { return strings.TrimSuffix(u.String(), "/") }

// sameServer reports whether two addresses lead to the same Vault: by scheme,
// host in any case, effective port, and path without its trailing slash.
func sameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && sameHost(a, b) && strings.TrimSuffix(a.Path, "/") == strings.TrimSuffix(b.Path, "/")
}

func sameHost(a, b *url.URL) bool {
	return a.Host == b.Host || // as of nearly all requests
		strings.EqualFold(a.Hostname(), b.Hostname()) && // in lower case, U+0130 would be an i
			effectivePort(a) == effectivePort(b)
}

// apiPath returns the path of a URL below /v1/, if it belongs to the API of the Vault at
// address.
func apiPath(u, address *url.URL) (path string, ok bool) {
	at := *u
	at.Path = address.Path
	if !sameServer(&at, address) || hasDots(u.Path) {
		return "", false
	}
	return strings.CutPrefix(u.Path, strings.TrimSuffix(address.Path, "/")+"/v1/")
}

func effectivePort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return strings.TrimLeft(u.Port(), "0")
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
