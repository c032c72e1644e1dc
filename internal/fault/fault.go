// Package fault is what went wrong between a reference and its credential:
// a kind, a text for the agent's log, a fix that the UI may show, and the
// cause. Kinds are exported to callers by package resolver.
package fault

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"strings"
	"time"
)

// Error is one fault. Its text is complete and for the agent's log alone: it
// may hold Vault's own words and addresses. Fix may be shown to whoever edits
// a field in the UI.
type Error struct {
	Kind   Kind
	What   string // what happened, in lower case, without a secret
	Detail string // the concrete cause, printed in parentheses; may be empty
	Do     string // what to do; may be empty
	Reason string // what the UI may say is so; empty means the reason of the kind
	Fix    string // what the UI may say to do; empty means the fix of the kind
	Cause  error  // Vault's or the network's own error; may be nil

	Tried time.Duration // how long the request was repeated; 0 where it was not
	Run   bool          // every request of the run fails with it
}

// New makes a fault without detail or cause.
func New(kind Kind, what, do string) *Error {
	return &Error{Kind: kind, What: what, Do: do}
}

// Error is one line: what (detail, tried for …); do.
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

// After returns the fault of a request that was repeated for as long as tried.
func (e *Error) After(tried time.Duration) *Error {
	repeated := *e
	repeated.Tried = tried
	return &repeated
}

// OfRun returns the fault as one with which every request of the run fails.
func (e *Error) OfRun() *Error {
	shared := *e
	shared.Run = true
	return &shared
}

// LogValue logs the complete text.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// MarshalJSON returns what the UI may show: the rest is for the agent's log.
func (e *Error) MarshalJSON() ([]byte, error) {
	reason, fix := e.ForUI()
	return json.Marshal(struct {
		Kind   Kind   `json:"kind"`
		Reason string `json:"reason"`
		Fix    string `json:"fix"`
	}{e.Kind, reason, fix})
}

// ForUI is what the UI may say: what is so, and what to do.
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
