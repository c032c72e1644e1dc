package session

import (
	"slices"
	"time"
)

// Summary is what a use of Vault took.
type Summary struct {
	RunID       string        // part of the User-Agent, and so of Vault's audit log
	Requests    int           // tried, retries included
	Retries     int           // of those
	Connections int           // tried
	Waited      time.Duration // in which Vault answered nothing
	Median      time.Duration // of the answered requests
	P95         time.Duration // 95 of 100 were answered within it
	Longest     time.Duration
	Token       Token
	Health      *Health // nil where it was not asked for, or not told
	Findings    []Finding
}

func (s *session) summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	retries, waited := s.patience.Stats()
	sum := Summary{
		RunID:       s.options.RunID,
		Requests:    s.client.Requests(),
		Retries:     retries,
		Connections: s.client.Dials(),
		Waited:      waited,
		Health:      s.health,
	}
	findings := slices.Clone(s.findings)
	if !s.answered.Load() {
		// It was not the look at the token alone that was blocked.
		findings = slices.DeleteFunc(findings, func(f Finding) bool { return f.Code == TokenUnknown })
	}
	sum.Findings = findings
	if s.token != nil {
		sum.Token = s.token.facts
	}
	if n := len(s.times); n > 0 {
		slices.Sort(s.times)
		sum.Median, sum.P95, sum.Longest = s.times[n/2], s.times[min(n*95/100, n-1)], s.times[n-1]
	}
	return sum
}
