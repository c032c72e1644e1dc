package auth

import (
	"log/slog"
	"slices"
	"time"
)

// Usage is what a use of Vault cost, and what it found.
type Usage struct {
	RunID       string        // that of DoOptions, or the random one
	Requests    int           // including retries
	Retries     int           // requests that were sent again
	Connections int           // including failed ones
	Waited      time.Duration // how long nothing was answered
	Median      time.Duration // until an answer; 0 if there was none
	P95         time.Duration // until 95 of 100 answers
	Longest     time.Duration // until the slowest answer
	Token       Token
	Health      *Health // nil without DoOptions.Check, or if unknown
	Findings    []Finding
}

// LogValue returns the run's id, the numbers, and the findings, as a group.
func (u Usage) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("run", u.RunID), slog.Int("requests", u.Requests), slog.Int("retries", u.Retries), slog.Int("connections", u.Connections),
		slog.Int64("waited_ms", u.Waited.Milliseconds()), slog.Int64("longest_ms", u.Longest.Milliseconds()),
	}
	if !u.Token.Expires.IsZero() {
		attrs = append(attrs, slog.Time("token_expires", u.Token.Expires))
	}
	if len(u.Findings) > 0 {
		texts := make([]string, len(u.Findings))
		for i, f := range u.Findings {
			texts[i] = f.String()
		}
		attrs = append(attrs, slog.Any("findings", texts))
	}
	return slog.GroupValue(attrs...)
}

func (s *session) usage() Usage {
	usage := Usage{RunID: s.options.RunID, Token: s.facts(), Health: s.health.Load(), Findings: s.findings.list()}
	if s.wire == nil {
		return usage
	}
	usage.Requests, usage.Connections = s.wire.Requests(), s.wire.Dials()
	usage.Retries, usage.Waited = s.patience.Stats()
	times := append(s.reads.Times(), s.logins.Times()...)
	if len(times) == 0 || s.fatal.Load() != nil && !s.token.Load().served.Load() {
		// Nothing at all was answered, or no token worked: the errors say more than this finding.
		usage.Findings = slices.DeleteFunc(usage.Findings, func(f Finding) bool { return f.Code == TokenUnknown })
	}
	if len(times) == 0 {
		return usage
	}
	slices.Sort(times)
	n := len(times)
	usage.Median, usage.P95, usage.Longest = times[n/2], times[min(n*95/100, n-1)], times[n-1]
	return usage
}
