package resolver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// Report sums up a run.
type Report struct {
	Hosts    int            `json:"hosts"`
	Ready    int            `json:"ready"`              // hosts returned with all their credentials
	Skipped  int            `json:"skipped"`            // hosts returned with an error
	NotTaken int            `json:"not_taken"`          // hosts not returned yet, or left when the caller ended the loop
	Causes   []Cause        `json:"causes,omitempty"`   // why hosts were skipped; most hosts first
	Findings []auth.Finding `json:"findings,omitempty"` // warnings and notices, including those of Vault
	Vault    auth.Usage     `json:"-"`                  // zero if Vault was not needed
}

// Report returns the report so far, to any goroutine. It is complete after the loop.
func (r *Run) Report() Report { return r.inner().report() }

func (r *run) report() Report {
	r.mu.Lock()
	skipped := r.skipped // grows, and never changes
	report := Report{
		Hosts:    len(r.plan.hosts),
		Ready:    r.taken - len(skipped),
		Skipped:  len(skipped),
		NotTaken: len(r.plan.hosts) - r.taken,
		Findings: slices.Clone(r.findings),
		Vault:    r.usage,
	}
	r.mu.Unlock()
	report.Causes = causesOf(skipped)
	return report
}

// MarshalJSON returns the report for the UI; see [FieldError.MarshalJSON]. A Report that is
// decoded from it lacks the run's ID, requests and token.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report // without this method
	return json.Marshal(struct {
		plain
		RunID    string     `json:"run_id,omitempty"`
		Requests int        `json:"requests"`
		Token    auth.Token `json:"token,omitzero"`
	}{plain(r), r.Vault.RunID, r.Vault.Requests, r.Vault.Token})
}

// String returns the report in a few lines, for the agent's log.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d ready, %d skipped", counted(r.Hosts, "host"), r.Ready, r.Skipped)
	if r.NotTaken > 0 {
		fmt.Fprintf(&b, ", %d not taken", r.NotTaken)
	}
	if v := r.Vault; v.Requests > 0 {
		fmt.Fprintf(&b, "; %s (%d of them retries)", counted(v.Requests, "request"), v.Retries)
		if v.Waited > 0 {
			fmt.Fprintf(&b, ", waited %s for Vault", fault.Duration(v.Waited))
		}
		if v.Longest > 0 {
			fmt.Fprintf(&b, ", answers in %s (median), %s (95th percentile), %s (longest)", fault.Duration(v.Median), fault.Duration(v.P95), fault.Duration(v.Longest))
		}
	}
	b.WriteByte('\n')
	if r.Vault.Longest > 0 { // Vault answered
		fmt.Fprintf(&b, "run %s in Vault's audit log", r.Vault.RunID)
		if token := r.Vault.Token.String(); token != "" {
			fmt.Fprintf(&b, "; token: %s", token)
		}
		b.WriteByte('\n')
	}
	for _, c := range r.Causes {
		fmt.Fprintf(&b, "skipped %s (%s): %s\n", c.who(), c.Kind, c.Text)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// counted returns the number and the noun, in the plural unless n is 1.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// LogValue returns what String shows, as a group, with 100 causes at most.
func (r Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Int("hosts", r.Hosts), slog.Int("ready", r.Ready), slog.Int("skipped", r.Skipped), slog.Int("not_taken", r.NotTaken),
		slog.Int("requests", r.Vault.Requests), slog.Int("retries", r.Vault.Retries), slog.Int64("waited_ms", r.Vault.Waited.Milliseconds()),
		milliseconds("median_ms", r.Vault.Median), milliseconds("p95_ms", r.Vault.P95), milliseconds("longest_ms", r.Vault.Longest),
	}
	if r.Vault.Requests > 0 {
		attrs = append(attrs, slog.String("run", r.Vault.RunID))
	}
	if token := r.Vault.Token.String(); token != "" {
		attrs = append(attrs, slog.String("token", token))
	}
	if expires := r.Vault.Token.Expires; !expires.IsZero() {
		attrs = append(attrs, slog.Time("token_expires", expires))
	}
	if len(r.Causes) > 0 {
		logged := r.Causes[:min(len(r.Causes), mostLogged)]
		lines := make([]causeLine, len(logged))
		for i, c := range logged {
			lines[i] = c.line()
		}
		attrs = append(attrs, slog.Any("causes", lines))
		if more := len(r.Causes) - len(logged); more > 0 {
			attrs = append(attrs, slog.Int("more_causes", more))
		}
	}
	if len(r.Findings) > 0 {
		attrs = append(attrs, slog.Any("findings", textsOf(r.Findings)))
	}
	return slog.GroupValue(attrs...)
}

// milliseconds logs a duration with three decimals.
func milliseconds(name string, d time.Duration) slog.Attr {
	return slog.Float64(name, float64(d.Microseconds())/1000)
}
