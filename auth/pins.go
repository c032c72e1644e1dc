package auth

import (
	"net/url"
	"slices"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
)

// pins are what the Patch server allows the UI to choose. Without them, whoever edits
// the settings can send the agent's token to a server of their own.
type pins struct {
	address   *url.URL // nil means not pinned
	namespace string
	paths     []string // nil means all
}

func (e *environment) pins() pins {
	var p pins
	if text := e.text("VAULT_ADDR"); text != "" {
		address, reason, fix := parseAddress(text)
		if reason != "" {
			e.reject("VAULT_ADDR", "is not an address: "+reason+"; "+fix)
		}
		p.address = address
	}
	if text := e.text("VAULT_NAMESPACE"); !isNamespace(text) {
		e.reject("VAULT_NAMESPACE", "is not a namespace; write it as Vault shows it, such as team/patch")
	} else {
		p.namespace = strings.TrimSuffix(text, "/")
	}
	if text := e.text("LUUMEN_VAULT_PATHS"); text != "" {
		p.paths = []string{}
		for prefix := range strings.SplitSeq(text, ",") {
			prefix = strings.TrimSpace(prefix)
			if !isPlainPath(prefix) || strings.HasSuffix(prefix, "*") {
				e.reject("LUUMEN_VAULT_PATHS", "holds something that is not a path; write prefixes of whole segments, separated by commas, such as secret/luumen,team/kv")
				break
			}
			p.paths = append(p.paths, strings.TrimSuffix(prefix, "/"))
		}
	}
	return p
}

// shown is a pin, unless it may be a secret in the wrong variable.
func shown(pin string) string {
	if isSecretLike(pin) {
		return notValid
	}
	return pin
}

// permit checks a path against LUUMEN_VAULT_PATHS.
func (p pins) permit(path string) error {
	if p.paths == nil || slices.ContainsFunc(p.paths, func(prefix string) bool { return contains(prefix, path) }) {
		return nil
	}
	f := fault.New(fault.Pinned, "this path is outside LUUMEN_VAULT_PATHS, so nothing was sent", "name a secret below one of its prefixes, or add one on the Patch server")
	paths := slices.Clone(p.paths)
	for i, path := range paths {
		paths[i] = shown(path)
	}
	f.Detail = "it allows " + strings.Join(paths, ", ")
	f.Fix = "name a secret below one of the paths that the Patch server allows"
	mount, below, _ := strings.Cut(path, "/")
	if slices.ContainsFunc(p.paths, func(prefix string) bool { return contains(prefix, mount+"/data/"+below) }) {
		f.Do = "omit data/ from LUUMEN_VAULT_PATHS, since references have none"
	}
	return f
}

// check compares the settings with the pins, and moves the login to the pinned
// namespace.
func (p pins) check(c *config) error {
	if p.address != nil && !sameServer(p.address, c.address) {
		return &fault.Error{
			Kind: fault.Pinned, What: "the address in the UI is not the one in VAULT_ADDR on the Patch server, so nothing was sent",
			Detail: plainAddress(c.address) + ", not " + shown(plainAddress(p.address)),
			Do:     "correct one of them",
			Fix:    "enter the address that the Patch server is pinned to, or change the pin there",
		}
	}
	c.loginNamespace = c.namespace
	if p.namespace == "" {
		return nil
	}
	c.loginNamespace = p.namespace
	if c.namespace == "" {
		c.namespace = p.namespace
	}
	if !contains(p.namespace, c.namespace) {
		return &fault.Error{
			Kind: fault.Pinned, What: "the namespace in the UI is neither the one in VAULT_NAMESPACE on the Patch server nor below it, so nothing was sent",
			Detail: c.namespace + ", not " + shown(p.namespace),
			Do:     "correct one of them",
			Fix:    "enter the namespace that the Patch server is pinned to, or one below it",
		}
	}
	return nil
}

// contains reports whether path is prefix or below it, by whole segments.
func contains(prefix, path string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
