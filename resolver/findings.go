package resolver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// Finding is what a person should know or do, though no host was skipped for it.
type Finding = auth.Finding

// The codes of findings that runs and checks have, beside those of package auth.
const (
	ShortOfUses    = "short_of_uses"   // the token will be used up within a run
	MountsUnknown  = "mounts_unknown"  // the list of mounts is not available
	MountVersion   = "mount_version"   // notice: a mount has another KV version than the settings say
	HostsMisspelt  = "hosts_misspelt"  // custom metadata of a secret is almost luumen_hosts, and has no effect
	HostsMalformed = "hosts_malformed" // luumen_hosts of a secret holds a malformed glob, which matches no host
	OddField       = "odd_field"       // a field looks mistyped; see ref.Value.Warning
)

// The codes of findings that a check alone has, about the connection.
const (
	NoPin         = "no_pin"         // notice: the Patch server does not pin the address
	NoNamespaces  = "no_namespaces"  // a namespace is set, and the server has none
	ClockSkew     = "clock_skew"     // Vault's clock and the Patch server's are 30 s apart or more
	HealthUnknown = "health_unknown" // notice: sys/health could not be had
	HealthSealed  = "health_sealed"  // sys/health says that Vault is sealed, and the other answers do not
	RootToken     = "root_token"     // the token may do anything
	PowersUnknown = "powers_unknown" // notice: whether the token may do more than read is not known
)

// The codes of findings that a check alone has, about a field.
const (
	CanWrite         = "can_write"         // the token may write to the reference's path, or delete there
	LimitedToHosts   = "limited_to_hosts"  // notice: the secret names its hosts, and no host was given
	TrailingNewline  = "trailing_newline"  // the value is one line with a line break at its end
	SurroundingSpace = "surrounding_space" // the value begins or ends with white space
	HoldsNUL         = "holds_nul"         // the value holds a NUL
	HoldsBOM         = "holds_bom"         // the value holds a byte order mark
	HoldsReplacement = "holds_replacement" // the value holds U+FFFD, as Vault writes bytes that are not text
	RoundedNumber    = "rounded_number"    // the value is a number, which KV v2 rounds
)

func textsOf(findings []Finding) []string {
	texts := make([]string, len(findings))
	for i, f := range findings {
		texts[i] = f.String()
	}
	return texts
}

// noticeableSkew is how far the clocks may be apart.
const noticeableSkew = 30 * time.Second

// findings are about the connection: first what the settings say, then what
// Vault does, then what the token may do.
func (c *check) findings(usage auth.Usage, kind Kind) []Finding {
	var findings []Finding
	warn := func(code, text string) { findings = append(findings, Finding{Code: code, Text: text}) }
	notice := func(code, text string) {
		findings = append(findings, Finding{Code: code, Text: text, Notice: true})
	}

	if kind != NotConfigured && !c.isSet("VAULT_ADDR") {
		notice(NoPin, "the Patch server takes any address from these settings; set VAULT_ADDR there to the address of this Vault, which pins it")
	}
	if h := usage.Health; h != nil {
		if !h.Namespaces && c.hasNamespace() {
			warn(NoNamespaces, "a namespace is set, but this Vault has none and ignores it; omit it from the settings, or check the address")
		}
		if ahead := time.Duration(h.Ahead) * time.Second; ahead.Abs() >= noticeableSkew {
			word := "ahead of"
			if ahead < 0 {
				word = "behind"
			}
			warn(ClockSkew, fmt.Sprintf("vault's clock is %s %s the Patch server's; synchronize both with a time server", fault.Duration(ahead.Abs()), word))
		}
		switch {
		case !h.Sealed && h.Initialized || kind == Sealed:
		case usage.Token.Proven, kind == Login, kind == Token:
			warn(HealthSealed, "the node that answered sys/health is sealed or not initialized, while another one answered the rest, as behind a balancer; unseal that node, or remove it from the balancer")
		default:
			warn(HealthSealed, "vault's health says that it is sealed or not initialized, and the proxy before it answers other requests in its own way; unseal it: vault operator unseal")
		}
	} else if c.mounts != nil {
		notice(HealthUnknown, "vault's version, state and clock are unknown, since sys/health does not answer; let what stands before Vault pass it")
	}
	findings = append(findings, usage.Findings...)
	if t := c.plan.tokenState(usage.Token); t != nil && t.UsesLeft != nil {
		findings = append(findings, tooFewUses(t.Given, *t.UsesLeft, t.UsesNeeded)...)
	}
	if c.mounts != nil {
		findings = append(findings, c.mounts.findings(c.plan.reads)...)
	}
	switch {
	case c.powers.root:
		warn(RootToken, "the token is a root token: whoever gets hold of it may do anything in Vault; give the agent one with the policy of its references alone")
	case c.powers.unknown != "":
		notice(PowersUnknown, c.powers.unknown)
	}
	return findings
}

func (c *check) isSet(variable string) bool {
	return slices.ContainsFunc(c.effective.Settings, func(s auth.Setting) bool { return s.Source == variable })
}

func (c *check) hasNamespace() bool {
	return c.isSet("VAULT_NAMESPACE") || slices.ContainsFunc(c.effective.Settings, func(s auth.Setting) bool { return s.Name == "namespace" && s.Source == "UI" })
}

var (
	canWrite       = Finding{Code: CanWrite, Text: "the token may also write or delete this secret; remove that from its policy: read is enough"}
	hostsMisspelt  = Finding{Code: HostsMisspelt, Text: "the secret has custom metadata that is almost " + hostsMetadata + ", so it is given to every host; rename it to " + hostsMetadata}
	hostsMalformed = Finding{Code: HostsMalformed, Text: hostsMetadata + " of the secret holds a malformed glob or is longer than 512 bytes, which matches no host; correct it in the secret's custom metadata"}
	limitedToHosts = Finding{Code: LimitedToHosts, Text: "the secret's owner limits it to some hosts (" + hostsMetadata + "), others will not get it; check it for the host that is to use it", Notice: true}
)

// oddValue is what makes a value unlikely to be meant as it is. Nothing of it
// gets into their texts.
func oddValue(value string, rounded bool) []Finding {
	var findings []Finding
	found := func(odd bool, code, text string) {
		if odd {
			findings = append(findings, Finding{Code: code, Text: text})
		}
	}
	line := strings.TrimRight(value, "\r\n")
	oneLine := !strings.Contains(line, "\n") // a private key ends with a line break as it should

	found(oneLine && line != value, TrailingNewline, "the value ends with a line break, which is sent to the host with it; store it without")
	found(strings.TrimSpace(line) != line, SurroundingSpace, "the value begins or ends with white space, which is sent to the host with it; store it without, unless it is intended")
	found(strings.Contains(value, "\x00"), HoldsNUL, "the value holds a NUL character; store it without")
	found(strings.Contains(value, "\ufeff"), HoldsBOM, "the value holds a byte order mark, as some editors write it; store it without")
	found(strings.Contains(value, "\ufffd"), HoldsReplacement, "the value holds U+FFFD, which Vault puts in place of bytes that are not text; store binary values in base64")
	found(rounded, RoundedNumber, "the value is a number, of which KV v2 keeps 15 digits and no zeros before or after; store it as a text, in quotes")
	return findings
}
