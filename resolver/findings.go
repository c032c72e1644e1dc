package resolver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// Finding is a warning or a notice: something to know or do that skipped no host.
type Finding = auth.Finding

// The codes of findings of runs and checks, besides those of package auth.
const (
	ShortOfUses    = "short_of_uses"   // the token has too few uses left for a run
	MountsUnknown  = "mounts_unknown"  // Vault's list of mounts is not available
	MountVersion   = "mount_version"   // notice: a mount has another KV version than the settings say
	HostsMisspelt  = "hosts_misspelt"  // luumen_hosts is misspelt in a secret, so it has no effect
	HostsMalformed = "hosts_malformed" // luumen_hosts holds a malformed glob, which matches no host
	OddField       = "odd_field"       // a field looks mistyped; see ref.Value.Warning
)

// The codes of findings of checks about the connection.
const (
	NoPin         = "no_pin"         // notice: the Patch server does not pin the address
	NoNamespaces  = "no_namespaces"  // a namespace is set, but the server has none
	ClockSkew     = "clock_skew"     // the clocks of Vault and the Patch server differ by 30 s or more
	HealthUnknown = "health_unknown" // notice: sys/health did not answer
	HealthSealed  = "health_sealed"  // sys/health says that Vault is sealed, but other answers do not
	RootToken     = "root_token"     // the token may do anything
	PowersUnknown = "powers_unknown" // notice: it is unknown whether the token may do more than read
)

// The codes of findings of checks about a field.
const (
	CanWrite         = "can_write"         // the token may write or delete the secret
	LimitedToHosts   = "limited_to_hosts"  // notice: the secret names its hosts, but CheckOptions no host
	TrailingNewline  = "trailing_newline"  // the value is one line that ends in a line break
	SurroundingSpace = "surrounding_space" // the value begins or ends with white space
	HoldsNUL         = "holds_nul"         // the value holds a NUL
	HoldsBOM         = "holds_bom"         // the value holds a byte order mark
	HoldsReplacement = "holds_replacement" // the value holds U+FFFD, which Vault puts in place of bytes that are not text
	RoundedNumber    = "rounded_number"    // the value is a number, which KV v2 may round
)

func textsOf(findings []Finding) []string {
	texts := make([]string, len(findings))
	for i, f := range findings {
		texts[i] = f.String()
	}
	return texts
}

// noticeableSkew is a difference of clocks that gets a warning.
const noticeableSkew = 30 * time.Second

// findings returns the findings about the connection: about the settings, then the
// server, then the token.
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
			warn(HealthSealed, "the node that answered sys/health is sealed or not initialized, while another node behind the balancer answered the rest; unseal that node, or remove it from the balancer")
		default:
			warn(HealthSealed, "vault's health says that it is sealed or not initialized, while the proxy before it answers other requests differently; unseal it: vault operator unseal")
		}
	} else if c.mounts != nil {
		notice(HealthUnknown, "vault's version, state and clock are unknown, since sys/health does not answer; let the proxy before Vault pass it")
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
		warn(RootToken, "the token is a root token, so whoever gets hold of it may do anything in Vault; give the agent a token with the policy of its references alone")
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
	hostsMisspelt  = Finding{Code: HostsMisspelt, Text: "the secret has custom metadata whose name is almost " + hostsMetadata + ", so every host gets the secret; rename it to " + hostsMetadata}
	hostsMalformed = Finding{Code: HostsMalformed, Text: hostsMetadata + " of the secret holds a malformed glob or is longer than 512 bytes, which matches no host; correct it in the secret's custom metadata"}
	limitedToHosts = Finding{Code: LimitedToHosts, Text: "the secret's owner limits it to some hosts (" + hostsMetadata + "); check it for the host that will use it", Notice: true}
)

// oddValue returns findings about a value that is probably not as intended. Their
// texts never hold the value.
func oddValue(value string, rounded bool) []Finding {
	var findings []Finding
	found := func(odd bool, code, text string) {
		if odd {
			findings = append(findings, Finding{Code: code, Text: text})
		}
	}
	line := strings.TrimRight(value, "\r\n")
	oneLine := !strings.Contains(line, "\n") // a private key should end with a line break

	found(oneLine && line != value, TrailingNewline, "the value ends with a line break, which is sent to the host; store it without")
	found(strings.TrimSpace(line) != line, SurroundingSpace, "the value begins or ends with white space, which is sent to the host; store it without, unless it is intended")
	found(strings.Contains(value, "\x00"), HoldsNUL, "the value holds a NUL character; store it without")
	found(strings.Contains(value, "\ufeff"), HoldsBOM, "the value holds a byte order mark, as some editors write it; store it without")
	found(strings.Contains(value, "\ufffd"), HoldsReplacement, "the value holds U+FFFD, which Vault puts in place of bytes that are not text; store binary values in base64")
	found(rounded, RoundedNumber, "the value is a number, and KV v2 keeps only 15 digits and drops zeros at its ends; store it as a text, in quotes")
	return findings
}
