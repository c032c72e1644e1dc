package resolver

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/ref"
)

// Connection is the result of a check about the connection to Vault.
type Connection struct {
	Problem                  // OK, or why no reference would be resolved
	Reachable bool           `json:"reachable"`          // Vault answered
	LoggedIn  bool           `json:"logged_in"`          // Vault accepted the token
	Health    *auth.Health   `json:"health,omitempty"`   // nil if unknown
	Token     auth.Token     `json:"token,omitzero"`     // zero if Vault accepted none
	Settings  auth.Effective `json:"settings"`           // including names of variables and files on the Patch server
	Findings  []auth.Finding `json:"findings,omitempty"` // warnings and notices
}

// lines returns a few lines; see [Verdicts.String].
func (c Connection) lines() string {
	var b strings.Builder
	b.WriteString("vault")
	if address := setting(c.Settings, "address"); strings.Contains(address, "://") { // otherwise there is none, or it is not valid
		b.WriteString(" at " + address)
	}
	b.WriteString(": " + c.outcome())
	if h := c.Health; h != nil {
		fmt.Fprintf(&b, "\nserver: %s", serverLine(h))
	}
	if token := c.Token.String(); token != "" {
		fmt.Fprintf(&b, "\ntoken: %s", token)
	}
	b.WriteByte('\n')
	for _, finding := range c.Findings {
		fmt.Fprintln(&b, finding)
	}
	return b.String()
}

// setting returns the value of an effective setting, or "".
func setting(settings auth.Effective, name string) string {
	for _, s := range settings.Used {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

func serverLine(h *auth.Health) string {
	version, state := "version hidden", "active"
	if h.Version != "" {
		version = "vault " + h.Version
	}
	switch {
	case !h.Initialized:
		state = "not initialized"
	case h.Sealed:
		state = "sealed"
	case h.Standby:
		state = "a standby"
	}
	return version + ", " + state
}

// connection returns the result about the connection, given the token as afterRun
// returned it.
func (c *check) connection(usage auth.Usage, err error) Connection {
	p := problemOf(err, ref.Ref{}).now()
	return Connection{
		Problem:   p,
		Reachable: usage.Health != nil || usage.Token.Proven || slices.Contains(answered, p.Kind),
		LoggedIn:  usage.Token.Proven && p.Kind != Token,
		Health:    usage.Health,
		Token:     usage.Token,
		Settings:  c.effective,
		Findings:  c.findings(usage, p.Kind),
	}
}

// now returns the problem of a check, which does not wait for a temporary state to pass. A
// rate limit that leaves the check too little time has a reason of its own.
func (p Problem) now() Problem {
	switch p.Kind {
	case Sealed, NoActiveNode, RateLimited:
		if p.Reason != transport.TooSlow {
			p.Reason += " now; a run waits up to 60 s for it to pass"
		}
	}
	return p
}

// answered are the kinds that mean that Vault answered.
var answered = []Kind{Sealed, NoActiveNode, ServerError, RateLimited, Login, Token}

// unproven is the error of a check in which nothing shows whether Vault accepts the
// token, because those requests are blocked.
func (c *check) unproven() error {
	if table := c.plan.mounts.Load(); table != nil && table.fault != nil {
		return table.fault
	}
	return fault.New(fault.BadResponse, "vault answers neither auth/token/lookup-self nor "+listPath+", so nothing shows whether it accepts the token",
		"let the proxy in front of Vault pass these paths, or check a reference as well")
}

// findings returns the findings about the connection: about the settings, then the
// server, then the token.
func (c *check) findings(usage auth.Usage, kind Kind) []auth.Finding {
	var findings []auth.Finding
	if kind != NotConfigured && setting(c.effective, "pinned_addr") == "" {
		findings = append(findings, notice(AddressNotPinned, "the Patch server accepts any address from these settings; to pin it, set VAULT_ADDR there to the address of this Vault"))
	}
	isServed := c.plan.isServed(usage.Token, kind)
	if usage.Health != nil {
		findings = append(findings, c.serverFindings(usage, kind)...)
	} else if isServed {
		findings = append(findings, notice(HealthUnknown, "vault's version, state and clock are unknown, since Vault does not answer sys/health; let the proxy in front of Vault pass it"))
	}
	findings = append(findings, c.plan.findings(usage, kind)...)
	if powers := c.plan.powers; powers.root {
		findings = append(findings, warning(RootToken, "the token is a root token, so whoever obtains it can do anything in Vault; give the agent a token whose policy grants only its references"))
	} else if isServed {
		findings = append(findings, powers.unknown...)
	}
	return findings
}

// serverFindings returns the findings about what sys/health says.
func (c *check) serverFindings(usage auth.Usage, kind Kind) []auth.Finding {
	var findings []auth.Finding
	h := usage.Health
	if !h.Namespaces && c.plan.vault.Settings().Namespace != "" {
		findings = append(findings, warning(NoNamespaces, "a namespace is set, but this Vault has none and ignores it; remove it from the settings and from VAULT_NAMESPACE on the Patch server, or check the address"))
	}
	if ahead := time.Duration(h.ClockSkew) * time.Second; ahead.Abs() >= noticeableSkew {
		word := "ahead of"
		if ahead < 0 {
			word = "behind"
		}
		findings = append(findings, warning(ClockSkew, fmt.Sprintf("vault's clock is %s %s the Patch server's; synchronize both with a time server", fault.Duration(ahead.Abs()), word)))
	}
	if (h.Sealed || !h.Initialized) && kind != Sealed {
		findings = append(findings, warning(HealthSealed, "the node that answered sys/health is sealed or not initialized, but another node behind a balancer, or a proxy, answers other requests differently; unseal that node (vault operator unseal), or remove it from the balancer"))
	}
	return findings
}

// noticeableSkew is a difference of clocks that gets a warning.
const noticeableSkew = 30 * time.Second
