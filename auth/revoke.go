package auth

import (
	"context"
	"sync"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// revoke revokes the tokens of the session's logins. It has a time limit of its own,
// since the caller may have canceled ctx.
func (s *session) revoke(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoments)
	defer cancel()
	chain := &transport.Retry{
		Patience: patience.New(3*lastMoments, patience.Limits{}), // ctx ends earlier; the look-up gets a quarter of this
		Wire:     s.wire, Run: ctx,
		Once: s.patience.Over() != nil, // Vault is down
	}
	var revoking sync.WaitGroup
	for _, t := range s.door.owned() {
		revoking.Go(func() { s.revokeOne(ctx, t, chain) })
	}
	revoking.Wait()
}

// revokeOne revokes a token if its look-up shows the accessor of its login. A Vault
// Agent or Proxy can put its own token in place of ours, and revoke-self would then
// revoke that one.
func (s *session) revokeOne(ctx context.Context, t *token, chain *transport.Retry) {
	const grant = "grant read on auth/token/lookup-self and update on auth/token/revoke-self, give the role a short token_ttl (1m), or use a batch token"
	ctx, client := s.about(ctx, t, chain)
	answer, data, err := s.look(ctx, client)
	switch {
	case err != nil:
		s.warnNotRevoked(t, "was not revoked, because Vault did not answer its look-up,", grant, whyUnanswered(err, chain.Patience))
		return
	case s.saysDead(t, answer):
		return
	case !answer.Ok():
		s.warnNotRevoked(t, "was not revoked, because it may not look itself up,", grant, "vault answered: "+answer.Words())
		return
	case data == nil || t.accessor == "" || data.Accessor != t.accessor:
		s.warnNotRevoked(t, "was not revoked, because Vault shows another token in its place,", "a Vault Agent or Proxy in front of Vault uses its own token: connect to Vault itself, or use auth_method token; give the role a short token_ttl (1m), or use a batch token", "")
		return
	}
	answer, err = reply.Write(transport.WithOwn(ctx, transport.Own{Harmless: true}), client, "auth/token/revoke-self", struct{}{}, nil)
	switch {
	case err != nil:
		s.warnNotRevoked(t, "could not be revoked", grant, whyUnanswered(err, chain.Patience))
	case !answer.Ok() && !s.saysDead(t, answer):
		s.warnNotRevoked(t, "could not be revoked", grant, "vault answered: "+answer.Words())
	}
}

// warnNotRevoked warns that a token lives on, unless its token_ttl is as short as the warning
// asks for.
func (s *session) warnNotRevoked(t *token, what, do, detail string) {
	if t.expiresWithin(time.Minute) {
		return
	}
	until := "it expires"
	if !t.facts.Expires.IsZero() {
		until = fault.Time(t.facts.Expires)
	}
	s.findings.add(Finding{Code: TokenNotRevoked, Text: "the run's token " + what + " and lives until " + until + "; " + do, Detail: detail})
}

// saysDead reports whether an answer to a token that worked says that it is dead.
// OpenBao and Vault before 1.17 have no distinct words for that; a token that was replaced
// after such an answer counts as dead.
func (s *session) saysDead(t *token, answer *reply.Answer) bool {
	switch answer.Refusal() {
	case reply.DeadToken:
		return true
	case reply.BareDenial:
		return (!t.modern || t != s.token.Load()) && t.mayBeDead()
	}
	return false
}

// whyUnanswered says why a request was not answered.
func whyUnanswered(err error, p *patience.Patience) string {
	if _, ok := err.(*fault.Error); ok {
		return err.Error()
	}
	if _, last := p.Silence(); last != nil {
		return last.Error() // says more than that time ran out
	}
	return "vault did not answer within " + fault.Duration(lastMoments)
}
