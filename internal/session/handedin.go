package session

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// handedIn logs in with a method of the caller's. Its requests go over the
// run's own transport; nothing of vault/api's reading of the environment is
// left in its client.
func (s *session) handedIn() (func(context.Context, time.Duration) (*token, *fault.Error), error) {
	var heard heard
	c, err := api.NewClient(&api.Config{
		Address: s.client.Address(),
		HttpClient: &http.Client{
			Transport:     s.client.Transport(heard.note),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Timeout:          s.config.Timeout,
		DisableRedirects: true,
		CheckRetry:       func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	if err != nil {
		set := slices.DeleteFunc(slices.Clone(parsedByAPI), func(name string) bool { return os.Getenv(name) == "" })
		// The cause is left out: it can quote a variable's value.
		return nil, fault.New(fault.Environment, "vault/api, which the login method "+s.config.Method.Name+" uses, rejects a VAULT_ variable of the agent's environment", "unset it, or mend it if it is another program's, too: one of "+strings.Join(set, ", "))
	}
	c.SetHeaders(s.client.Header("", s.config.LoginNamespace))
	c.ClearToken()
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	return func(ctx context.Context, limit time.Duration) (*token, *fault.Error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		heard.take()
		began := time.Now()
		secret, err := enter(ctx, s.config.Method.HandedIn(), c)
		said := heard.take()
		if said.answer != nil {
			s.note(time.Since(began), said.answer)
		}
		t, f := s.outcome(secret, err, said)
		for _, made := range said.tokens {
			if t == nil || made.Auth.ClientToken != t.secret() {
				s.addStray(made)
			}
		}
		if f != nil && len(said.tokens) > 0 {
			f.Retry = fault.Never // each further login would leave a token as well
		}
		return t, f
	}, nil
}

// parsedByAPI are the variables of the process that can keep vault/api from making
// a client.
var parsedByAPI = []string{
	api.EnvVaultAgentAddr, api.EnvVaultMaxRetries, api.EnvVaultSRVLookup, api.EnvVaultDisableRedirects, api.EnvHTTPProxy, api.EnvVaultHeaders,
	api.EnvVaultCACert, api.EnvVaultCACertBytes, api.EnvVaultCAPath, api.EnvVaultClientCert, api.EnvVaultClientKey,
	api.EnvVaultProxyAddr, api.EnvVaultClientTimeout, api.EnvRateLimit, api.EnvVaultSkipVerify,
}

var errPanic = errors.New("panic")

// enter logs in. A panic of the caller's method would end the agent, since it
// comes in a goroutine of the run's own; its text may hold credentials.
func enter(ctx context.Context, method api.AuthMethod, c *api.Client) (secret *api.Secret, err error) {
	defer func() {
		if recover() != nil {
			secret, err = nil, errPanic
		}
	}()
	return method.Login(ctx, c)
}

// outcome is what a method's login came to.
func (s *session) outcome(secret *api.Secret, err error, said said) (*token, *fault.Error) {
	switch answer, f := said.answer, said.fault; {
	case err == errPanic:
		return nil, &fault.Error{Kind: fault.Login, What: s.where() + " panicked", Do: "have the method mended"}
	case err == nil && secret != nil && secret.Auth != nil && secret.Auth.ClientToken != "":
		return s.accept(said.acquired(secret.Auth))
	case f != nil: // vault/api takes a redirect for an empty success
		return nil, s.unanswered(f)
	case answer != nil && !answer.Ok():
		return nil, s.refused(answer)
	case err == nil && answer != nil && answer.Auth != nil && answer.Auth.ClientToken == "":
		return s.accept(answer) // it says why there is no token
	case err == nil:
		return s.accept(&client.Answer{})
	}
	// What the method says is not repeated: it may quote its credentials.
	return nil, &fault.Error{Kind: fault.Login, What: s.where() + " failed by itself, not by Vault's answer", Do: "check what the method needs on the Patch server"}
}

// heard collects what Vault says to a method's requests, which may come from
// several goroutines.
type heard struct {
	mu sync.Mutex
	said
}

// said is what Vault said to one login of a method.
type said struct {
	answer *client.Answer // the last one, or
	fault  *fault.Error
	tokens []*client.Answer // those with a token, each token once
}

func (h *heard) note(a *client.Answer, f *fault.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.fault = a, f
	if a != nil && a.Auth != nil && a.Auth.ClientToken != "" && h.find(a.Auth.ClientToken) == nil {
		h.tokens = append(h.tokens, a)
	}
}

// take returns what was said since the last time.
func (h *heard) take() said {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.said
	h.said = said{}
	return all
}

func (s said) find(token string) *client.Answer {
	for _, a := range s.tokens {
		if a.Auth.ClientToken == token {
			return a
		}
	}
	return nil
}

// acquired is the answer that a method's token came with. A token that Vault
// did not answer in this login is not the run's own: it counts as cached.
func (s said) acquired(a *api.SecretAuth) *client.Answer {
	if answer := s.find(a.ClientToken); answer != nil {
		return answer
	}
	return &client.Answer{CacheHit: true, Auth: &client.Auth{
		ClientToken:   a.ClientToken,
		Accessor:      a.Accessor,
		LeaseDuration: int64(a.LeaseDuration),
		Renewable:     a.Renewable,
		Policies:      a.Policies,
	}}
}
