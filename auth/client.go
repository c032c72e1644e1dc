package auth

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/transport"
)

// clients are the clients of a session.
type clients struct {
	use    *api.Client // has the session's token
	logins *api.Client // goes through the door
	self   *api.Client // has the token that a request is about; see session.about
}

// newClients makes all clients of a session. Whenever vault/api makes one, it reads the
// environment and its TLS files, and fails if any is malformed. They may change during the use,
// so no client is made later.
func (s *session) newClients() (c clients, err error) {
	if err := checkForAPI(); err != nil {
		return c, err
	}
	if c.use, err = s.newClient((&bearer{s}).RoundTrip, s.config.namespace); err != nil {
		return c, err
	}
	if c.logins, err = s.newClient(s.door.RoundTrip, s.config.loginNamespace); err != nil {
		return c, err
	}
	c.self, err = s.newClient(sendAbout, "")
	return c, err
}

// newClient makes a client of vault/api. What vault/api reads from the environment
// has no effect on it.
func (s *session) newClient(send sender, namespace string) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: s.wire.Address(),
		HttpClient: &http.Client{
			Transport:     send,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		DisableRedirects: true,
		CloneHeaders:     true, // otherwise a clone has those of VAULT_HEADERS, and no namespace
		CloneToken:       true, // otherwise a clone has VAULT_TOKEN
		CheckRetry:       func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	if err != nil {
		return nil, rejectedByAPI()
	}
	header := http.Header{} // the wire adds what every request has; vault/api would copy it three times
	if namespace != "" {
		header.Set(api.NamespaceHeaderName, namespace)
	}
	client.SetHeaders(header)
	client.ClearToken()
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

// sender is a RoundTripper. It is a func, because clients and contexts can be printed by
// reflection, which would find the token in any other, even in the buffers of connections.
type sender func(*http.Request) (*http.Response, error)

// RoundTrip calls s.
func (s sender) RoundTrip(request *http.Request) (*http.Response, error) { return s(request) }

// about returns a client, and a context for it, for requests about a token itself.
func (s *session) about(ctx context.Context, t *token, chain *transport.Retry) (context.Context, *api.Client) {
	namespace := t.facts.Namespace
	if t.facts.Given {
		namespace = s.config.loginNamespace
	}
	send := sender(func(request *http.Request) (*http.Response, error) {
		return chain.Send(request, t.sign(request.Header))
	})
	return context.WithValue(ctx, aboutKey{}, send), s.clients.self.WithNamespace(namespace)
}

// aboutKey is the key of the sender in the context of session.about.
type aboutKey struct{}

func sendAbout(request *http.Request) (*http.Response, error) {
	return request.Context().Value(aboutKey{}).(sender)(request)
}
