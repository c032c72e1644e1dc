package auth

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/api"
)

// newClient makes a client of vault/api. What vault/api reads from the environment
// has no effect on it.
func (s *session) newClient(chain http.RoundTripper, namespace string) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: s.wire.Address(),
		HttpClient: &http.Client{
			Transport:     hidden{func() http.RoundTripper { return chain }},
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

// hidden keeps printing by reflection away from a RoundTripper, where it would find
// the token, even in the buffers of connections.
type hidden struct{ reach func() http.RoundTripper }

func (h hidden) RoundTrip(r *http.Request) (*http.Response, error) { return h.reach().RoundTrip(r) }
