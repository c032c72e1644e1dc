package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// obtain gets a token and makes it the session's. A given token may be the same as before. The
// caller has locked s.login, unless use has not been called.
func (s *session) obtain(ctx context.Context) (*token, error) {
	s.obtainedAt = time.Now()
	c, err := s.load(s.config.credentials)
	if err != nil {
		return nil, err
	}
	if !s.config.method.isGiven() {
		s.loginCount++
		t, err := s.logIn(ctx, c)
		if errors.Is(err, fault.Login) {
			if now, loadErr := s.load(s.config.credentials); loadErr == nil && now != c { // rotated while the login waited for Vault
				return s.logIn(ctx, now)
			}
		}
		return t, err
	}
	if t := s.token.Load(); t != nil && t.secret == c.credential.value {
		return t, nil // with what is known of it
	}
	t := &token{secret: c.credential.value, odd: c.odd, facts: Token{Given: true, Namespace: s.config.loginNamespace}}
	s.token.Store(t)
	return t, nil
}

// load reads the files of credentials as they are now.
func (s *session) load(c credentials) (credentials, error) {
	for _, from := range []*source{&c.credential, &c.secretID} {
		if from.file != "" {
			text, err := file{from.variable, from.file}.credential(&s.findings)
			if err != nil {
				return credentials{}, err
			}
			from.value = text
		}
		if from.value != "" {
			s.wire.Sent.Learn(from.value)
			c.odd = cmp.Or(c.odd, oddity(from.variable, from.value))
		}
	}
	if isSecretLike(c.role) { // Vault echoes it
		s.wire.Sent.Learn(c.role)
	}
	return c, nil
}

