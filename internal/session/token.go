package session

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
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

// token is a token with what it takes to send it.
type token struct {
	secret func() string // a func, for no print through reflection finds it
	header http.Header   // of reads
	own    http.Header   // of requests about the token itself, in its own namespace
	given  bool
	keep   bool        // not to be revoked
	looked bool        // at itself; guarded by session.login
	worked atomic.Bool // for a request of the run, or a look
	facts  Token
}

func (t *token) isExpired(now time.Time) bool {
	return !t.facts.Expires.IsZero() && now.After(t.facts.Expires)
}

// begin gets the run's first token, and looks at it if it was given.
func (s *session) begin(ctx context.Context) error {
	t, err := s.obtain(ctx)
	if err != nil || !t.given {
		return err
	}
	return s.examine(ctx, t)
}

// obtain gets a token and makes it the session's.
func (s *session) obtain(ctx context.Context) (*token, error) {
	if s.config.Method.Token != nil {
		secret, err := s.config.Method.Token(s.warn)
		if err != nil {
			return nil, err
		}
		t := s.newToken(secret, "")
		t.given, t.keep, t.facts.Given = true, true, true
		s.setToken(t)
		return t, nil
	}
	return s.logIn(ctx)
}

func (s *session) newToken(secret, index string) *token {
	t := &token{
		secret: func() string { return secret },
		header: s.client.Header(secret, s.config.Namespace),
		own:    s.client.Header(secret, s.config.LoginNamespace),
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
