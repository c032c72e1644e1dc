package auth

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/luumen/patch-vault/ref"
)

// Settings are what a person enters in the UI. The zero Settings mean that Vault is
// not configured. Decoding ignores unknown names, and names are case-sensitive.
type Settings struct {
	Enabled    *bool    `json:"enabled,omitempty"`     // nil means true if there is an address
	Address    string   `json:"address,omitempty"`     // http or https, with an optional path prefix
	KVVersion  string   `json:"kv_version,omitempty"`  // "v1" or "v2"; empty means v2. The version that Vault lists for a mount wins
	AuthMethod string   `json:"auth_method,omitempty"` // token, approle, kubernetes, jwt, cert, or one of Options.Methods; empty means token
	Namespace  string   `json:"namespace,omitempty"`   // empty means VAULT_NAMESPACE, or none
	Mounts     []string `json:"mounts,omitempty"`      // at most 1,000, such as team/kv; used if Vault's own list is blocked or empty

	faults []Fault // of decoding
}

// Fault is one error in the settings, for the UI, without what was entered.
type Fault struct {
	Setting string `json:"setting"` // its name in JSON; "vault" if the settings are not an object
	Reason  string `json:"reason"`  // what is wrong
	Fix     string `json:"fix"`     // what to enter
}

// Error returns one line: setting, reason and fix.
func (f Fault) Error() string { return f.Setting + ": " + f.Reason + "; " + f.Fix }

// clone returns a copy that shares nothing with the original.
func (s Settings) clone() Settings {
	if s.Enabled != nil {
		s.Enabled = new(*s.Enabled)
	}
	s.Mounts = slices.Clone(s.Mounts)
	s.faults = slices.Clone(s.faults)
	return s
}

// Configured reports whether the settings, right or wrong, say to use Vault.
func (s Settings) Configured() bool {
	if s.Enabled != nil {
		return *s.Enabled
	}
	// An address that is not a string still means that Vault is to be used.
	return s.Address != "" || isAtFault(s.faults, wholeSettings) || isAtFault(s.faults, "enabled") || isAtFault(s.faults, "address")
}

// Faults returns all errors in the settings, offline: at most one for each setting, and
// eleven for the mounts. methods names those of [Options.Methods].
func (s Settings) Faults(methods ...string) []Fault {
	faults := slices.Clone(s.faults)
	add := func(setting, reason, fix string) {
		if !isAtFault(s.faults, setting) {
			faults = append(faults, Fault{setting, reason, fix})
		}
	}
	if s.Address == "" {
		if s.Enabled != nil && *s.Enabled {
			add("address", "missing, but Vault is enabled", "enter it, such as https://vault.example:8200, or disable Vault")
		}
	} else if _, reason, fix := parseAddress(s.Address); reason != "" {
		add("address", reason, fix)
	}
	if !slices.Contains([]string{"", "v1", "v2"}, s.KVVersion) {
		add("kv_version", "unknown", `choose "v1" or "v2"`)
	}
	if known := append(methodNames(), methods...); s.AuthMethod != "" && !slices.Contains(known, s.AuthMethod) {
		slices.Sort(known)
		add("auth_method", "unknown", "choose one of "+strings.Join(known, ", "))
	}
	if !isNamespace(s.Namespace) || isCredential(s.Namespace) {
		add("namespace", "not a namespace", "write it as Vault shows it, such as team/patch")
	}
	if len(s.Mounts) > maxMounts {
		add("mounts", "more than 1,000 entries", "name only the mounts of the references")
		return faults
	}
	wrong := 0
	for i, mount := range s.Mounts {
		if isMount(mount) && !isCredential(mount) {
			continue
		}
		if wrong++; wrong > maxWrongMounts {
			add("mounts", "further entries are not paths of KV mounts", "write each as Vault shows it, such as team/kv")
			break
		}
		add("mounts", "entry "+strconv.Itoa(i+1)+" is not the path of a KV mount", "write it as Vault shows it, such as team/kv")
	}
	return faults
}

