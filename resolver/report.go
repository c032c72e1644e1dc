package resolver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// Report sums up a run.
type Report struct {
	Hosts    int
	Ready    int         // hosts returned with all their credentials
	Skipped  int         // hosts returned with an error
	NotTaken int         // hosts left when the caller ended the loop
	Causes   []Cause     // why hosts were skipped; most hosts first
	Findings []Finding   // warnings and notices
	Vault    auth.Usage  // zero if Vault was not asked
	Token    *TokenState // nil if Vault accepted none
}

// Cause is one reason why hosts were skipped. A host can have several.
type Cause struct {
	Problem          // for the UI
	Text    string   `json:"-"` // the complete error, for the agent's log alone
	Hosts   []string `json:"hosts"`
}

// Report returns the report so far. It is complete after the loop.
func (r *Run) Report() Report { return r.inner().report() }

func (r *run) report() Report {
	r.mu.Lock()
	skipped := r.skipped // grows, and never changes
	report := Report{
		Hosts:    len(r.plan.hosts),
		Ready:    r.taken - len(skipped),
		Skipped:  len(skipped),
		NotTaken: len(r.plan.hosts) - r.taken,
		Findings: append(r.plan.oddLiterals(), r.findings...),
		Vault:    r.usage,
		Token:    r.token,
	}
	r.mu.Unlock()
	report.Causes = causesOf(skipped)
	return report
}

// MarshalJSON returns the report for the UI; see [FieldError.MarshalJSON].
func (r Report) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Hosts    int         `json:"hosts"`
		Ready    int         `json:"ready"`
		Skipped  int         `json:"skipped"`
		NotTaken int         `json:"not_taken"`
		Causes   []Cause     `json:"causes,omitempty"`
		Findings []Finding   `json:"findings,omitempty"`
		RunID    string      `json:"run_id,omitempty"`
		Requests int         `json:"requests"`
		Token    *TokenState `json:"token,omitempty"`
	}{r.Hosts, r.Ready, r.Skipped, r.NotTaken, r.Causes, r.Findings, r.Vault.RunID, r.Vault.Requests, r.Token})
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
		if r.Token != nil {
			fmt.Fprintf(&b, "; token: %s", r.Token)
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

// LogValue returns everything that String shows, as a group.
func (r Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Int("hosts", r.Hosts), slog.Int("ready", r.Ready), slog.Int("skipped", r.Skipped), slog.Int("not_taken", r.NotTaken),
		slog.Int("requests", r.Vault.Requests), slog.Int("retries", r.Vault.Retries), slog.Int64("waited_ms", r.Vault.Waited.Milliseconds()),
		milliseconds("median_ms", r.Vault.Median), milliseconds("p95_ms", r.Vault.P95), milliseconds("longest_ms", r.Vault.Longest),
	}
	if r.Vault.Longest > 0 { // Vault answered
		attrs = append(attrs, slog.String("run", r.Vault.RunID))
	}
	if t := r.Token; t != nil {
		attrs = append(attrs, slog.String("token", t.String()))
		if !t.Expires.IsZero() {
			attrs = append(attrs, slog.Time("token_expires", t.Expires))
		}
	}
	if len(r.Causes) > 0 {
		lines := make([]causeLine, len(r.Causes))
		for i, c := range r.Causes {
			lines[i] = causeLine{c}
		}
		attrs = append(attrs, slog.Any("causes", lines))
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

// String returns one line: the error and the hosts, by name if they are few.
func (c Cause) String() string { return c.Text + ": " + c.who() + " skipped" }

// few is how many hosts a line names; more are counted.
const few = 3

func (c Cause) who() string {
	if len(c.Hosts) <= few {
		names := make([]string, len(c.Hosts))
		for i, name := range c.Hosts {
			names[i] = quoted(name)
		}
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%d hosts", len(c.Hosts))
}

// LogValue returns the kind, the error and the hosts, as a group.
func (c Cause) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kind", string(c.Kind)), slog.String("reason", c.Text), slog.Int("skipped", len(c.Hosts)), slog.Any("hosts", c.Hosts))
}

// causeLine is a cause in the log of a report.
type causeLine struct{ Cause }

// String also names the kind.
func (c causeLine) String() string { return string(c.Kind) + ": " + c.Cause.String() }

// MarshalJSON omits the hosts if they are many.
func (c causeLine) MarshalJSON() ([]byte, error) {
	line := struct {
		Kind    Kind     `json:"kind"`
		Reason  string   `json:"reason"`
		Skipped int      `json:"skipped"`
		Hosts   []string `json:"hosts,omitempty"`
	}{c.Kind, c.Text, len(c.Hosts), nil}
	if len(c.Hosts) <= few {
		line.Hosts = c.Hosts
	}
	return json.Marshal(line)
}

// causesOf groups the errors of skipped hosts by their shared text, sorted by the
// number of hosts.
func causesOf(skipped []*HostError) []Cause {
	type group struct {
		Cause
		last *HostError // names may repeat, so they do not tell hosts apart
	}
	groups := make(map[string]*group, len(skipped)) // each host can have a cause of its own, with a long text
	for _, host := range skipped {
		for _, f := range host.Fields {
			text := f.cause()
			g := groups[text]
			if g == nil {
				g = &group{Cause: Cause{Problem: f.problem(), Text: text}}
				groups[text] = g
			}
			if g.last != host {
				g.last = host
				g.Hosts = append(g.Hosts, host.Host)
			}
		}
	}
	causes := make([]Cause, 0, len(groups))
	for _, g := range slices.SortedFunc(maps.Values(groups), func(a, b *group) int {
		return cmp.Or(len(b.Hosts)-len(a.Hosts), strings.Compare(a.Text, b.Text))
	}) {
		causes = append(causes, g.Cause)
	}
	return causes
}

// cause is the part of the error's text that all hosts share.
func (e *FieldError) cause() string {
	switch e.reach {
	case reachRun:
		return e.err.Error()
	case reachPath:
		return e.Ref.Path() + ": " + e.err.Error()
	}
	return e.Error()
}

// problem is the error for the UI, without what hosts do not share.
func (e *FieldError) problem() Problem {
	r := e.Ref
	if e.reach == reachRun {
		r = ref.Ref{}
	}
	return problemOf(e.err, r)
}
