package session

import (
	"context"
	"time"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// afterRefusal makes sense of a 403. It reports whether there is a new token
// to send the request with.
func (s *session) afterRefusal(ctx context.Context, used *token, answer *client.Answer) (replaced bool, err error) {
	refusal := answer.Refusal
	if refusal == client.NotRefused {
		return false, nil
	}
	s.login.Lock()
	defer s.login.Unlock()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case s.fatal.Load() != nil:
		return false, s.fatal.Load()
	case s.current() != used:
		return true, nil // another request has replaced it already
	case refusal == client.BySource && !s.mayBeDead(used):
		return false, s.end(s.tokenRefused(used, answer))
	case refusal == client.ByPolicy:
		dead, err := s.isDead(ctx, used)
		if err != nil || !dead {
			return false, err
		}
	}
	return true, s.replace(ctx, used, answer)
}

// mayBeDead reports whether a token that was refused in the words for one that
// may not be used from here could be a dead one. On Vault 1.16 it is one that was
// good for a request before.
func (s *session) mayBeDead(t *token) bool {
	return !s.explicit && (!s.modern.Load() || t.worked.Load() || t.isExpired(time.Now()))
}

// isDead looks once whether a token that was refused in the words for a policy
// is a dead one: some requests to servers before Vault 1.16, and to OpenBao,
// are answered so.
func (s *session) isDead(ctx context.Context, t *token) (bool, error) {
	if s.modern.Load() || t.looked {
		return false, nil
	}
	t.looked = true
	answer, err := s.look(ctx, t, nil)
	if err != nil {
		return false, err
	}
	refusal := answer.Refusal
	return refusal == client.DeadToken || refusal == client.BySource, nil
}

// replace gets the one further token of a run: by a new login, or from the
// token file, which may hold a new one by now.
func (s *session) replace(ctx context.Context, dead *token, answer *client.Answer) error {
	if answer.Refusal == client.DeadToken {
		s.explicit = true
	}
	if s.again {
		return s.end(s.tokenRefused(dead, answer))
	}
	s.again = true
	t, err := s.obtain(ctx)
	if err != nil {
		if f, ok := err.(*fault.Error); ok {
			s.fatal.Store(f)
		}
		return err
	}
	if t.given && t.secret() == dead.secret() {
		return s.end(s.tokenRefused(dead, answer))
	}
	return nil
}

// end makes the fault that of every further request.
func (s *session) end(f *fault.Error) error {
	s.fatal.Store(f)
	return f
}

// tokenRefused is the fault of a token that is of no use, and cannot be
// replaced once more.
func (s *session) tokenRefused(t *token, answer *client.Answer) *fault.Error {
	f := &fault.Error{
		Kind: fault.Token, What: "the vault token is expired, revoked or used up",
		Cause: answer.ResponseError(nil),
	}
	if t.given && !t.worked.Load() {
		f.What += ", or it is another Vault's or namespace's"
	}
	if s.again && !t.given {
		f.Detail = "for a second time in this run"
	}
	switch {
	case !t.given:
		f.Do = "give the role a longer token_ttl and token_num_uses=0"
	default:
		f.Do = s.config.Method.Renew
	}
	if answer.Refusal == client.DeadToken {
		return f
	}
	f.What, f.Detail = "vault refuses the token itself", answer.Words()+" at "+s.client.Address()
	f.Do = "check that it may be used from the Patch server's address (token_bound_cidrs), and that its entity is not disabled"
	if s.mayBeDead(t) {
		f.Do = "check that it is not expired, revoked or used up, that it may be used from the Patch server's address (token_bound_cidrs), and that its entity is not disabled"
	}
	return f
}
