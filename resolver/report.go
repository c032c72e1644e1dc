package resolver

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// Report sums up a run. Its JSON is for the UI, and lacks retries and times.
type Report struct {
	Hosts      int            `json:"hosts"`
	Ready      int            `json:"ready"`              // hosts returned with all their credentials
	Skipped    int            `json:"skipped"`            // hosts returned with an error
	NotTaken   int            `json:"not_taken"`          // hosts not returned yet, or left when the caller ended the loop
	Causes     []Cause        `json:"causes,omitempty"`   // why hosts were skipped; most hosts first
	Findings   []auth.Finding `json:"findings,omitempty"` // warnings and notices, including those of Usage
	auth.Usage                // zero if Vault was not needed
}

// Report returns the report so far, to any goroutine. It is complete after the loop.
func (r *Run) Report() Report { return r.inner().report() }

func (r *run) report() Report {
	r.mu.Lock()
	skipped := r.skipped // append only
	report := Report{
		Hosts:    len(r.plan.hosts),
		Ready:    r.taken - len(skipped),
		Skipped:  len(skipped),
		NotTaken: len(r.plan.hosts) - r.taken,
		Findings: slices.Clone(r.findings),
		Usage:    r.usage,
	}
	r.mu.Unlock()
	report.Causes = causesOf(skipped)
	return report
}

// String returns the report in a few lines. They are for the agent's log alone or, if r was
// decoded from JSON, for the UI.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d ready, %d skipped", counted(r.Hosts, "host"), r.Ready, r.Skipped)
	if r.NotTaken > 0 {
		fmt.Fprintf(&b, ", %d not taken", r.NotTaken)
	}
	if r.Requests > 0 {
		fmt.Fprintf(&b, "; %s", counted(r.Requests, "request"))
		if r.Retries > 0 { // a decoded report lacks them
			fmt.Fprintf(&b, " (%d of them retries)", r.Retries)
		}
		if r.Waited > 0 {
			fmt.Fprintf(&b, ", waited %s for Vault", fault.Duration(r.Waited))
		}
		if r.Longest > 0 {
			fmt.Fprintf(&b, ", answers in %s (median), %s (95th percentile), %s (longest)", fault.Duration(r.Median), fault.Duration(r.P95), fault.Duration(r.Longest))
		}
	}
	b.WriteByte('\n')
	if r.Longest > 0 { // Vault answered
		fmt.Fprintf(&b, "run %s in Vault's audit log", r.RunID)
		if token := r.Token.String(); token != "" {
			fmt.Fprintf(&b, "; token: %s", token)
		}
		b.WriteByte('\n')
	}
	for _, c := range r.Causes {
		fmt.Fprintf(&b, "skipped %s (%s): %s\n", c.who(), c.Kind, c.text())
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
	usage := r.Usage
	usage.Findings = r.Findings
	attrs := append([]slog.Attr{
		slog.Int("hosts", r.Hosts), slog.Int("ready", r.Ready), slog.Int("skipped", r.Skipped), slog.Int("not_taken", r.NotTaken),
	}, usage.LogValue().Group()...)
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
	return slog.GroupValue(attrs...)
}
