package session

import (
	"context"
	"net/http"
	"time"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// addStray has a token revoked that came with the answer, and is not the run's.
func (s *session) addStray(answer *client.Answer) {
	if t, _ := s.accept(answer); t != nil {
		s.mu.Lock()
		s.strays = append(s.strays, t)
		s.mu.Unlock()
	}
}

// revoke ends the tokens that the run logged in, within a time of its own: the
// caller may have cancelled long since.
func (s *session) revoke(ctx context.Context) {
	s.mu.Lock()
	tokens := append(s.strays, s.token)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoments)
	defer cancel()
	for _, t := range tokens {
		if t != nil && !t.keep {
			s.revokeOne(ctx, t)
		}
	}
}

func (s *session) revokeOne(ctx context.Context, t *token) {
	r := client.Request{Method: http.MethodPost, Path: "auth/token/revoke-self", Header: t.own, Body: []byte("{}")}
	var answer *client.Answer
	reason := "vault did not answer"
	once := func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		answer, f = s.client.Send(ctx, r, limit)
		if f != nil && f.Kind != fault.Unreachable {
			reason = f.What + ": " + f.Detail
		}
		return f
	}
	var err error
	if s.patience.Over() != nil { // Vault is gone: ask once, wait for nothing
		if f := once(ctx, lastMoments); f != nil {
			err = f
		}
	} else {
		err = patience.New(lastMoments, 0, 0).Do(ctx, once)
	}
	if err == nil && (answer.Ok() || answer.Refusal == client.DeadToken) {
		return
	}
	if err == nil {
		reason = "vault answered: " + answer.Words()
	}
	until := "until it expires"
	if !t.facts.Expires.IsZero() {
		until = "until " + fault.Time(t.facts.Expires)
	}
	s.warn(Finding{Code: TokenNotRevoked, Text: "the run's token could not be revoked and lives " + until + "; grant update on auth/token/revoke-self, or give the role a short token_ttl", Detail: reason})
}