const (
	maxMounts      = 1000
	maxWrongMounts = 10 // that get a fault each: the faults are part of every host's error
)

// MarshalJSON keeps the faults. It masks user info in the address, and pasted credentials.
func (s Settings) MarshalJSON() ([]byte, error) {
	type plain Settings
	s = s.masked()
	text, err := json.Marshal(plain(s))
	if err != nil || len(s.faults) == 0 {
		return text, err
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	for _, f := range s.faults {
		if f.Setting == wholeSettings {
			return json.Marshal(notValid)
		}
		members[f.Setting] = struct{}{} // no setting is an object
	}
	return json.Marshal(members)
}

// masked returns the settings without user info and credentials, and with the same faults.
// Any other unknown auth_method may be one of Options.
func (s Settings) masked() Settings {
	s.Address = withoutUser(s.Address)
	s.Mounts = slices.Clone(s.Mounts)
	texts := []*string{&s.KVVersion, &s.AuthMethod, &s.Namespace}
	for i := range s.Mounts {
		texts = append(texts, &s.Mounts[i])
	}
	for _, text := range texts {
		if isCredential(*text) {
			*text = "/***" // valid in none of them
		}
	}
	return s
}

// wholeSettings is the Fault.Setting of a fault in all of them.
const wholeSettings = "vault"

// UnmarshalJSON never fails: what has the wrong type becomes a [Fault]. It masks user info in
// the address, and pasted credentials.
func (s *Settings) UnmarshalJSON(data []byte) error {
	*s = Settings{}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		s.faults = []Fault{{wholeSettings, "not an object", "write the settings as a JSON object"}}
		return nil
	}
	member(s, members, "address", &s.Address, "write a string, such as https://vault.example:8200")
	member(s, members, "auth_method", &s.AuthMethod, "write a string, such as approle")
	member(s, members, "enabled", &s.Enabled, "choose true or false")
	member(s, members, "kv_version", &s.KVVersion, `choose "v1" or "v2"`)
	member(s, members, "mounts", &s.Mounts, "write a list of mounts, such as team/kv")
	member(s, members, "namespace", &s.Namespace, "write a string, such as team/patch")
	*s = s.masked()
	return nil
}

// member decodes one member. If it has the wrong type, it becomes a fault.
func member[T any](s *Settings, members map[string]json.RawMessage, name string, target *T, fix string) {
	raw, ok := members[name]
	if !ok {
		return
	}
	var value T
	if json.Unmarshal(raw, &value) != nil {
		s.faults = append(s.faults, Fault{name, "of the wrong type", fix})
		return
	}
	*target = value
}

// isNamespace accepts a namespace with or without its trailing slash, in ASCII, since
// it is sent in a header.
func isNamespace(text string) bool {
	return text == "" || isPlainPath(text) && !strings.ContainsFunc(text, func(r rune) bool { return r > '~' })
}

// isMount accepts the path of a mount that references can name, with or without a
// trailing slash.
func isMount(text string) bool {
	_, err := ref.New(strings.TrimSuffix(text, "/")+"/secret", "key", 0)
	return err == nil
}

func isPlainPath(text string) bool {
	for segment := range strings.SplitSeq(strings.TrimSuffix(text, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." || strings.TrimSpace(segment) != segment {
			return false
		}
	}
	return !strings.ContainsFunc(text, isUnprintable)
}

// String returns the settings in one line, without malformed values.
func (s Settings) String() string {
	var texts []string
	for _, setting := range s.shown(s.Faults()) { // without the name of a method in Options, which could be a pasted token
		texts = append(texts, setting.Name+" "+setting.Value)
	}
	return strings.Join(texts, ", ")
}

func isAtFault(faults []Fault, setting string) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.Setting == setting })
}

// Format prints s.String() for every verb.
func (s Settings) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue returns s.String().
func (s Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }

// notValid is shown in place of a malformed value, which may be a pasted secret.
const notValid = "not valid"
