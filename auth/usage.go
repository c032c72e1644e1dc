package auth

import (
	"slices"
	"time"
)

// Usage is what a use of Vault took, and what is known of Vault since.
type Usage struct {
	RunID       string        // part of the User-Agent, and so of Vault's audit log
	Requests    int           // sent or tried, repetitions included
	Retries     int           // of those
	Connections int           // tried
	Waited      time.Duration // in which Vault answered nothing
	Median      time.Duration // of the answered requests; 0 if there are none
	P95         time.Duration // 95 of 100 were answered within it
	Longest     time.Duration
	Token       Token
	Health      *Health // nil if Use.Check is not set, or Vault did not tell
	Findings    []Finding
}

// Token is what is known of the token that Vault is used with; never the token
// itself. The zero Token is none.
type Token struct {
	Given     bool      // to the agent, by VAULT_TOKEN or VAULT_TOKEN_FILE; otherwise it is of a login
	Batch     bool      // cannot be revoked or renewed
	Known     bool      // Vault told the rest; it may refuse to
	Proven    bool      // Vault accepted the token
	Expires   time.Time // zero means never
	UsesLeft  int       // 0 means any number
	Renewable bool
	Policies  []string // those of the entity included, as far as Vault told
	Namespace string   // in which the token was created, as far as it is known
}

// Health is what Vault tells of itself to anybody.
type Health struct {
	Version     string `json:"version,omitempty"` // a release number; empty if Vault hides it
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`    // it forwards requests to the active node
	Namespaces  bool   `json:"namespaces"` // false only if it surely has none
	Ahead       int    `json:"ahead"`      // seconds by which Vault's clock is ahead of the Patch server's
}

func (s *session) usage() Usage {
	usage := Usage{RunID: s.options.RunID, Token: s.facts(), Findings: s.findings.list()}
	s.mu.Lock()
	usage.Health = s.health
	s.mu.Unlock()
	if s.wire == nil {
		return usage
	}
	usage.Requests, usage.Connections = s.wire.Requests(), s.wire.Dials()
	usage.Retries, usage.Waited = s.patience.Stats()
	times := append(s.reads.Times(), s.logins.Times()...)
	if len(times) == 0 {
		// It was not the look at the token alone that was blocked.
		usage.Findings = slices.DeleteFunc(usage.Findings, func(f Finding) bool { return f.Code == TokenUnknown })
		return usage
	}
	slices.Sort(times)
	n := len(times)
	usage.Median, usage.P95, usage.Longest = times[n/2], times[min(n*95/100, n-1)], times[n-1]
	return usage
}
