package resolver

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/luumen/patch-vault/auth"
)

// The codes of findings, besides those of package auth.
const (
	// of runs and checks
	ShortOfUses    = "short_of_uses"   // the token has too few uses left for a run
	MountsUnknown  = "mounts_unknown"  // Vault's list of mounts is not available
	MountVersion   = "mount_version"   // notice: a mount has a different KV version than the settings
	HostsMisspelt  = "hosts_misspelt"  // a secret has luumen_hosts misspelt, or as a key, where it has no effect
	HostsMalformed = "hosts_malformed" // luumen_hosts holds a malformed glob, which matches no host
	OddField       = "odd_field"       // a field looks mistyped; see ref.Value.Warning

	// of checks, about the connection
	AddressNotPinned    = "address_not_pinned"   // notice: the Patch server does not pin the address
	NoNamespaces        = "no_namespaces"        // a namespace is set, but the server has none
	ClockSkew           = "clock_skew"           // the clocks of Vault and the Patch server differ by 30 s or more
	HealthUnknown       = "health_unknown"       // notice: Vault did not answer sys/health
	HealthSealed        = "health_sealed"        // sys/health says that Vault is sealed, but other answers do not
	RootToken           = "root_token"           // the token may do anything
	CapabilitiesUnknown = "capabilities_unknown" // notice: it is unknown whether the token may do more than read

	// of checks, about a field
	CanWrite         = "can_write"         // the token may write or delete the secret
	LimitedToHosts   = "limited_to_hosts"  // notice: the secret is limited to some hosts, and CheckOptions.Host is empty
	TrailingNewline  = "trailing_newline"  // the value is one line that ends in a line break
	SurroundingSpace = "surrounding_space" // the value begins or ends with white space or an invisible character
	FlatKey          = "flat_key"          // the value is a key in PEM form without its line breaks
	HoldsNUL         = "holds_nul"         // the value holds a NUL
	HoldsBOM         = "holds_bom"         // the value holds a byte order mark
	HoldsReplacement = "holds_replacement" // the value holds U+FFFD, which Vault puts in place of invalid UTF-8
	RoundedNumber    = "rounded_number"    // the value is a number, which KV v2 may round
)

func textsOf(findings []auth.Finding) []string {
	texts := make([]string, len(findings))
	for i, f := range findings {
		texts[i] = f.String()
	}
	return texts
}

func warning(code, text string) auth.Finding { return auth.Finding{Code: code, Text: text} }

func notice(code, text string) auth.Finding {
	return auth.Finding{Code: code, Text: text, Notice: true}
}

var (
	canWrite       = warning(CanWrite, "the token may also write or delete this secret; remove that from its policy: read is enough")
	hostsMisspelt  = warning(HostsMisspelt, "the secret has custom metadata whose name is almost "+hostsMetadata+", so every host gets the secret; rename it to "+hostsMetadata)
	hostsAsKey     = warning(HostsMisspelt, "the secret has a key "+hostsMetadata+", which limits nothing, so every host gets the secret; write it in the secret's custom metadata instead, which needs KV v2")
	hostsMalformed = warning(HostsMalformed, hostsMetadata+" of the secret holds a malformed glob or is longer than 512 bytes, which matches no host; in the secret's custom metadata, write globs such as win-*, separated by commas, without quotes")
	limitedToHosts = notice(LimitedToHosts, "the secret's owner limits it to some hosts ("+hostsMetadata+", where commas separate globs); check it for the host that will use it")
)

func oddField(why string) auth.Finding { return warning(OddField, "this field "+why) }

// oddValue returns findings about a value that is probably not as intended. Their
// texts never hold the value.
func oddValue(value string, rounded bool) []auth.Finding {
	var findings []auth.Finding
	found := func(odd bool, code, text string) {
		if odd {
			findings = append(findings, warning(code, text))
		}
	}
	line := strings.TrimRight(value, "\r\n")
	oneLine := !strings.Contains(line, "\n") // a private key should end with a line break, and loses all in an input of one line

	found(oneLine && line != value, TrailingNewline, "the value ends with a line break, which is sent to the host; remove it")
	found(strings.TrimFunc(line, isUnseen) != line, SurroundingSpace, "the value begins or ends with white space or an invisible character, which is sent to the host; remove it, unless it is intended")
	found(oneLine && strings.HasPrefix(line, "-----BEGIN "), FlatKey, "the value is a key or certificate in PEM form without its line breaks, so it cannot be used; store it with them, such as from its file")
	found(strings.Contains(value, "\x00"), HoldsNUL, "the value holds a NUL character; remove it")
	found(strings.Contains(value, "\ufeff"), HoldsBOM, "the value holds a byte order mark, as some editors write; remove it")
	found(strings.Contains(value, "\ufffd"), HoldsReplacement, "the value holds U+FFFD, which Vault puts in place of invalid UTF-8; store binary values in base64")
	found(rounded, RoundedNumber, "the value is a number, and KV v2 keeps only 15 digits and drops trailing zeros; store it as a string")
	return findings
}

// isUnseen reports whether r is white space or, as a zero-width space, displayed as nothing. A
// byte order mark has a finding of its own.
func isUnseen(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) && r != '\ufeff'
}

// findings returns what a run or a check found about its use of Vault, the token, which
// afterRun returned, and the mounts. The kind is that of the run's error: what the error
// explains is no finding.
func (p *plan) findings(usage auth.Usage, kind Kind) []auth.Finding {
	findings := append(slices.Clone(usage.Findings), p.shortOfUses(usage.Token)...)
	if table := p.mounts.Load(); p.isServed(usage.Token, kind) && (table.fault == nil || table.fault.Kind != kind) {
		findings = append(findings, table.findings(p.reads)...)
	}
	return findings
}

// isServed reports whether Vault served requests with the token to the end.
func (p *plan) isServed(token auth.Token, kind Kind) bool {
	return token.Proven && kind != Token && p.mounts.Load() != nil
}

// secretFindings are the findings about the secrets.
func (p *plan) secretFindings() []auth.Finding {
	p.mu.Lock() // a canceled run may be settling the rest
	defer p.mu.Unlock()
	var all examples
	for _, r := range p.reads {
		if r.secret != nil {
			for _, f := range r.secret.findings {
				all.add(quoted(r.path), f)
			}
		}
	}
	return all.findings()
}

// examples are findings about places, each once, with the first place and their number.
type examples []example

type example struct {
	auth.Finding
	place string
	count int
}

func (e *examples) add(place string, f auth.Finding) {
	for i := range *e {
		if one := &(*e)[i]; one.Text == f.Text {
			one.count++
			return
		}
	}
	*e = append(*e, example{f, place, 1})
}

// findings returns the findings with their places.
func (e examples) findings() []auth.Finding {
	var findings []auth.Finding
	for _, one := range e {
		place := one.place
		if one.count > 1 {
			place += fmt.Sprintf(", and %d more", one.count-1)
		}
		f := one.Finding
		f.Text = place + ": " + f.Text
		findings = append(findings, f)
	}
	return findings
}
