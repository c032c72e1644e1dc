package resolver

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/luumen/patch-vault/ref"
)

// Policy returns the Vault policy, in HCL, that grants read on the references and
// nothing more, with one sorted line for each path. It belongs in the namespace that
// the agent logs in to. Verdicts.Mounts has the mounts of checked references; for
// others, Policy takes the first segment, and says so in a comment. The error has a
// line for each reference that a policy cannot grant alone; the policy grants the rest.
func Policy(references []ref.Ref, mounts []Mount) (string, error) {
	mounts = bestFirst(mounts)
	var lines []policyLine
	var refused []error
	for _, r := range references {
		if r.IsZero() {
			continue
		}
		line, why := policyOf(r, mounts)
		if why != "" {
			refused = append(refused, errors.New(r.String()+": "+why))
			continue
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b policyLine) int { return strings.Compare(a.api, b.api) })
	lines = slices.Compact(lines)

	var b strings.Builder
	commented := ""
	for _, line := range lines {
		if m := line.mount; m.Guessed && m.Path != commented {
			fmt.Fprintf(&b, "# Assumes that %s is a KV v%d mount. If it is not, correct its lines below.\n", quoteHCL(m.Path), m.Version)
			commented = m.Path
		}
		b.WriteString(grant(line.api) + "\n")
	}
	return b.String(), errors.Join(refused...)
}

// bestFirst sorts mounts so that the first one that covers a path is that of the path.
func bestFirst(mounts []Mount) []Mount {
	mounts = slices.Clone(mounts)
	for i, m := range mounts {
		mounts[i].Path = strings.Trim(m.Path, "/")
		if m.Version != 1 {
			mounts[i].Version = 2
		}
	}
	slices.SortFunc(mounts, func(a, b Mount) int {
		switch {
		case a.Guessed == b.Guessed:
			return len(b.Path) - len(a.Path)
		case a.Guessed:
			return 1
		}
		return -1
	})
	return mounts
}

type policyLine struct {
	api   string
	mount Mount
}

// policyOf returns the line that a reference needs, or why there is none.
func policyOf(r ref.Ref, mounts []Mount) (line policyLine, why string) {
	m := guess(r.Path(), 2)
	if i := slices.IndexFunc(mounts, func(m Mount) bool { return m.covers(r.Path()) }); i >= 0 {
		m = mounts[i]
	}
	if m.below(r.Path()) == "" {
		return policyLine{}, "it names a mount, not a secret; write the path of the secret below it"
	}
	return policyLine{m.granted(r.Path()), m}, ungrantable(m.api(r.Path()))
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
		reads = "the * at its end as anything"
	case slices.Contains(strings.Split(api, "/"), "+"):
		reads = "a segment + as any segment"
	case strings.Contains(api, "+*"):
		reads = "+* as a mistake"
	case strings.Contains(api, "{{") || strings.Contains(api, "}}"):
		reads = "{{ and }} as a template"
	default:
		return ""
	}
	return "no policy can name this path alone, because Vault reads " + reads + "; move the secret to another path"
}

// quoteHCL writes printable text as a string of HCL.
func quoteHCL(text string) string { return `"` + escapesHCL.Replace(text) + `"` }

// HCL reads no escapes between ${ and }.
var escapesHCL = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `$\u007b`)
