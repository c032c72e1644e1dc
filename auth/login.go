package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// logIn logs in with the credentials as they are now. A login under way when
// ctx ends is waited for, so that its token can be revoked: Vault may have made
// one that would live for its 768 hours.
func (s *Session) logIn(ctx context.Context, f *files) (*token, error) {
	attempt, err := s.attempt(f)
	if err != nil {
		return nil, err
	}
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastMoments, cancel) })()
	var t *token
	unclear := false
	err = s.patience.Do(ctx, func(_ context.Context, limit time.Duration) *fault.Error {
		var f *fault.Error
		t, f = attempt(patient, limit)
		if f == nil || f.Unsent || f.Retry != fault.Later {
			return f
		}
		// Vault may have acted on it. Once more is harmless; more could use up a
		// secret id or leave tokens behind.
		if unclear {
			f.Retry = fault.Never
		}
		unclear = true
		return f
	})
	if t != nil {
		s.setToken(t)
		if err == nil {
			err = ctx.Err()
		}
	}
	return t, err
}

// attempt returns the function that logs in once.
func (s *Session) attempt(f *files) (func(ctx context.Context, limit time.Duration) (*token, *fault.Error), error) {
	if s.plan.handedIn != nil {
		return s.handedIn()
	}
	members, err := s.plan.body(f)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	r := client.Request{
		Method: http.MethodPost,
		Path:   "auth/" + s.plan.mount + "/login",
		Header: s.client.Header("", s.plan.loginNamespace),
		Body:   body,
	}
	for _, value := range members {
		r.Secrets = append(r.Secrets, value)
	}
	return func(ctx context.Context, limit time.Duration) (*token, *fault.Error) {
		began := time.Now()
		answer, f := s.client.Send(ctx, r, limit)
		if f != nil {
			return nil, f
		}
		s.note(time.Since(began), answer)
		if !answer.Ok() {
			return nil, s.refused(answer)
		}
		return s.accept(answer)
	}, nil
}

// accept takes the token out of a login's answer.
func (s *Session) accept(answer *Answer) (*token, *fault.Error) {
	a := answer.Auth
	if a == nil || a.ClientToken == "" {
		f := fault.New(fault.Login, s.where()+" gave no token", "check the method's mount")
		if a != nil && len(a.MFA) > 0 && string(a.MFA) != "null" {
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

func (s *Session) where() string {
	if s.plan.handedIn != nil {
		return "the login method " + s.plan.name
	}
	where := "the login " + s.plan.name + " at auth/" + s.plan.mount
	if s.plan.loginNamespace != "" {
		where += " in namespace " + s.plan.loginNamespace
	}
	return where
}

// refused is the fault of a login that Vault answered with no.
func (s *Session) refused(answer *Answer) *fault.Error {
	f := &fault.Error{
		Kind:   fault.Login,
		What:   s.where() + " was refused",
		Detail: fmt.Sprintf("%d %s", answer.Status, answer.Words()),
		Do:     "see Vault's own log for the cause",
		Cause:  s.client.ResponseError(nil, answer),
	}
	var hints []hint
	if s.plan.method != nil {
		hints = s.plan.method.hints
	}
	for _, h := range slices.Concat(hints, anyMethod) {
		if strings.Contains(oneLine(answer.Errors), h.says) {
			f.Do = h.do
			break
		}
	}
	return f
}

// handedIn logs in with a method of the caller's. Its requests go over the
// run's own transport; nothing of vault/api's reading of the environment is
// left in its client.
func (s *Session) handedIn() (func(context.Context, time.Duration) (*token, *fault.Error), error) {
	seen := &observed{RoundTripper: s.client.Transport()}
	c, err := api.NewClient(&api.Config{
		Address:          s.client.Address(),
		HttpClient:       &http.Client{Transport: seen, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Timeout:          s.plan.timeout,
		DisableRedirects: true,
		CheckRetry:       func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	if err != nil {
		// The cause is left out: it can quote a variable's value.
		return nil, fault.New(fault.Environment, "vault/api, which the login method "+s.plan.name+" uses, rejects a VAULT_ variable of the agent's environment", "unset VAULT_MAX_RETRIES, VAULT_SRV_LOOKUP, VAULT_DISABLE_REDIRECTS, VAULT_HTTP_PROXY and VAULT_HEADERS")
	}
	c.SetHeaders(s.client.Header("", s.plan.loginNamespace))
	c.ClearToken()
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	return func(ctx context.Context, limit time.Duration) (*token, *fault.Error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		secret, err := s.plan.handedIn.Login(ctx, c)
		if err != nil {
			return nil, s.handedInFailed(err, limit)
		}
		answer := &Answer{Status: http.StatusOK, Index: seen.index, CacheHit: seen.cacheHit}
		if secret != nil && secret.Auth != nil {
			answer.Auth = &client.Auth{
				ClientToken:   secret.Auth.ClientToken,
				Accessor:      secret.Auth.Accessor,
				LeaseDuration: int64(secret.Auth.LeaseDuration),
				Renewable:     secret.Auth.Renewable,
				Policies:      secret.Auth.Policies,
			}
		}
		return s.accept(answer)
	}, nil
}

func (s *Session) handedInFailed(err error, limit time.Duration) *fault.Error {
	if response, ok := errors.AsType[*api.ResponseError](err); ok && !response.RawError {
		return s.refused(&Answer{Status: response.StatusCode, Errors: response.Errors})
	}
	if f := s.client.Broken(err, limit); f.Kind != fault.BadResponse {
		return f
	}
	// What the method says is not repeated: it may quote its credentials.
	return &fault.Error{Kind: fault.Login, What: s.where() + " failed before Vault answered", Do: "check what the method needs on the Patch server"}
}

// observed notes what a login's last answer says beside its JSON.
type observed struct {
	http.RoundTripper
	index    string
	cacheHit bool
}

func (o *observed) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := o.RoundTripper.RoundTrip(r)
	if err == nil {
		o.index, o.cacheHit = response.Header.Get("X-Vault-Index"), response.Header.Get("X-Cache") == "HIT"
	}
	return response, err
}
