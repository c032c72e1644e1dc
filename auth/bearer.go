package auth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// bearer is a RoundTripper that adds the session's token. It replaces a dead token
// with one login for all requests under way.
type bearer struct{ session *session }

func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	s := b.session
	if err := s.mayHaveToken(request); err != nil {
		return nil, err
	}
	request, err := transport.Replayable(request)
	if err != nil {
		return nil, err
	}
	for {
		if f := s.fatal.Load(); f != nil {
			return nil, f
		}
		t := s.current()
		response, err := s.reads.Send(request, t.sign(request.Header))
		if err != nil {
			if f, ok := err.(*fault.Error); ok && f.Kind == fault.Token {
				return nil, withOddity(f, t.odd)
			}
			return nil, err
		}
		if response.StatusCode != http.StatusForbidden || s.isLogin(request) {
			if isServed(request, response) {
				t.served.Store(true)
			}
			if !s.modern.Load() && reply.TellsMountType(response) {
				s.modern.Store(true)
			}
			return response, nil
		}
		answer, err := reply.Parse(&api.Response{Response: response}, nil)
		if err != nil {
			return nil, err
		}
		replaced, err := s.afterRefusal(request.Context(), t, answer)
		if err != nil {
			return nil, err
		}
		if !replaced {
			if answer.Refusal() == reply.ByPolicy && !transport.IsMountList(request) {
				t.accepted.Store(true)
			}
			return response, nil
		}
	}
}

// isLogin reports whether a request is a caller's own login, whose refusal is about the
// credentials in it.
func (s *session) isLogin(request *http.Request) bool {
	path, _ := apiPath(request.URL, s.config.address)
	segments := strings.Split(path, "/")
	return segments[0] == "auth" && slices.Contains(segments, "login") && !transport.IsOwn(request)
}

// isServed reports whether an answer shows that Vault accepted the token.
func isServed(request *http.Request, response *http.Response) bool {
	switch {
	case transport.IsMountList(request) && reply.ListsNothing(response):
		return false // Vault sends such a list without a token, too
	case response.StatusCode == http.StatusNoContent:
		return !transport.IsHarmless(request) // no read is answered so
	}
	return response.StatusCode == http.StatusOK || response.StatusCode == http.StatusNotFound
}

// mayHaveToken returns an error if a request must not get the token: it is for
// another server, has a token of its own, or is too late.
func (s *session) mayHaveToken(request *http.Request) error {
	switch {
	case s.returned.Load():
		return errors.New("vault: the client must not be used after Do; the request was not sent")
	case request.Header.Get(api.AuthHeaderName) != "" || request.Header.Get("Authorization") != "":
		return errors.New("vault: the client adds its token by itself; a request with another one is not sent (call ClearToken on a client that has one)")
	case !s.isForVault(request):
		return errors.New("vault: the token is not sent to an address other than the one in the settings")
	}
	return nil
}

// isForVault reports whether a request is for the API of the Vault in the settings.
func (s *session) isForVault(request *http.Request) bool {
	_, ok := apiPath(request.URL, s.config.address)
	return ok && (request.Host == "" || strings.EqualFold(request.Host, request.URL.Host))
}

