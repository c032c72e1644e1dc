package auth

import (
	"net/url"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
)

// pins are what the Patch server allows the UI to choose. Without them, whoever edits
// the settings can send the agent's token to a server of their own.
type pins struct {
	address   *url.URL // nil means not pinned
	namespace string
	paths     pathPins
}

// pathPins are the path prefixes in LUUMEN_VAULT_PATHS.
type pathPins struct {
	prefixes map[string]bool // nil means that every path is permitted
	shown    string          // the first of them, in one line for messages
}

func (e *environment) pathPins() pathPins {
	text := e.name("LUUMEN_VAULT_PATHS")
	if text == "" {
		return pathPins{}
	}
	p := pathPins{prefixes: make(map[string]bool)}
	var names []string
	for prefix := range strings.SplitSeq(text, ",") {
		prefix = strings.TrimSpace(prefix)
		if !isMount(prefix) || strings.HasSuffix(prefix, "*") || strings.HasPrefix(strings.ToLower(prefix), "vault:") {
			e.reject("LUUMEN_VAULT_PATHS", "holds something that is not a path; write the first segments of references' paths, without vault: and separated by commas, such as secret/luumen,team/kv")
			return pathPins{}
		}
		prefix = strings.TrimSuffix(prefix, "/")
		p.prefixes[prefix] = true
		names = append(names, shownPin(prefix))
	}
	p.shown = mask.Line(strings.Join(names, ", "))
	return p
}

// contain reports whether a path is one of the prefixes or below one.
func (p pathPins) contain(path string) bool {
	for !p.prefixes[path] {
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return false
		}
		path = path[:i]
	}
	return true
}

// permit returns an error if the pins do not permit a path.
func (p pathPins) permit(path string) error {
	if p.prefixes == nil || p.contain(path) {
		return nil
	}
	f := fault.New(fault.Pinned, "this path is outside LUUMEN_VAULT_PATHS, so nothing was sent", "name a secret below one of these paths, or add this path to the list on the Patch server, after a comma, without escapes, key, data/ and metadata/")
	f.Detail = "it allows " + p.shown
	f.Fix = "name a secret below one of the paths that the Patch server allows"
	return f
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
	if text := e.name("VAULT_NAMESPACE"); !isNamespace(text) {
		e.reject("VAULT_NAMESPACE", "is not a namespace; write it as Vault shows it, such as team/patch")
	} else {
		p.namespace = strings.TrimSuffix(text, "/")
	}
	p.paths = e.pathPins()
	return p
}

// shownPin is a pin, unless it may be a secret in the wrong variable.
func shownPin(pin string) string {
	if isSecretLike(pin) {
		return "one that is not shown"
	}
	return pin
}

// checkPins compares the settings with the pins.
func (c *config) checkPins() error {
	if p := c.pins.address; p != nil && !sameServer(p, c.address) {
		return &fault.Error{
			Kind: fault.Pinned, What: "the address in the UI is not the one in VAULT_ADDR on the Patch server, so nothing was sent",
			Detail: plainAddress(c.address) + ", not " + shownPin(plainAddress(p)),
			Do:     "correct one of them",
			Fix:    "enter the address that the Patch server is pinned to, or change the pin there",
		}
	}
	if p := c.pins.namespace; p != "" && !isWithin(c.namespace, p) {
		return &fault.Error{
			Kind: fault.Pinned, What: "the namespace in the UI is neither the one in VAULT_NAMESPACE on the Patch server nor below it, so nothing was sent",
			Detail: shownPin(c.namespace) + ", not " + shownPin(p),
			Do:     "correct one of them",
			Fix:    "enter the namespace that the Patch server is pinned to, or one below it",
		}
	}
	return nil
}

// isWithin reports whether path is prefix or below it, by whole segments.
func isWithin(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
