package auth

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/luumen/patch-vault/internal/transport"
)

// Setting is a setting of the UI, or a variable.
type Setting struct {
	Name   string `json:"name"`           // such as address, role_id or pinned_addr; in Unused and NotRead, the name of the variable
	Value  string `json:"value"`          // "set" in place of a secret, "not valid" in place of a malformed value
	Source string `json:"source"`         // "UI", "default", or the name of a variable
	Note   string `json:"note,omitempty"` // why it has no effect, and what to use instead
}

// Effective lists the settings and variables that a run would use, and those without
// effect. It holds no secret.
type Effective struct {
	Used    []Setting `json:"used"`
	Unused  []Setting `json:"unused,omitempty"`   // variables without effect here, such as those of other login methods
	NotRead []Setting `json:"not_read,omitempty"` // variables that the library never reads
}

// Effective says what a run would use, without reading files.
func (v *Vault) Effective() Effective {
	inner := v.inner()
	e := &environment{getenv: inner.getenv}
	c := inner.configure(e)
	report := Effective{Used: inner.inUI(e, c)}
	for _, m := range methods {
		for _, v := range m.allVariables() {
			if m.name == c.method.name && !c.method.handedIn {
				report.Used = append(report.Used, e.setting(v)...)
			} else {
				report.Unused = append(report.Unused, e.withoutEffect(v.name, "it is for the login method "+m.name)...)
			}
		}
	}
	for _, v := range general {
		report.Used = append(report.Used, e.setting(v)...)
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
		if e.isProxyInUse(name, c.proxy) {
			report.Used = append(report.Used, e.setting(variable{name: name})...)
		} else {
			report.Unused = append(report.Unused, e.withoutEffect(name, "not for this address, or another variable comes first")...)
		}
	}
	ignored := ignored()
	for _, name := range slices.Sorted(maps.Keys(ignored)) {
		note := "has no effect"
		if instead := ignored[name]; instead != "" {
			note = "use " + instead
		}
		report.NotRead = append(report.NotRead, e.withoutEffect(name, note)...)
	}
	return report
}

// ignored returns notRead with OpenBao's names, which have BAO_ in place of VAULT_.
func ignored() map[string]string {
	all := make(map[string]string)
	for _, v := range append([]variable{{name: "VAULT_TOKEN"}}, general...) {
		if suffix, ok := strings.CutPrefix(v.name, "VAULT_"); ok {
			all["BAO_"+suffix] = v.name
		}
	}
	for name, instead := range notRead {
		if suffix, ok := strings.CutPrefix(name, "VAULT_"); ok {
			all["BAO_"+suffix] = instead
		}
	}
	maps.Copy(all, notRead)
	return all
}

// setting returns a variable that has an effect, or its default; none if it has neither.
func (e *environment) setting(v variable) []Setting {
	switch {
	case e.isSet(v.name):
		return []Setting{{Name: settingName(v.name), Value: e.shown(v), Source: v.name}}
	case v.otherwise != "":
		return []Setting{{Name: settingName(v.name), Value: v.otherwise, Source: "default"}}
	}
	return nil
}

// withoutEffect returns a variable without effect; none if it is not set.
func (e *environment) withoutEffect(name, why string) []Setting {
	if !e.isSet(name) {
		return nil
	}
	return []Setting{{Name: name, Value: "set", Source: name, Note: why}}
}

// isProxyInUse reports whether a standard proxy variable has a part in the connection, or is
// at fault for there being none. proxy is the proxy in use.
func (e *environment) isProxyInUse(name string, proxy *transport.Proxy) bool {
	if e.inEitherCase("NO_PROXY") == name {
		return !e.isSet("VAULT_PROXY_ADDR")
	}
	return slices.Contains(e.malformed, name) || proxy != nil && proxy.Variable == name
}

// inUI returns the settings of the UI, and what the environment makes of them.
func (v *vault) inUI(e *environment, c *config) []Setting {
	settings := v.settings.shown(v.faults())
	for i, s := range settings {
		switch {
		case s.Name == "auth_method" && c.method.handedIn:
			settings[i].Note = "handed in by the agent"
		case s.Name == "namespace" && s.Source == "default" && e.isSet("VAULT_NAMESPACE"):
			settings[i].Value, settings[i].Source = e.shown(variable{name: "VAULT_NAMESPACE", plain: true}), "VAULT_NAMESPACE"
		}
	}
	return settings
}

// shown returns each setting as it may be shown. faults are those of the settings.
func (s Settings) shown(faults []Fault) []Setting {
	setting := func(name, value, otherwise string) Setting {
		switch {
		case isAtFault(faults, name):
			return Setting{Name: name, Value: notValid, Source: "UI"}
		case value == "":
			return Setting{Name: name, Value: otherwise, Source: "default"}
		case isSecretLike(value):
			value = "set"
		}
		return Setting{Name: name, Value: value, Source: "UI"}
	}
	enabled := ""
	if s.Enabled != nil {
		enabled = strconv.FormatBool(*s.Enabled)
	}
	return []Setting{
		setting("enabled", enabled, strconv.FormatBool(s.Configured())),
		setting("address", s.Address, "none"),
		setting("kv_version", s.KVVersion, "v2"),
		setting("auth_method", s.AuthMethod, tokenMethod),
		setting("namespace", s.Namespace, "none"),
		setting("mounts", strings.Join(s.Mounts, ", "), "as Vault lists them"),
	}
}

// settingName is the name of a variable as a setting.
func settingName(variable string) string {
	name := strings.ToLower(strings.TrimPrefix(variable, "VAULT_"))
	if name == "addr" || name == "namespace" || variable == "LUUMEN_VAULT_PATHS" {
		name = "pinned_" + strings.TrimPrefix(name, "luumen_vault_")
	}
	return name
}

// shown is a variable's value, if that cannot be a secret.
func (e *environment) shown(v variable) string {
	if !v.plain {
		return "set"
	}
	switch value := e.text(v.name); {
	case value == "" || slices.Contains(e.malformed, v.name):
		return notValid
	case isSecretLike(value), isFileVariable(v.name) && !filepath.IsAbs(value):
		return "set" // it may be the credential itself
	default:
		return value
	}
}

// String returns a line for each setting.
func (e Effective) String() string {
	var b strings.Builder
	for _, s := range e.Used {
		source := s.Source
		if s.Note != "" {
			source += ", " + s.Note
		}
		fmt.Fprintf(&b, "%s = %s (%s)\n", s.Name, s.Value, source)
	}
	for _, s := range e.Unused {
		fmt.Fprintf(&b, "%s is not used: %s\n", s.Name, s.Note)
	}
	for _, s := range e.NotRead {
		fmt.Fprintf(&b, "%s is not read: %s\n", s.Name, s.Note)
	}
	return b.String()
}
