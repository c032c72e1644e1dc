package auth

import (
	"context"
	"net/http"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// afterRefusal handles a 403, after which the session may have another token. If the
// request's context ends first, a login goes on for other requests.
func (s *session) afterRefusal(request *http.Request, used *token, answer *reply.Answer) error {
	handled := make(chan error, 1)
	go func() { handled <- s.replaceIfDead(s.logins.Run, request, used, answer) }()
	select {
	case err := <-handled:
		return err
	case <-request.Context().Done():
		return request.Context().Err()
	}
}

// replaceIfDead replaces the token used if the answer shows that it is dead. A denial by
// policy does not, unless the token's time to live is over. For some requests, OpenBao and
// Vault before 1.16 say the same of a dead token; the next read then shows it. A proxy may
// deny an optional request alone, in Vault's words. So a token that Vault has accepted is
// looked up first; for any other token, the next request decides.
func (s *session) replaceIfDead(ctx context.Context, request *http.Request, used *token, answer *reply.Answer) error {
	refusal := answer.Refusal()
	s.login.Lock()
	defer s.login.Unlock()
	isAlive := refusal == reply.BareDenial && !used.mayBeDead() // but may not be used from here
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.fatal.Load() != nil:
		return s.fatal.Load()
	case s.token.Load() != used:
		return nil // another request has replaced it already
	case !refusal.IsOfToken() && !used.isExpired():
		return nil
	case !transport.Decides(request) && (isAlive || used.facts.UsesLeft != nil):
		return nil // the next request decides, without a look-up that costs a use
	case transport.IsOptional(request) && used.isProven():
		ctx, client := s.about(ctx, used, s.reads)
		look, _, err := s.look(ctx, client)
		if err != nil {
			return ctx.Err()
		}
		if !look.Refusal().IsOfToken() {
			return nil
		}
	}
	if isAlive {
		return s.end(s.tokenRefused(used, answer))
	}
	return s.replace(ctx, used, answer)
}

// mayBeDead reports whether a bare denial may mean that the token is dead. It can also
// mean that the token may not be used from here.
func (t *token) mayBeDead() bool {
	wasAccepted := t.facts.Given && t.isProven() // by a look-up that a policy denied
	return wasAccepted || t.mayHaveServed() || t.isExpired()
}

// replace gets a new token in place of a dead one, by a login or from the token file:
//
//	of a login, served, expired           a login, as often as that happens
//	of a login, not served, expired       a login up to three times in a row, if an earlier one served: its time to live is too short, or Vault is slow
//	of a login, served, revoked, used up  a login, once in a run
//	of a login, not served, not expired   none: the run ends
//	of a login, batch                     as one that expired: such a token cannot be revoked or used up, and dies up to a second early
//	given, served                         what the file holds by now, as often as that happens
//	given, not served                     what the file holds by now, once in a run
//
// The run also ends if the file holds the same token. The caller has locked s.login.
func (s *session) replace(ctx context.Context, dead *token, answer *reply.Answer) error {
	if answer.Refusal() == reply.DeadToken || dead.isExpired() {
		s.door.disown(dead)
	}
	served, given := dead.mayHaveServed(), dead.facts.Given
	if served {
		s.spare = 3
	}
	switch {
	case served && given, (dead.isExpired() || dead.facts.Batch) && s.spare > 0:
		if !served {
			s.spare--
		}
		select {
		case <-time.After(time.Until(s.obtainedAt.Add(time.Second))):
		case <-ctx.Done():
			return ctx.Err()
		}
	case (served || given) && !s.replaced:
		s.replaced = true
	default:
		return s.end(s.tokenRefused(dead, answer))
	}
	t, err := s.obtain(ctx)
	switch f, isFault := err.(*fault.Error); {
	case isFault:
		return s.end(f)
	case err != nil:
		return err
	case t == dead:
		return s.end(s.tokenRefused(dead, answer))
	case s.loginCount == 3:
		s.findings.add(Finding{Code: TokenTTLShort, Text: "the token expired repeatedly: the run logged in three times or more; raise token_ttl of the role, and max_lease_ttl of its mount if that is less, since each login also takes one use of a limited secret id"})
	}
	return nil
}

// end fails all further requests with the fault.
func (s *session) end(f *fault.Error) error {
	f = f.OfRun()
	s.fatal.Store(f)
	return f
}

// tokenRefused is the fault for a token that Vault refuses and that cannot be
// replaced.
func (s *session) tokenRefused(t *token, answer *reply.Answer) *fault.Error {
	given := t.facts.Given
	renewal := "give the role a longer token_ttl, which max_lease_ttl of its mount limits, and token_num_uses=0"
	if given {
		renewal = s.config.credentials.credential.renewal()
	}
	f := &fault.Error{Kind: fault.Token, Cause: answer.ResponseError()}
	if answer.Refusal() == reply.DeadToken {
		f.What, f.Do = "the vault token is expired, revoked or used up", renewal
		if given && !t.hasServed() {
			f.What += ", is a wrapping token, or belongs to another Vault or namespace"
		}
		return withOddity(f, t.odd)
	}
	alive := ""
	if given || t.mayBeDead() {
		alive = "it is not expired, revoked or used up (if it is, " + renewal + "), that "
	}
	f.What, f.Detail = "vault refuses the token itself", answer.Words()+" at "+s.wire.Address()
	f.Do = "check that " + alive + "it may be used from the Patch server's address as Vault sees it (token_bound_cidrs), that its entity is not disabled, and that no proxy in front of Vault drops the header X-Vault-Token"
	return withOddity(f, t.odd)
}