// logIn logs in with loaded credentials. It waits for a login that is under way when ctx
// ends, so that its token can be revoked: otherwise the token could live for 768 hours.
func (s *session) logIn(ctx context.Context, c credentials) (*token, error) {
	s.door.open()
	result := s.callMethod(c)
	t, err := s.outcome(result, s.door.close(), c.odd)
	if t != nil {
		s.token.Store(t) // even if ctx has ended: the token before it is dead
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return t, err
}

var (
	errCrashed = errors.New("the method is nil, panicked, or ended its goroutine")
	errSilent  = errors.New("the method did not return")
)

// loginResult is what a login method returned.
type loginResult struct {
	secret *api.Secret
	err    error
}

// callMethod makes a login method and calls it. It recovers a panic, which would end the
// agent, and drops its text, which may hold credentials.
func (s *session) callMethod(c credentials) loginResult {
	client := s.clients.logins.WithNamespace(s.config.loginNamespace) // a copy, since a method may change it
	ctx := s.logins.Last
	if !s.config.method.handedIn {
		ctx = transport.WithOwn(ctx, transport.Own{})
	}
	returned := make(chan loginResult, 1)
	go func() {
		result := loginResult{err: errCrashed}
		defer func() {
			recover()
			returned <- result
		}()
		method, err := s.config.method.login(c)
		var secret *api.Secret
		if err == nil {
			secret, err = method.Login(ctx, client)
		}
		result = loginResult{secret, err}
	}()
	if s.config.method.handedIn {
		return s.awaitMethod(returned)
	}
	return <-returned // a built-in method ends with its request
}

// awaitMethod waits for a method that was handed in, which may never return. It gives up when
// Vault has not answered for a whole patience, a check must end, or the last moments are over.
func (s *session) awaitMethod(returned <-chan loginResult) loginResult {
	const grace = 250 * time.Millisecond // for a method to return after its last answer
	// A request ends with patience; a busy machine then needs time to return it.
	mostSilence := s.options.Patience + max(grace, min(lastMoments, s.options.Patience/3))
	silent := loginResult{err: errSilent}
	for {
		left := mostSilence - s.door.silence()
		if until := s.logins.Until; !until.IsZero() {
			left = time.Until(until) + grace
		}
		if left <= 0 {
			return silent
		}
		select {
		case result := <-returned:
			return result
		case <-s.logins.Last.Done():
			select {
			case result := <-returned:
				return result
			case <-time.After(grace):
				return silent
			}
		case <-time.After(left): // Vault may have answered meanwhile
		}
	}
}

// outcome returns the token of a login, or why there is none.
func (s *session) outcome(result loginResult, said said, odd string) (*token, error) {
	if result.err != nil || result.secret == nil || result.secret.Auth == nil || result.secret.Auth.ClientToken == "" {
		return nil, s.noToken(result.err, said, odd)
	}
	a := result.secret.Auth
	if strings.ContainsFunc(a.ClientToken, unicode.IsControl) {
		return nil, fault.New(fault.Login, s.loginName()+" returned a token with a line break or another control character", "fix the method")
	}
	if t := said.find(a.ClientToken); t != nil {
		return t, nil
	}
	// Others may use a token that Vault did not make in this login, so it is not revoked.
	return s.newToken(&reply.Auth{ClientToken: a.ClientToken, Accessor: a.Accessor, LeaseDuration: int64(a.LeaseDuration), Renewable: a.Renewable, Policies: a.Policies}, s.config.loginNamespace, time.Now()), nil
}

// noToken is the fault for a login without a token. err is the method's; odd is what is
// unusual about its credentials.
func (s *session) noToken(err error, said said, odd string) *fault.Error {
	failed, isFault := errors.AsType[*fault.Error](said.err)
	answer := said.answer
	_, last := s.patience.Silence()
	switch {
	case err == errSilent && last != nil:
		return s.ofLogin(last) // the method waits for Vault
	case err == errCrashed, err == errSilent:
		return fault.New(fault.Login, s.loginName()+" failed: "+err.Error(), "fix the method")
	case isFault: // vault/api returns no error for a redirect
		return s.ofLogin(failed)
	case answer != nil && !s.config.method.handedIn && (answer.Ok() && answer.Auth == nil || answer.Status == http.StatusNotFound && !answer.NoMount()):
		at := s.wire.Address() // Vault never answers a login like this
		return cmp.Or(answer.NoAPI(at), reply.NotVault(fmt.Sprintf("status %d to a login at %s", answer.Status, at)))
	case answer != nil && !answer.Ok():
		return s.refused(answer, odd)
	case answer != nil && answer.Auth != nil && answer.Auth.SecondFactor != nil: // in place of the token
		return fault.New(fault.Login, s.loginName()+" needs a second factor, which the agent cannot give", "exempt it from login MFA in Vault: its mount, method and entity in identity/mfa/login-enforcement")
	case answer != nil && answer.Status == http.StatusNoContent:
		return reply.NoContent()
	case err == nil:
		return fault.New(fault.Login, s.loginName()+" returned no token", "check the method's mount")
	case !s.config.method.handedIn: // vault/api cannot decode it
		return reply.NotVault("not the JSON of a login at " + s.wire.Address())
	}
	// The method's own error is not shown: it may quote its credentials.
	return fault.New(fault.Login, s.loginName()+" failed", "see what the method logged, and check what it needs on the Patch server")
}

// loginName names the login for messages.
func (s *session) loginName() string {
	m := s.config.method
	if m.handedIn {
		return "the login method " + m.name
	}
	name := "the login " + m.name + " at auth/" + s.config.credentials.mount
	if namespace := s.config.loginNamespace; namespace != "" {
		name += " in namespace " + s.wire.Sent.Words(namespace)
	}
	return name
}

// refused is the fault for a login that Vault refused.
func (s *session) refused(answer *reply.Answer, odd string) *fault.Error {
	if f := answer.NoAPI(s.wire.Address()); f != nil { // to a method that was handed in
		return f
	}
	m, mount := s.config.method, s.config.credentials.mount
	if strings.HasSuffix(mount, "/login") {
		odd = cmp.Or(odd, "write "+m.mountVariable().name+" without /login, unless the mount's own name ends in it")
	}
	return withOddity(&fault.Error{
		Kind: fault.Login, What: s.loginName() + " was refused",
		Detail: fmt.Sprintf("%d %s", answer.Status, answer.Words()),
		Do:     s.thenRestart(cmp.Or(reply.LoginHint(m.name, mount, answer.Errors), checkCredential)),
		Cause:  answer.ResponseError(),
	}, odd)
}

// thenRestart adds to advice what a change of the credentials needs.
func (s *session) thenRestart(do string) string {
	if restart := s.config.credentials.restart(); restart != "" {
		return do + "; " + restart
	}
	return do
}

const checkCredential = "check the credential and its role; to see more, run vault monitor -log-level=debug and try again"

// ofLogin names the login in a fault of Vault.
func (s *session) ofLogin(f *fault.Error) *fault.Error {
	if f.Kind != fault.ServerError && f.Kind != fault.Login {
		return f
	}
	m, mount, named := s.config.method, s.config.credentials.mount, *f
	named.What = s.loginName() + ": " + f.What
	response, isAnswer := f.Cause.(*api.ResponseError)
	switch {
	case f.Kind == fault.Login && isAnswer:
		named.Do = s.thenRestart(cmp.Or(reply.LoginHint(m.name, mount, response.Errors), f.Do, checkCredential))
	case f.Kind == fault.Login && f.Cause != nil: // silence
		named.Do = strings.TrimSuffix(reply.WaitHint(m.name, mount)+"; "+f.Do, "; ")
	}
	return &named
}

// warnOfUnclearLogin warns of a token that Vault may have made, although no answer shows it.
func (s *session) warnOfUnclearLogin() {
	s.findings.add(Finding{Code: TokenNotRevoked, Text: "a login was sent, but Vault did not answer with a token, and any token that it made is not revoked; give the role a short token_ttl", Detail: s.loginName()})
}
