package session

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// logIn logs in with the credentials as they are now. A login under way when
// ctx ends is waited for, so that its token can be revoked: Vault may have made
// one that would live for its 768 hours.
func (s *session) logIn(ctx context.Context) (*token, error) {
	attempt, err := s.attempt()
	if err != nil {
		return nil, err
	}
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastMoments, cancel) })()
	var t *token
	unclear := 0 // logins that failed, though Vault may have acted on them
	var first *fault.Error
	var since time.Time
	err = s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		began := time.Now()
		if first != nil {
			// Once more is harmless; more could use up a secret id, or leave tokens
			// behind. So the one more time is when Vault is well again.
			if f := s.isIll(ctx, limit, first, since); f != nil {
				return f
			}
		}
		t, f = attempt(patient, max(limit-time.Since(began), time.Millisecond))
		cutOff := patient.Err() != nil
		if f == nil || f.Unsent || f.Retry != fault.Later && !cutOff {
			return f
		}
		if unclear++; unclear == 2 {
			f.Detail += ", sent twice and not again, since Vault may have acted on it"
			return f.Final()
		}
		first, since = f, time.Now()
		return f
	})
	if unclear > 0 {
		s.warn(Finding{Code: TokenNotRevoked, Text: "a login was sent and not answered, so there may be a token that nobody revokes; give the role a short token_ttl", Detail: s.where()})
	}
	if t != nil {
		s.setToken(t)
		if err == nil {
			err = ctx.Err()
		}
	}
	return t, err
}

// isIll asks what anybody may, after a login that failed, and returns why it is too
// early for the one more.
func (s *session) isIll(ctx context.Context, limit time.Duration, failed *fault.Error, since time.Time) *fault.Error {
	waited := time.Since(since)
	f := s.asking(new(client.Answer))(ctx, limit)
	switch {
	case f != nil && (f.Kind == fault.TLS || f.Retry != fault.Never) && !(isBlock(f) && waited >= s.options.Patience/3):
		return f
	case failed.Kind == fault.ServerError && waited < s.options.Patience/12:
		return failed // Vault itself is in trouble that its health does not show
	}
	return nil // well, or what stands before it blocks this one request
}

// attempt returns the function that logs in once.
func (s *session) attempt() (func(ctx context.Context, limit time.Duration) (*token, *fault.Error), error) {
	if s.config.Method.HandedIn != nil {
		return s.handedIn()
	}
	login, err := s.config.Method.Login(s.warn)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(login.Members)
	if err != nil {
		return nil, err
	}
	r := client.Request{
		Method: http.MethodPost,
		Path:   "auth/" + s.config.Method.Mount + "/" + login.Path,
		Header: s.client.Header("", s.config.LoginNamespace),
		Body:   body,
	}
	s.client.Learn(login.Secrets...)
	return func(ctx context.Context, limit time.Duration) (*token, *fault.Error) {
		began := time.Now()
		answer, f := s.client.Send(ctx, r, limit)
		if f != nil {
			return nil, s.unanswered(f)
		}
		s.note(time.Since(began), answer)
		if !answer.Ok() {
			f := s.refused(answer)
			f.Do = cmp.Or(login.Refused, f.Do)
			return nil, f
		}
		return s.accept(answer)
	}, nil
}

// accept takes the token out of a login's answer.
func (s *session) accept(answer *client.Answer) (*token, *fault.Error) {
	a := answer.Auth
	if a == nil || a.ClientToken == "" {
		f := fault.New(fault.Login, s.where()+" gave no token", "check the method's mount")
		if a != nil && a.MFA != nil {
			f.Do = "take the second factor away from this login: an agent has nobody to answer it"
		}
		return nil, f
	}
	t := s.newToken(a.ClientToken, answer.Index)
	t.facts = Token{
		Batch:     a.Type == "batch" || a.Accessor == "",
		Known:     true,
		UsesLeft:  a.NumUses,
		Renewable: a.Renewable,
		Policies:  a.Policies,
	}
	if a.LeaseDuration > 0 {
		t.facts.Expires = time.Now().Add(time.Duration(a.LeaseDuration) * time.Second)
	}
	// A batch token cannot be revoked; a cached one belongs to others too.
	t.keep = t.facts.Batch || answer.CacheHit
	return t, nil
}

func (s *session) where() string {
	if s.config.Method.HandedIn != nil {
		return "the login method " + s.config.Method.Name
	}
	where := "the login " + s.config.Method.Name + " at auth/" + s.config.Method.Mount
	if s.config.LoginNamespace != "" {
		where += " in namespace " + s.config.LoginNamespace
	}
	return where
}

// refused is the fault of a login that Vault answered with no.
func (s *session) refused(answer *client.Answer) *fault.Error {
	f := &fault.Error{
		Kind:   fault.Login,
		What:   s.where() + " was refused",
		Detail: fmt.Sprintf("%d %s", answer.Status, answer.Words()),
		Do:     "see Vault's own log for the cause",
		Cause:  answer.ResponseError(nil),
	}
	if do := s.hint(oneLine(answer.Errors)); do != "" {
		f.Do = do
	}
	return f
}

// unanswered names the login in a fault of Vault's own. Some of its methods
// answer 500 to what no repeating mends.
func (s *session) unanswered(f *fault.Error) *fault.Error {
	if f.Kind != fault.ServerError {
		return f
	}
	f.What = s.where() + ": " + f.What
	if do := s.hint(vaultsWords(f)); do != "" {
		f.Kind, f.Do, f.Retry = fault.Login, do, fault.Never
	}
	return f
}

// vaultsWords are the errors in Vault's answer, without anything of ours.
func vaultsWords(f *fault.Error) string {
	if answer, ok := f.Cause.(*api.ResponseError); ok {
		return oneLine(answer.Errors)
	}
	return ""
}

func (s *session) hint(words string) (do string) {
	for _, h := range s.config.Method.Hints {
		if strings.Contains(words, h.Says) {
			return h.Do
		}
	}
	return ""
}

func oneLine(texts []string) string { return strings.Join(texts, "; ") }
