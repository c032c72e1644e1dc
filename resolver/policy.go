package resolver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/luumen/patch-vault/ref"
)

// Policy returns the policy, in HCL, that grants read on the references and nothing more,
// for the namespace that the agent logs in to. Check the whole configuration for it, since a
// policy is replaced as a whole; keep what auth.Vault.Do needs in another policy. If the
// connection is OK, give Policy the mounts of the check and all references, except those of
// kind NotKV, KVVersion or Pinned, which must be corrected first. For a path in none of the
// mounts, its first segment is taken as the mount, with a comment. Zero references are
// skipped. The error has a line for each reference that a policy cannot grant alone; the
// policy grants the rest.
func Policy(references []ref.Ref, mounts []Mount) (string, error) {
	table := tableOf(mounts)
	lines := make(map[string]*mount) // by what they grant
	var refused []error
	for _, r := range references {
		if r.IsZero() {
			continue
		}
		m := table.find(r.Path())
		if why := m.refusal(r.Path()); why != "" {
			refused = append(refused, errors.New(quoted(r.String())+": "+why))
			continue
		}
		// If a mount is wrong, secrets of KV v1 and v2 can have the same path of the API.
		api := m.granted(r.Path())
		if other, ok := lines[api]; !ok || other.Guessed && (!m.Guessed || m.Path < other.Path) {
			lines[api] = m
		}
	}

	var b strings.Builder
	commented := ""
	for _, api := range slices.Sorted(maps.Keys(lines)) {
		if m := lines[api]; m.Guessed && m.Path != commented {
			fmt.Fprintf(&b, "# Assumes that %s is a KV v%d mount. If it is not, correct its lines below.\n", quoteHCL(m.Path), m.Version)
			commented = m.Path
		}
		b.WriteString(grant(api) + "\n")
	}
	return b.String(), errors.Join(refused...)
}

// refusal says why there is no line for a path of the mount; it is empty for most paths.
func (m Mount) refusal(path string) string {
	switch {
	case m.below(path) == "":
		return "it names a mount, not a secret; write the path of the secret below it"
	case strings.ContainsFunc(m.Namespace+m.Path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "its mount holds a character that cannot be printed; pass the mounts of a check"
	case m.NotKV:
		return "the mount " + quoted(m.Path) + " is not KV; name a secret in a KV mount"
	case m.Guessed && namesTokens(path):
		return "it may lead to a token, not to a secret; if " + quoted(m.Path) + " is a KV mount, grant the token read on " + quoted(m.granted(path)) + " by hand"
	}
	return ungrantable(m.granted(path))
}

// tableOf is the table of the mounts that a check returned. A guess counts only where no
// known mount covers a path.
func tableOf(mounts []Mount) *mountTable {
	table := &mountTable{version: 2, listed: make(map[string]*mount), named: make(map[string]*mount)}
	for _, given := range mounts {
		m := &mount{table: table, Mount: given, listed: !given.Guessed}
		m.Path, m.Namespace = strings.Trim(m.Path, "/"), strings.Trim(m.Namespace, "/")
		table.namespace = cmp.Or(table.namespace, m.Namespace) // all have the same
		if m.Version != 1 {
			m.Version = 2
		}
		if m.listed {
			table.listed[m.Path] = m
		} else {
			table.named[m.Path] = m
		}
	}
	return table
}

// grant is the policy line that lets a token read the path of Vault's API.
func grant(api string) string {
	return fmt.Sprintf(`path %s { capabilities = ["read"] }`, quoteHCL(api))
}

// ungrantable says why no policy can name this path of Vault's API alone; it is empty
// for most paths. The rules were seen on Vault 1.21.1.
func ungrantable(api string) string {
	reads := ""
	switch {
	case strings.HasSuffix(api, "*"):
		reads = "the * at its end as a wildcard"
	case slices.Contains(strings.Split(api, "/"), "+"):
		reads = "a segment + as a wildcard"
	case strings.Contains(api, "+*"):
		reads = "+* as a mistake"
	case strings.Contains(api, "{{") || strings.Contains(api, "}}"):
		reads = "{{ and }} as a template"
	default:
		return ""
	}
	return "no policy can name this path alone, because Vault reads " + reads + "; move the secret to another path"
}
