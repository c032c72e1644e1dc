package auth

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

const (
	soon        = 7 * 24 * time.Hour // a given token with less to live is worth a warning
	lastMoments = 2 * time.Second    // for a login cut off by cancelling, and for a revocation
)

// Token is what is known of the run's token; never the token itself.
type Token struct {
	Given     bool      // by VAULT_TOKEN or VAULT_TOKEN_FILE; else logged in
	Batch     bool      // cannot be revoked or renewed
	Known     bool      // Vault told the rest; it may refuse to
	Expires   time.Time // zero means never
	UsesLeft  int       // 0 means any number
	Renewable bool
	Policies  []string
}

// String is one line for a person; empty if there is no token.
func (t Token) String() string {
	var words []string
	switch {
	case t.Given:
		words = append(words, "given")
	case t.Known:
		words = append(words, "by login")
	default:
		return ""
	}
	if !t.Known {
		return words[0] + ", may not look at itself"
	}
	if t.Batch {
		words = append(words, "of type batch")
	}
	if t.Expires.IsZero() {
		words = append(words, "does not expire")
	} else {
		words = append(words, "expires at "+fault.Time(t.Expires))
	}
	if t.UsesLeft > 0 {
		words = append(words, fmt.Sprintf("uses left: %d", t.UsesLeft))
	}
	return strings.Join(words, ", ")
}

// token is a token with what it takes to send it.
type token struct {
	secret ref.Secret
	header http.Header // of reads
	own    http.Header // of requests about the token itself, in its own namespace
	given  bool
	keep   bool        // not to be revoked
	looked bool        // at itself; guarded by session.login
	worked atomic.Bool // for a request of the run, or a look
	facts  Token
}

func (t *token) isExpired(now time.Time) bool {
	return !t.facts.Expires.IsZero() && now.After(t.facts.Expires)
}

// open gets the run's first token, and looks at it if it was given.
func (s *session) open(ctx context.Context) error {
	t, err := s.obtain(ctx)
	if err != nil || !t.given {
		return err
	}
	return s.examine(ctx, t)
}

// obtain gets a token and makes it the session's.
func (s *session) obtain(ctx context.Context) (*token, error) {
	var f files
	defer func() {
		for _, finding := range f.findings {
			s.warn(finding)
		}
	}()
	if s.plan.name == tokenMethod && s.plan.handedIn == nil {
		secret, err := f.credential(s.plan.token)
		if err != nil {
			return nil, err
		}
		t := s.newToken(secret, "")
		t.given, t.keep, t.facts.Given = true, true, true
		s.setToken(t)
		return t, nil
	}
	return s.logIn(ctx, &f)
}

func (s *session) newToken(secret, index string) *token {
	t := &token{
		secret: ref.NewSecret(secret),
		header: s.client.Header(secret, s.plan.namespace),
		own:    s.client.Header(secret, s.plan.loginNamespace),
	}
	if index != "" {
		// A performance standby must have heard of the token before it is used.
		t.header["X-Vault-Index"] = []string{index}
		t.own["X-Vault-Index"] = []string{index}
	}
	return t
}

func (s *session) setToken(t *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = t
}

func (s *session) facts() Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return Token{}
	}
	return s.token.facts
}
