// Package fault describes what went wrong between a reference and its credential. A
// fault has a kind, a text for the agent's log, a fix for the UI, and a cause. Package
// resolver exports the kinds.
package fault

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"strings"
	"time"
)

// Error is a fault. Its text may hold Vault's own words and addresses, so it is for the
// agent's log alone.
type Error struct {
	Kind   Kind
	What   string // what happened, in lower case, without a secret
	Detail string // the concrete cause, shown in parentheses; may be empty
	Do     string // what to do; may be empty
	Reason string // what is wrong, for the UI; empty means that of the kind
	Fix    string // what to do, for the UI; empty means that of the kind
	Cause  error  // Vault's or the network's own error; may be nil

	Tried time.Duration // how long the request was repeated; 0 if it was not
	Run   bool          // every request of the run fails with this fault
}

// New returns a fault without detail or cause.
func New(kind Kind, what, do string) *Error {
	return &Error{Kind: kind, What: what, Do: do}
}

// Error returns one line: what (detail, tried for …); do.
func (e *Error) Error() string {
	text := e.What
	detail := e.Detail
	if e.Tried > 0 {
		detail = strings.TrimPrefix(detail+", tried for "+Duration(e.Tried), ", ")
	}
	if detail != "" {
		text += " (" + detail + ")"
	}
	if e.Do != "" {
		text += "; " + e.Do
	}
	return text
}

// After returns the same fault for a request that was repeated for that long.
func (e *Error) After(tried time.Duration) *Error {
	repeated := *e
	repeated.Tried = tried
	return &repeated
}

// OfRun returns the same fault for every request of the run.
func (e *Error) OfRun() *Error {
	shared := *e
	shared.Run = true
	return &shared
}

// LogValue returns e.Error().
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// MarshalJSON returns what the UI may show.
func (e *Error) MarshalJSON() ([]byte, error) {
	reason, fix := e.ForUI()
	return json.Marshal(struct {
		Kind   Kind   `json:"kind"`
		Reason string `json:"reason"`
		Fix    string `json:"fix"`
	}{e.Kind, reason, fix})
}

// ForUI returns what is wrong and what to do, for the UI.
func (e *Error) ForUI() (reason, fix string) {
	reason, fix = e.Kind.Advice()
	return cmp.Or(e.Reason, reason), cmp.Or(e.Fix, fix)
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
