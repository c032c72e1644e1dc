// Package fault is what went wrong between a reference and its credential:
// a kind, a text for the agent's log, a fix that the UI may show, and the
// cause. Kinds are exported to callers by package resolver.
package fault

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Kind is an error and, as it stands, a code in JSON.
type Kind string

// Error returns the code.
func (k Kind) Error() string { return string(k) }

// The kinds. Package resolver documents each where callers find it.
const (
	NotConfigured Kind = "not_configured"
	Settings      Kind = "settings"
	Environment   Kind = "environment"
	Pinned        Kind = "pinned"
	Unreachable   Kind = "unreachable"
	TLS           Kind = "tls"
	Sealed        Kind = "sealed"
	NoActiveNode  Kind = "no_active_node"
	ServerError   Kind = "server_error"
	RateLimited   Kind = "rate_limited"
	BadResponse   Kind = "bad_response"
	Login         Kind = "login"
	Token         Kind = "token"
	Denied        Kind = "denied"
	NotFound      Kind = "not_found"
	Deleted       Kind = "deleted"
	NoVersion     Kind = "no_version"
	KVVersion     Kind = "kv_version"
	NotKV         Kind = "not_kv"
	NotForHost    Kind = "not_for_host"
	NoKey         Kind = "no_key"
	BadValue      Kind = "bad_value"
	BadReference  Kind = "bad_reference"
)

// Retry says what may become of a request that was not answered.
type Retry int

const (
	Never Retry = iota // the same request would fail alike
	Later              // Vault, or the way to it, may recover
	Paced              // Vault asked for fewer requests
)

// Error is one fault. Its text is complete and for the agent's log alone: it
// may hold Vault's own words and addresses. Fix may be shown to whoever edits
// a field in the UI.
type Error struct {
	Kind   Kind
	What   string // what happened, in lower case, without a secret
	Detail string // the concrete cause, printed in parentheses; may be empty
	Do     string // what to do; may be empty
	Fix    string // what the UI may say; empty means the advice of the kind
	Cause  error  // Vault's or the network's own error; may be nil

	// Tried is how long the request was repeated; 0 where it was not.
	Tried time.Duration

	// The rest is for the sender of the request.

	Retry      Retry
	Unsent     bool          // Vault surely did not act on the request
	RetryAfter time.Duration // what Vault asked for; 0 if it said nothing
}

// New makes a fault that no retry mends, without detail or cause.
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

// After is the fault once the request has been repeated for as long as tried.
func (e *Error) After(tried time.Duration) *Error {
	repeated := *e
	repeated.Tried, repeated.Retry = tried, Never
	return &repeated
}

// UIFix is what the UI may say.
func (e *Error) UIFix() string {
	if e.Fix != "" {
		return e.Fix
	}
	return e.Kind.Advice()
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Duration prints d as a person would say it: 30 days, 5 hours, 60s, 2.5s, 20ms.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d.Round(time.Hour)/time.Hour)
	case d >= 10*time.Second:
		return fmt.Sprintf("%ds", int(d.Round(time.Second).Seconds()))
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// maxWords is how much of another program's text goes into ours, in bytes.
const maxWords = 240

// Words makes text that another program wrote fit to stand in one line of a
// log: white space folded, anything that cannot be printed left out, cut short.
func Words(text string) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			continue
		}
		if b.Len() > maxWords {
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
