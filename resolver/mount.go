package resolver

import (
	"slices"
	"strings"
)

// Mount is the mount of a reference, as far as it is known.
type Mount struct {
	Path      string `json:"path"`                // without slashes at its ends: team/kv
	Version   int    `json:"version"`             // of KV: 1 or 2
	Guessed   bool   `json:"guessed,omitempty"`   // Vault did not show it, so its path and version may be wrong
	NotKV     bool   `json:"not_kv,omitempty"`    // something else is mounted there, and nothing of it is read
	Namespace string `json:"namespace,omitempty"` // relative to that of the token, such as team/child
}

// mount is what is known about a path's mount.
type mount struct {
	Mount
	listed bool   // Vault listed it; otherwise the settings name it, or it is Guessed
	kind   string // its type in Vault, if it is listed
}

// isKV reports whether a mount of the type holds secrets.
func isKV(kind string) bool { return kind == "kv" || kind == "generic" }

// types are the only types that are shown. A hostile server could send a token in
// place of a type.
var types = []string{
	"ad", "alicloud", "aws", "azure", "consul", "cubbyhole", "database", "gcp", "gcpkms", "identity", "keymgmt", "kmip", "kubernetes", "ldap",
	"mongodbatlas", "nomad", "openldap", "pki", "rabbitmq", "ssh", "system", "terraform", "token", "totp", "transform", "transit",
}

func shownType(kind string) string {
	if slices.Contains(types, kind) {
		return kind
	}
	return "another"
}

// api is the path of Vault's API for a secret of this mount.
func (m Mount) api(path string) string {
	if m.Version == 1 {
		return path
	}
	return m.Path + "/data/" + m.below(path)
}

// granted is the path that the token's policy must name.
func (m Mount) granted(path string) string {
	if m.Namespace == "" {
		return m.api(path)
	}
	return m.Namespace + "/" + m.api(path)
}

// below is the part of the path below the mount.
func (m Mount) below(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, m.Path), "/")
}
