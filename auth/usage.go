package auth

import (
	"log/slog"
	"slices"
	"time"
)

// Usage is what a use of Vault cost, and what it found.
type Usage struct {
	RunID       string        `json:"run_id,omitempty"` // that of DoOptions, or the random one
	Requests    int           `json:"requests"`         // including retries
	Retries     int           `json:"-"`                // requests that were sent again
	Connections int           `json:"-"`                // including failed ones
	Waited      time.Duration `json:"-"`                // time without any answer
	Median      time.Duration `json:"-"`                // median time to an answer; 0 if there was none
	P95         time.Duration `json:"-"`                // 95th percentile of these times
	Longest     time.Duration `json:"-"`                // longest of them
	Token       Token         `json:"token,omitzero"`
	Health      *Health       `json:"health,omitempty"` // nil without DoOptions.Check, or if unknown
	Findings    []Finding     `json:"findings,omitempty"`
}

// LogValue returns the run's id, numbers, token and findings, as a group.
func (u Usage) LogValue() slog.Value {
	var attrs []slog.Attr
	if u.RunID != "" {
		attrs = append(attrs, slog.String("run_id", u.RunID))
	}
	attrs = append(attrs, slog.Int("requests", u.Requests), slog.Int("retries", u.Retries), slog.Int("connections", u.Connections),
		milliseconds("waited_ms", u.Waited), milliseconds("median_ms", u.Median), milliseconds("p95_ms", u.P95), milliseconds("longest_ms", u.Longest))
	if token := u.Token.String(); token != "" {
		attrs = append(attrs, slog.String("token", token))
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

// milliseconds logs a duration with three decimals.
func milliseconds(name string, d time.Duration) slog.Attr {
	return slog.Float64(name, float64(d.Microseconds())/1000)
}

func (s *session) usage() Usage {
	usage := Usage{RunID: s.options.RunID, Token: s.facts(), Health: s.health, Findings: s.findings.list()}
	if s.wire == nil {
		return usage
	}
	usage.Requests, usage.Connections = s.wire.Requests(), s.wire.Dials()
	usage.Retries, usage.Waited = s.patience.Stats()
	times := append(s.reads.Times(), s.logins.Times()...)
	if len(times) == 0 {
		return usage
	}
	slices.Sort(times)
	n := len(times)
	usage.Median, usage.P95, usage.Longest = times[n/2], times[min(n*95/100, n-1)], times[n-1]
	return usage
}
