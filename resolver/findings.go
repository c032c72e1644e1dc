package resolver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// noticeableSkew is how far the clocks may be apart.
const noticeableSkew = 30 * time.Second

// findings are about the connection: first what the settings say, then what
// Vault does, then what the token may do.
func (c *check) findings(summary auth.Summary, code Kind) []auth.Finding {
	var findings []auth.Finding
	warn := func(code, text string) { findings = append(findings, auth.Finding{Code: code, Text: text}) }
	notice := func(code, text string) {
		findings = append(findings, auth.Finding{Code: code, Text: text, Notice: true})
	}

	if code != NotConfigured && !c.isSet("VAULT_ADDR") {
		notice(NoPin, "VAULT_ADDR is not set on the Patch server, so whoever edits these settings can have the agent's token sent to another server; set it there to the address of this Vault")
	}
	if h := summary.Health; h != nil {
		if !h.Namespaces && c.hasNamespace() {
			warn(NoNamespaces, "a namespace is set, but this Vault has none and ignores it; leave it out of the settings, or check the address")
		}
		if ahead := time.Duration(h.Ahead) * time.Second; ahead.Abs() >= noticeableSkew {
			word := "ahead of"
			if ahead < 0 {
				word = "behind"
			}
			warn(ClockSkew, fmt.Sprintf("vault's clock is %s %s the Patch server's; have both set by a time server", fault.Duration(ahead.Abs()), word))
		}
	} else if c.mounts != nil {
		notice(HealthUnknown, "vault's version, state and clock are unknown, since sys/health gives no answer; have it let through by what stands before Vault")
	}
	findings = append(findings, summary.Findings...)
	if t := c.tokenState(summary.Token); t != nil && t.UsesLeft != nil {
		findings = append(findings, tooFewUses(*t.UsesLeft, t.UsesNeeded)...)
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
	return slices.ContainsFunc(c.settings.Settings, func(s auth.Setting) bool { return s.Source == variable })
}

func (c *check) hasNamespace() bool {
	return c.isSet("VAULT_NAMESPACE") || slices.ContainsFunc(c.settings.Settings, func(s auth.Setting) bool { return s.Name == "namespace" && s.Source == "UI" })
}

var (
	canWrite       = auth.Finding{Code: CanWrite, Text: "the token may also write or delete this secret; have that taken out of its policy: read is enough"}
	limitedToHosts = auth.Finding{Code: LimitedToHosts, Text: "the secret's owner limits it to some hosts (" + hostsMetadata + "), others will not get it; check it for the host that is to use it", Notice: true}
)

// oddities are what makes a value unlikely to be meant as it is. Nothing of it
// gets into their texts.
func oddities(value string, rounded bool) []auth.Finding {
	var findings []auth.Finding
	found := func(odd bool, code, text string) {
		if odd {
			findings = append(findings, auth.Finding{Code: code, Text: text})
		}
	}
	line := strings.TrimRight(value, "\r\n")
	oneLine := !strings.Contains(line, "\n") // a private key ends with a line break as it should

	found(oneLine && line != value, TrailingNewline, "the value ends with a line break, which is sent to the host with it; have it stored without")
	found(strings.TrimSpace(line) != line, SurroundingSpace, "the value begins or ends with white space, which is sent to the host with it; have it stored without, unless it is meant")
	found(strings.Contains(value, "\x00"), HoldsNUL, "the value holds a NUL character; have it stored without")
	found(strings.Contains(value, "\ufeff"), HoldsBOM, "the value holds a byte order mark, as some editors write it; have it stored without")
	found(rounded, RoundedNumber, "the value is a number, of which KV v2 keeps 15 digits and no zeros before or after; have it stored as a text, in quotes")
	return findings
}
