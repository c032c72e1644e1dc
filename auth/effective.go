package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Setting is one effective setting.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`  // "set" in place of a secret
	Source string `json:"source"` // "UI", "default", or the variable
	Note   string `json:"note,omitempty"`
}

// Effective is what a run would work with, and which variables have no part
// in it. It holds no secret.
type Effective struct {
	Settings []Setting `json:"settings"`
	Unused   []Setting `json:"unused,omitempty"`   // variables of login methods that are not chosen
	NotRead  []Setting `json:"not_read,omitempty"` // variables that the library never reads; Note says what to use instead
}

// Effective reports the settings as they take effect, without reading a file.
func (v *Vault) Effective() Effective {
	var report Effective
	fromUI := func(name, value, fallback string) {
		source := "UI"
		if value == "" {
			value, source = fallback, "default"
		}
		report.Settings = append(report.Settings, Setting{Name: name, Value: value, Source: source})
	}
	e := &environment{getenv: v.options.Getenv}
	fromVariable := func(variable string, secret bool) {
		value := e.text(variable)
		if value == "" {
			return
		}
		if secret {
			value = "set"
		}
		report.Settings = append(report.Settings, Setting{Name: strings.ToLower(strings.TrimPrefix(variable, "VAULT_")), Value: value, Source: variable})
	}

	s := v.settings
	fromUI("enabled", map[bool]string{true: "true", false: "false"}[s.Configured()], "")
	fromUI("address", redactedAddress(s.Address), "none")
	fromUI("kv_version", s.KVVersion, "v2")
	fromUI("auth_method", s.AuthMethod, tokenMethod)
	fromUI("namespace", s.Namespace, "none")
	fromUI("mounts", strings.Join(s.Mounts, ", "), "as Vault lists them")

	chosen := methodNamed(s.AuthMethod)
	if _, ok := v.options.Methods[s.AuthMethod]; ok {
		chosen = nil
	}
	for i := range methods {
		m := &methods[i]
		own := m.variables
		if m.mountVar != "" {
			own = append([]string{m.mountVar}, own...)
		}
		for _, variable := range own {
			switch {
			case m == chosen:
				fromVariable(variable, slices.Contains(SecretVariables(), variable))
			case e.isSet(variable):
				report.Unused = append(report.Unused, Setting{Name: variable, Value: "set", Source: variable, Note: "of the login method " + m.name})
			}
		}
	}
	if chosen != nil && chosen.mountVar != "" && !e.isSet(chosen.mountVar) {
		report.Settings = append(report.Settings, Setting{Name: "mount", Value: chosen.defaultMount, Source: "default"})
	}
	for _, variable := range []string{"VAULT_ADDR", "VAULT_NAMESPACE", "LUUMEN_VAULT_PATHS", "VAULT_CACERT", "VAULT_CAPATH",
		"VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_TLS_SERVER_NAME", "VAULT_SKIP_VERIFY", "VAULT_RATE_LIMIT", "VAULT_CLIENT_TIMEOUT"} {
		fromVariable(variable, false)
	}
	if !e.isSet("VAULT_CLIENT_TIMEOUT") {
		report.Settings = append(report.Settings, Setting{Name: "client_timeout", Value: defaultTimeout.String(), Source: "default"})
	}
	for _, variable := range []string{"VAULT_CACERT_BYTES", "VAULT_PROXY_ADDR", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
		if e.isSet(variable) {
			report.Settings = append(report.Settings, Setting{Name: strings.ToLower(strings.TrimPrefix(variable, "VAULT_")), Value: "set", Source: variable})
		}
	}
	for _, variable := range sortedNames(notRead) {
		if e.isSet(variable) {
			note := "has no effect"
			if instead := notRead[variable]; instead != "" {
				note = "use " + instead
			}
			report.NotRead = append(report.NotRead, Setting{Name: variable, Value: "set", Source: variable, Note: note})
		}
	}
	return report
}

// String is one line for each setting.
func (e Effective) String() string {
	var b strings.Builder
	for _, s := range e.Settings {
		fmt.Fprintf(&b, "%s = %s (%s)\n", s.Name, s.Value, s.Source)
	}
	for _, s := range e.Unused {
		fmt.Fprintf(&b, "%s is not used: it is %s\n", s.Name, s.Note)
	}
	for _, s := range e.NotRead {
		fmt.Fprintf(&b, "%s is not read: %s\n", s.Name, s.Note)
	}
	return b.String()
}
