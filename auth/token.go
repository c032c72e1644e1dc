package auth

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
)

// Token describes the token in use. The zero Token means that there is none.
type Token struct {
	Given     bool      `json:"given"`               // by VAULT_TOKEN or VAULT_TOKEN_FILE; otherwise it comes from a login
	Batch     bool      `json:"batch,omitempty"`     // cannot be revoked or renewed
	Proven    bool      `json:"-"`                   // Vault accepted the token
	Known     bool      `json:"known"`               // Vault reported expiry, uses and policies; otherwise they are zero
	Expires   time.Time `json:"expires,omitzero"`    // zero if it never expires; in reports and checks, also zero for the token of a login
	TTL       int       `json:"ttl,omitempty"`       // time to live in seconds; 0 if it never expires
	UsesLeft  *int      `json:"uses_left,omitempty"` // nil if there is no limit; for a given token in reports and checks, what is left after their reads
	Renewable bool      `json:"-"`
	Policies  []string  `json:"-"` // including those of its entity
	Namespace string    `json:"-"` // in which it was created; empty for the root namespace
	Located   bool      `json:"-"` // Vault named the Namespace; otherwise it is assumed to be that of the login
}

// String describes the token in one line. It is empty if there is none.
func (t Token) String() string {
	words := []string{"by login"}
	if t.Given {
		words[0] = "given"
	}
	switch {
	case !t.Given && !t.Known:
		return ""
	case !t.Known:
		return words[0] + ", expiry unknown"
	}
	if t.Batch {
		words = append(words, "of type batch")
	}
	ttl := fault.Duration(time.Duration(t.TTL) * time.Second)
	switch {
	case t.TTL == 0:
		words = append(words, "does not expire")
	case t.Expires.IsZero():
		words = append(words, "time to live "+ttl)
	default:
		words = append(words, "expires at "+fault.Time(t.Expires)+", in "+ttl)
	}
	if t.UsesLeft != nil {
		words = append(words, fmt.Sprintf("uses left: %d", *t.UsesLeft))
	}
	return strings.Join(words, ", ")
}

// LogValue returns t.String().
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// tokenKey is the key of a func() *session: printing a context would print a session.
type tokenKey struct{}

// TokenOf describes the token in use, given the context that [Vault.Do] passed to
// use. For other contexts it returns the zero Token.
func TokenOf(ctx context.Context) Token {
	if session, ok := ctx.Value(tokenKey{}).(func() *session); ok {
		return session().facts()
	}
	return Token{}
}

// token is a token and what is known of it.
type token struct {
	secret   string
	facts    Token        // without Proven and TTL, which session.facts adds; only examine and renew change it, before use is called
	standing atomic.Int32 // see tokenUnproven

	// Of a token from a login.
	accessor string
	index    string // X-Vault-Index of the login, set by the door: a performance standby must know the token before it accepts it
	modern   bool   // set by the door if the login's answer tells the mount type, as since Vault 1.16; others say only permission denied of a dead token

	// Of a given token.
	odd     string // what is unusual about it
	foreign bool   // set by examine if its look-up was answered as Vault never does: only an answer with data shows then that it is served
}

// The standing of a token is what Vault's answers have shown of it. It only rises:
//
//	it was given, or a handed-in method returned it from elsewhere    unproven
//	the door saw Vault make it                                        accepted
//	a policy denied its look-up, or a request that is not optional    accepted
//	its look-up described it                                          served
//	a request with it was answered as isServed wants                  served
const (
	tokenUnproven int32 = iota
	tokenAccepted
	tokenServed
)

func (t *token) setAccepted() { t.standing.CompareAndSwap(tokenUnproven, tokenAccepted) }
func (t *token) setServed()   { t.standing.Store(tokenServed) }

// isProven reports whether Vault accepted the token.
func (t *token) isProven() bool { return t.standing.Load() >= tokenAccepted }

// hasServed reports whether Vault served a request with the token, or described it.
func (t *token) hasServed() bool { return t.standing.Load() == tokenServed }

// mayHaveServed is hasServed, as far as is known. A token with a limited number of uses can be
// used up before the first answer arrives.
func (t *token) mayHaveServed() bool { return t.hasServed() || t.facts.UsesLeft != nil }

// newToken returns the token of a login in the namespace.
func (s *session) newToken(a *reply.Auth, namespace string, sent time.Time) *token {
	s.wire.Sent.Learn(a.ClientToken) // first: a server could name it as a policy
	t := &token{secret: a.ClientToken, accessor: a.Accessor, facts: Token{
		Batch: a.Type == "batch" || a.Type == "" && a.Accessor == "", Known: true,
		UsesLeft: usesLeft(a.NumUses), Renewable: a.Renewable, Policies: s.shown(a.Policies), Namespace: namespace,
	}}
	if a.LeaseDuration > 0 {
		t.facts.Expires = sent.Add(seconds(a.LeaseDuration))
	}
	return t
}

// seconds converts a time from Vault, limited to a hundred years.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, 100*365*24*60*60)) * time.Second
}

// shown cleans names from Vault for messages.
func (s *session) shown(names []string) []string {
	const most = 32
	var shown []string
	for _, name := range names[:min(len(names), most)] {
		shown = append(shown, s.wire.Sent.Words(name))
	}
	return shown
}

// sign returns the header of a request with the token.
func (t *token) sign(header http.Header) http.Header {
	header = maps.Clone(header) // a RoundTripper does not change what it is given
	header.Set(api.AuthHeaderName, t.secret)
	if t.index != "" {
		header["X-Vault-Index"] = append(slices.Clip(header["X-Vault-Index"]), t.index) // a caller may need a later state
	}
	return header
}

func (t *token) isExpired() bool { return t.expiresWithin(0) }

func (t *token) expiresWithin(d time.Duration) bool {
	return !t.facts.Expires.IsZero() && time.Until(t.facts.Expires) <= d
}

// facts describes the session's token.
func (s *session) facts() Token {
	t := s.token.Load()
	if t == nil {
		return Token{}
	}
	facts := t.facts // with copies, since the caller may change them
	facts.Policies = slices.Clone(facts.Policies)
	if facts.UsesLeft != nil {
		facts.UsesLeft = new(*facts.UsesLeft)
	}
	facts.Proven = t.isProven()
	if !facts.Expires.IsZero() {
		facts.TTL = max(int(time.Until(facts.Expires).Round(time.Second).Seconds()), 1)
		facts.Expires = facts.Expires.Truncate(time.Second).UTC()
	}
	return facts
}

// usesLeft returns the number of uses in an answer, where Vault writes 0 for no limit.
func usesLeft(n int) *int {
	if n <= 0 {
		return nil
	}
	return &n
}
