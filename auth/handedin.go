package auth

import (
	"context"
	"net/http"
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
		heard.forget()
		began := time.Now()
		secret, err := s.plan.handedIn.Login(ctx, c)
		answer, f := heard.last()
		if answer != nil {
			s.note(time.Since(began), answer)
		}
		switch hasToken := err == nil && secret != nil && secret.Auth != nil && secret.Auth.ClientToken != ""; {
		case hasToken:
			return s.accept(acquired(secret, answer))
		case f != nil: // vault/api takes a redirect for an empty success
			return nil, s.unanswered(f)
		case answer != nil && !answer.Ok():
			return nil, s.refused(answer)
		case err == nil:
			return s.accept(acquired(secret, answer))
		case answer != nil && answer.Auth != nil && answer.Auth.ClientToken != "":
			// The method broke off after Vault had made a token.
			if t, _ := s.accept(answer); t != nil {
				s.setToken(t)
			}
		}
		// What the method says is not repeated: it may quote its credentials.
		return nil, &fault.Error{Kind: fault.Login, What: s.where() + " failed by itself, not by Vault's answer", Do: "check what the method needs on the Patch server"}
	}, nil
}

// acquired is the answer that a method's token came with. A token that Vault
// did not answer in this login is not the run's own: it counts as cached.
func acquired(secret *api.Secret, answer *Answer) *Answer {
	if secret == nil || secret.Auth == nil {
		return &Answer{}
	}
	if answer != nil && answer.Auth != nil && answer.Auth.ClientToken == secret.Auth.ClientToken {
		return answer
	}
	return &Answer{CacheHit: true, Auth: &client.Auth{
		ClientToken:   secret.Auth.ClientToken,
		Accessor:      secret.Auth.Accessor,
		LeaseDuration: int64(secret.Auth.LeaseDuration),
		Renewable:     secret.Auth.Renewable,
		Policies:      secret.Auth.Policies,
	}}
}

// heard is what Vault said last to a method's requests.
type heard struct {
	mu     sync.Mutex
	answer *Answer
	fault  *fault.Error
}

func (h *heard) note(a *Answer, f *fault.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.fault = a, f
}

func (h *heard) forget() { h.note(nil, nil) }

func (h *heard) last() (*Answer, *fault.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answer, h.fault
}