// afterRefusal handles a 403. It reports whether to send the request again with a
// new token. If ctx, that of the request, ends first, a login goes on for other requests.
func (s *session) afterRefusal(ctx context.Context, used *token, answer *reply.Answer) (replaced bool, err error) {
	type result struct {
		replaced bool
		err      error
	}
	results := make(chan result, 1)
	go func() {
		replaced, err := s.replaceIfDead(s.logins.Run, used, answer)
		results <- result{replaced, err}
	}()
	select {
	case r := <-results:
		return r.replaced, r.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// replaceIfDead reports whether the session has another token than the one used, which it
// replaces if the answer shows that it is dead.
func (s *session) replaceIfDead(ctx context.Context, used *token, answer *reply.Answer) (replaced bool, err error) {
	refusal := answer.Refusal()
	s.login.Lock()
	defer s.login.Unlock()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case s.fatal.Load() != nil:
		return false, s.fatal.Load()
	case s.current() != used:
		return true, nil // another request has replaced it already
	case refusal == reply.BareDenial && !s.mayBeDead(used):
		return false, s.end(s.tokenRefused(used, answer))
	case refusal == reply.ByPolicy:
		dead, err := s.isDead(ctx, used)
		if err != nil || !dead {
			return false, err
		}
	}
	return true, s.replace(ctx, used, answer)
}

// mayBeDead reports whether a bare denial may mean that the token is dead. It can also
// mean that the token may not be used from here.
func (s *session) mayBeDead(t *token) bool {
	return !s.namesDead && (t.mayHaveServed() || t.isExpired())
}

// isDead looks up, once, whether a token is dead although it was refused in the words
// for a missing policy. Vault before 1.16 and OpenBao answer some requests so.
func (s *session) isDead(ctx context.Context, t *token) (bool, error) {
	if s.modern.Load() || t.looked {
		return false, nil
	}
	t.looked = true
	client, err := s.about(t, s.reads)
	if err != nil {
		return false, err
	}
	answer, _, err := s.look(ctx, client)
	if err != nil {
		return false, ctx.Err()
	}
	refusal := answer.Refusal()
	return refusal == reply.DeadToken || refusal == reply.BareDenial, nil
}

// replace gets a new token in place of a dead one, by a login or from the token file:
//
//	of a login, served, expired           a login, as often as that happens
//	of a login, not served, expired       a login up to three times in a row, if an earlier one served: it lives too short, or Vault is slow
//	of a login, served, revoked, used up  a login, once in a run
//	of a login, not served, not expired   none: the run ends
//	given, served                         what the file holds by now, as often as that happens
//	given, not served                     what the file holds by now, once in a run
//
// The run also ends if the file holds the same token.
func (s *session) replace(ctx context.Context, dead *token, answer *reply.Answer) error {
	if answer.Refusal() == reply.DeadToken {
		s.namesDead = true
	}
	if answer.Refusal() == reply.DeadToken || dead.isExpired() {
		s.disown(dead)
	}
	served, given := dead.mayHaveServed(), dead.facts.Given
	if served {
		s.spare = 3
	}
	switch {
	case served && given, dead.isExpired() && s.spare > 0:
		if !served {
			s.spare--
		}
		if err := sleep(ctx, time.Until(s.obtained.Add(time.Second))); err != nil {
			return err
		}
	case (served || given) && !s.replaced:
		s.replaced = true
	default:
		return s.end(s.tokenRefused(dead, answer))
	}
	t, err := s.obtain(ctx)
	if err != nil {
		if f, ok := err.(*fault.Error); ok {
			return s.end(f)
		}
		return err
	}
	if t.facts.Given && t.secret == dead.secret {
		return s.end(s.tokenRefused(dead, answer))
	}
	if s.loginCount == 3 {
		s.findings.add(Finding{Code: TokenShort, Text: "the token expired again and again within the run, which logged in three times or more; raise token_ttl of the role: each login also uses up a secret id with a limited number of uses"})
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
	f := &fault.Error{
		Kind: fault.Token, What: "the vault token is expired, revoked or used up",
		Cause: answer.ResponseError(),
	}
	if t.facts.Given && !t.served.Load() {
		f.What += ", or is of another Vault or namespace"
	}
	if s.replaced && !t.facts.Given {
		f.Detail = "for the second time in this run"
	}
	f.Do = "give the role a longer token_ttl and token_num_uses=0"
	if t.facts.Given {
		f.Do = s.config.method.credential.renewal()
	}
	if answer.Refusal() != reply.DeadToken {
		alive := ""
		if s.mayBeDead(t) || (t.facts.Given || s.loginCount > 1) && !s.namesDead {
			alive = "it is not expired, revoked or used up (if it is, " + f.Do + "), that "
		}
		f.What, f.Detail = "vault refuses the token itself", strings.TrimPrefix(f.Detail+", "+answer.Words()+" at "+s.wire.Address(), ", ")
		f.Do = "check that " + alive + "it may be used from the Patch server's address (token_bound_cidrs), that its entity is not disabled, and that no proxy before Vault drops the header X-Vault-Token"
	}
	return withOddity(f, t.odd)
}

// withOddity returns the fault for a refused credential with what is unusual about the
// credential, which is the likeliest cause.
func withOddity(f *fault.Error, odd string) *fault.Error {
	if odd == "" {
		return f
	}
	explained := *f
	explained.Do = odd + "; otherwise, " + f.Do
	return &explained
}
