package resolver

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// Verdicts is the result of a check. Its JSON is for the UI. If Connection.Kind is empty
// after decoding, the JSON was not a check.
type Verdicts struct {
	Connection Connection `json:"connection"`
	Fields     []Verdict  `json:"fields"`           // one for each field, in the same order
	Mounts     []Mount    `json:"mounts,omitempty"` // of the references, for Policy
	RunID      string     `json:"run_id,omitempty"` // in the agent's log, and in Vault's audit log if Vault was asked
}

// Verdict is the result of a check about one field.
type Verdict struct {
	Problem                 // OK, or why the field would not be resolved
	Version  int            `json:"version,omitempty"`  // of the KV v2 secret
	Created  time.Time      `json:"created,omitzero"`   // when that version was written
	Findings []auth.Finding `json:"findings,omitempty"` // warnings and notices
}

// String returns a few lines on the connection and the numbered fields. They are for the
// agent's log alone or, if v was decoded from JSON, for the UI.
func (v Verdicts) String() string {
	var b strings.Builder
	b.WriteString(v.Connection.lines())
	failed, alike := 0, 0
	for i, field := range v.Fields {
		if field.Kind != OK {
			failed++
			if field.Kind == v.Connection.Kind {
				alike++
				continue
			}
		}
		fmt.Fprintf(&b, "%d. %s\n", i+1, field)
		for _, finding := range field.Findings {
			fmt.Fprintf(&b, "   %s\n", finding)
		}
	}
	if failed > 0 {
		fmt.Fprintf(&b, "%d of %d fields would not be resolved", failed, len(v.Fields))
		if alike > 0 {
			fmt.Fprintf(&b, ", %d of them because of the connection", alike)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// LogValue returns v.String().
func (v Verdict) LogValue() slog.Value { return slog.StringValue(v.String()) }

// String returns one line; see [Verdicts.String].
func (v Verdict) String() string {
	what := quoted(v.Ref.String())
	switch {
	case v.Part != "":
		return v.outcome()
	case v.Ref.IsZero():
		what = "no reference to check"
	case v.Version != 0 && v.Created.IsZero(): // Vault sent no time, or one that JSON cannot hold
		what += fmt.Sprintf(" (version %d)", v.Version)
	case v.Version != 0:
		what += fmt.Sprintf(" (version %d, written %s)", v.Version, fault.Time(v.Created))
	}
	return what + ": " + v.outcome()
}

// LogValue returns the connection, the number of fields of each kind, and the complete
// error of each field after its number, as a group.
func (v Verdicts) LogValue() slog.Value {
	counts := make(map[string]int)
	for _, field := range v.Fields {
		counts[string(field.Kind)]++
	}
	attrs := []slog.Attr{
		slog.String("run_id", v.RunID),
		slog.Any("connection", v.Connection.Kind),
		slog.Int("fields", len(v.Fields)),
		slog.Any("kinds", counts),
	}
	if h := v.Connection.Health; h != nil {
		attrs = append(attrs, slog.String("vault_version", h.Version))
	}
	if v.Connection.Text != "" {
		attrs = append(attrs, slog.String("error", v.Connection.Text))
	}
	if errors := v.fieldErrors(); len(errors) > 0 {
		attrs = append(attrs, slog.Any("errors", errors))
	}
	if len(v.Connection.Findings) > 0 {
		attrs = append(attrs, slog.Any("findings", textsOf(v.Connection.Findings)))
	}
	return slog.GroupValue(attrs...)
}

// mostLogged is how many errors one line of a log should hold.
const mostLogged = 100

// fieldErrors are the errors of fields, except those of the connection's kind.
func (v Verdicts) fieldErrors() []string {
	var errors []string
	for i, field := range v.Fields {
		if field.Kind == OK || field.Kind == v.Connection.Kind {
			continue
		}
		if len(errors) == mostLogged {
			return append(errors, "…")
		}
		errors = append(errors, fmt.Sprintf("%d. %s", i+1, field))
	}
	return errors
}
