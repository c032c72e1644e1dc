package resolver

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/session"
)

// Finding is something that a person should know or do, though no host was skipped
// for it.
type Finding struct {
	Code   string `json:"code"`             // one of the constants of this package, such as TokenExpires
	Text   string `json:"text"`             // what is so, and what to do about it; fit for the UI
	Notice bool   `json:"notice,omitempty"` // it may well be meant so; else it is a warning
	Detail string `json:"-"`                // the concrete cause, for the agent's log alone; may be empty
}

// LogValue logs what String returns.
func (f Finding) LogValue() slog.Value { return slog.StringValue(f.String()) }

// String is one line for a person, with the detail if there is one.
func (f Finding) String() string {
	text := f.Text
	if f.Detail != "" {
		text += " (" + f.Detail + ")"
	}
	if f.Notice {
		return "notice: " + text
	}
	return "warning: " + text
}

// The codes of findings that runs and checks have.
const (
	SkipVerify      = session.SkipVerify      // skip_verify: certificates are not verified
	PlainHTTP       = session.PlainHTTP       // plain_http: the way to Vault is not encrypted
	FileExposed     = session.FileExposed     // file_exposed: every user of the Patch server may read a credential
	TokenExpires    = session.TokenExpires    // token_expires: a given token has less than 7 days to live
	TokenUnknown    = session.TokenUnknown    // token_unknown: a given token may not look at itself
	TokenNotRenewed = session.TokenNotRenewed // token_not_renewed: a given token could not be renewed
	TokenNotRevoked = session.TokenNotRevoked // token_not_revoked: the token that was logged in could not be revoked
	ShortOfUses     = "short_of_uses"         // the token will be used up within a run
	MountsUnknown   = "mounts_unknown"        // the list of mounts could not be had
	MountVersion    = "mount_version"         // notice: a mount has another KV version than the settings say
	HostsMisspelt   = "hosts_misspelt"        // custom metadata of a secret is almost luumen_hosts, and has no effect
	OddField        = "odd_field"             // a field looks mistyped; see ref.Value.Warning
	BrokenOff       = session.BrokenOff       // the caller's context ended the run while Vault did not answer
)

// The codes of findings that a check alone has, about the connection.
const (
	NoPin         = "no_pin"         // notice: the Patch server does not pin the address
	NoNamespaces  = "no_namespaces"  // a namespace is set, and the server has none
	ClockSkew     = "clock_skew"     // Vault's clock and the Patch server's are 30 s apart or more
	HealthUnknown = "health_unknown" // notice: sys/health could not be had
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
	RoundedNumber    = "rounded_number"    // the value is a number, which KV v2 rounds
)

func findingsOf(summary session.Summary) []Finding {
	findings := make([]Finding, len(summary.Findings))
	for i, f := range summary.Findings {
		findings[i] = Finding{f.Code, f.Text, f.Notice, f.Detail}
	}
	return findings
}

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
func (c *check) findings(summary session.Summary, kind Kind) []Finding {
	var findings []Finding
	warn := func(code, text string) { findings = append(findings, Finding{Code: code, Text: text}) }
	notice := func(code, text string) {
		findings = append(findings, Finding{Code: code, Text: text, Notice: true})
	}

	if kind != NotConfigured && !c.isSet("VAULT_ADDR") {
		notice(NoPin, "the Patch server takes any address from these settings; have VAULT_ADDR set there to the address of this Vault, which pins it")
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
	findings = append(findings, findingsOf(summary)...)
	if t := c.plan.tokenState(summary.Token, c.mounts != nil); t != nil && t.UsesLeft != nil {
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
	return slices.ContainsFunc(c.settings.Settings, func(s auth.Setting) bool { return s.Source == variable })
}

func (c *check) hasNamespace() bool {
	return c.isSet("VAULT_NAMESPACE") || slices.ContainsFunc(c.settings.Settings, func(s auth.Setting) bool { return s.Name == "namespace" && s.Source == "UI" })
}

var (
	canWrite       = Finding{Code: CanWrite, Text: "the token may also write or delete this secret; have that taken out of its policy: read is enough"}
	hostsMisspelt  = Finding{Code: HostsMisspelt, Text: "the secret has custom metadata that is almost " + hostsMetadata + ", so it is given to every host; have it named exactly so"}
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

	found(oneLine && line != value, TrailingNewline, "the value ends with a line break, which is sent to the host with it; have it stored without")
	found(strings.TrimSpace(line) != line, SurroundingSpace, "the value begins or ends with white space, which is sent to the host with it; have it stored without, unless it is meant")
	found(strings.Contains(value, "\x00"), HoldsNUL, "the value holds a NUL character; have it stored without")
	found(strings.Contains(value, "\ufeff"), HoldsBOM, "the value holds a byte order mark, as some editors write it; have it stored without")
	found(rounded, RoundedNumber, "the value is a number, of which KV v2 keeps 15 digits and no zeros before or after; have it stored as a text, in quotes")
	return findings
}
