package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// newKey makes a key that signs, with a policy that grants its use.
func newKey(t *testing.T, server *vaulttest.Server) (path, policy string) {
	t.Helper()
	mount := "transit-" + vaulttest.Name()
	server.Must(t, "POST", "sys/mounts/"+mount, map[string]any{"type": "transit"})
	server.Must(t, "POST", mount+"/keys/release", map[string]any{"type": "ed25519"})
	path = mount + "/sign/release"
	return path, server.Policy(t, `path "`+path+`" { capabilities = ["update"] }`)
}

func sign(ctx context.Context, client *api.Client, path string) (signature string, err error) {
	answer, err := client.Logical().WriteWithContext(ctx, path, map[string]any{"input": "cGF0Y2g="})
	if err != nil {
		return "", err
	}
	signature, _ = answer.Data["signature"].(string)
	return signature, nil
}

// Vault's refusal of a caller's own request is vault/api's error, without a kind.
// LUUMEN_VAULT_PATHS is for references alone.
func TestDoReturnsVaultsOwnRefusal(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	path, policy := newKey(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{policy}})
	vault := at(server, "token", variables{"VAULT_TOKEN": token, "LUUMEN_VAULT_PATHS": "secret/luumen"})
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := sign(ctx, client, path)
		require.NoError(t, err, "outside LUUMEN_VAULT_PATHS")
		_, err = sign(ctx, client, path+"-other")
		return err
	})
	refusal, ok := errors.AsType[*api.ResponseError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, http.StatusForbidden, refusal.StatusCode)
	assert.Contains(t, err.Error(), "\n")
	_, ok = errors.AsType[fault.Kind](err)
	assert.False(t, ok)

	_, err = do(t.Context(), auth.New(auth.Settings{}, auth.Options{}), auth.DoOptions{}, nil)
	kind, ok := errors.AsType[fault.Kind](err)
	assert.True(t, ok)
	assert.Equal(t, fault.NotConfigured, kind)
}

// Do logs in once, and again if the token dies midway, and leaves no token.
func TestDoSigns(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	path, policy := newKey(t, server)
	a, vault := approle(t, server, map[string]any{"token_policies": policy, "token_ttl": "1h"})
	r := &run{id: vaulttest.Name()}
	r.usage, r.err = vault.Do(t.Context(), auth.DoOptions{RunID: r.id}, func(ctx context.Context, client *api.Client) error {
		token := auth.TokenOf(ctx)
		assert.True(t, token.Proven)
		assert.Contains(t, token.Policies, policy)
		assert.WithinDuration(t, time.Now().Add(time.Hour), token.Expires, time.Minute)
		for round := range 3 {
			signature, err := sign(ctx, client, path)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(signature, "vault:v1:"), signature)
			if round == 1 {
				server.Must(t, "POST", "sys/leases/revoke-prefix/auth/"+a.Mount+"/login", map[string]any{"sync": true})
			}
		}
		return nil
	})
	require.NoError(t, r.err)
	requests := r.requests(t, server)
	if n := len(requests); n == 9 {
		// A server without words of its own for dead tokens is asked about the first token, too,
		// beside the look at the second and its revocation.
		extra := n - 3
		if requests[n-1] == "auth/token/lookup-self" {
			extra = n - 1
		}
		assert.Equal(t, "auth/token/lookup-self", requests[extra])
		requests = slices.Delete(requests, extra, extra+1)
	}
	assert.Equal(t, []string{
		"auth/" + a.Mount + "/login", path, path, path, "auth/" + a.Mount + "/login", path, "auth/token/lookup-self", "auth/token/revoke-self",
	}, requests)
	assert.Zero(t, tokensOf(t, server, a.Mount))
	assert.Empty(t, r.warnings())
	assert.Zero(t, auth.TokenOf(t.Context()))
}

// The client shows no token, and sends it to no other address.
func TestDoKeepsTheToken(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	path, policy := newKey(t, server)
	_, vault := approle(t, server, map[string]any{"token_policies": policy})
	other := newStandIn(t, nil)
	r := &run{id: vaulttest.Name()}
	_, err := vault.Do(t.Context(), auth.DoOptions{RunID: r.id}, func(ctx context.Context, client *api.Client) error {
		_, err := sign(ctx, client, path) // from here on, buffers of connections hold the token
		require.NoError(t, err)
		assert.Empty(t, client.Token())
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, shown := range []any{client, client.CloneConfig(), client.Headers(), client.CloneConfig().HttpClient.Transport, ctx} {
				printed := fmt.Sprintf(verb, shown)
				assert.NotContains(t, printed, "hvs.")
				assert.NotContains(t, printed, fmt.Sprintf("%x", "hvs."))
			}
		}

		withToken, err := client.Clone()
		require.NoError(t, err)
		withToken.SetToken("hvs.of-the-caller")
		_, err = sign(ctx, withToken, path)
		assert.ErrorContains(t, err, "a request with another one is not sent")

		withHeader, err := client.Clone()
		require.NoError(t, err)
		withHeader.AddHeader("Authorization", "Bearer x") // Vault takes a token from there, too
		_, err = sign(ctx, withHeader, path)
		assert.ErrorContains(t, err, "a request with another one is not sent")

		unwrapping, err := client.Clone()
		require.NoError(t, err)
		_, err = unwrapping.Logical().UnwrapWithContext(ctx, "hvs.of-the-caller")
		assert.ErrorContains(t, err, "a request with another one is not sent")
		_, err = sign(ctx, unwrapping, path)
		assert.ErrorContains(t, err, "a request with another one is not sent", "Unwrap leaves its token on the client")

		elsewhere, err := client.Clone()
		require.NoError(t, err)
		require.NoError(t, elsewhere.SetAddress(other.address))
		_, err = sign(ctx, elsewhere, path)
		assert.ErrorContains(t, err, "an address other than the one in the settings")

		downgraded := client.WithRequestCallbacks(func(r *api.Request) {
			r.URL.Scheme = map[string]string{"http": "https", "https": "http"}[r.URL.Scheme]
		})
		_, err = sign(ctx, downgraded, path)
		assert.ErrorContains(t, err, "an address other than the one in the settings")

		// A server may resolve it, and lead elsewhere.
		upwards := client.WithRequestCallbacks(func(r *api.Request) { r.URL.Path = "/v1/../" + path })
		_, err = sign(ctx, upwards, path)
		assert.ErrorContains(t, err, "an address other than the one in the settings")

		// A proxy would go by the Host.
		disguised := client.WithRequestCallbacks(func(r *api.Request) { r.Host = strings.TrimPrefix(other.address, "http://") })
		_, err = sign(ctx, disguised, path)
		assert.ErrorContains(t, err, "an address other than the one in the settings")
		return nil
	})
	require.NoError(t, err)
	assert.Empty(t, other.requests())
	assert.Equal(t, 1, count(r.requests(t, server), path))
}

// A write is repeated only if Vault certainly did not act on it.
func TestDoRepeatsWrites(t *testing.T) {
	t.Parallel()
	const signed = `{"request_id":"1","data":{"signature":"vault:v1:x"},"mount_type":"transit"}`
	for _, test := range []struct {
		name  string
		first func(w http.ResponseWriter) // the answer to the first request
		sent  int
		kind  error // nil if it is served in the end
	}{
		{"429", refuse(429, `{"errors":["request path \"transit/sign/release\": rate limit quota exceeded"]}`), 2, nil},
		{"307 of a standby", func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://192.0.2.1:8200/v1/transit/sign/release")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, 2, nil},
		{"sealed", refuse(503, `{"errors":["Vault is sealed"]}`), 2, nil},
		{"no active node", refuse(500, `{"errors":["local node not active but active cluster node not found"]}`), 2, nil},
		{"500", refuse(500, `{"errors":["1 error occurred:\n\t* unexpected failure\n\n"]}`), 1, fault.ServerError},
		{"a balancer's 502", func(w http.ResponseWriter) { http.Error(w, "<html>", http.StatusBadGateway) }, 1, fault.BadResponse},
		{"reset", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 1, fault.Unreachable},
		{"another redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://192.0.2.1:8200/")
			w.WriteHeader(http.StatusFound)
		}, 1, fault.BadResponse},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int32
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/sign/release") {
					return false
				}
				if sent.Add(1) == 1 {
					test.first(w)
				} else {
					say(w, 200, signed)
				}
				return true
			})
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
			_, err := vault.Do(t.Context(), auth.DoOptions{Patience: 10 * time.Second}, func(ctx context.Context, client *api.Client) error {
				_, err := sign(ctx, client, "transit/sign/release")
				return err
			})
			if test.kind == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, test.kind)
				isUnclear := test.name != "another redirect"
				assert.Equal(t, isUnclear, strings.Contains(err.Error(), ", not repeated, since Vault may have acted on it"), err.Error())
			}
			assert.EqualValues(t, test.sent, sent.Load())
			assert.Equal(t, 1, count(server.requests(), "/revoke-self"), "the token is revoked all the same")
		})
	}
}

func refuse(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { say(w, status, body) }
}

// hangsUpFirst closes the first connections before anything is read from them.
type hangsUpFirst struct {
	net.Listener
	left atomic.Int32
}

func (l *hangsUpFirst) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil && l.left.Add(-1) >= 0 {
		conn.Close()
	}
	return conn, err
}

// A write that had no connection was not sent.
func TestDoRepeatsUnsentWrites(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		say(w, 200, `{"request_id":"1","data":{"signature":"vault:v1:x"},"mount_type":"transit"}`)
	}))
	listener := &hangsUpFirst{Listener: server.Listener}
	listener.left.Store(3)
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.SetKeepAlivesEnabled(false) // a kept connection that ends leaves it unclear
	server.StartTLS()
	t.Cleanup(server.Close)
	vault := auth.New(auth.Settings{Address: server.URL}, variables{"VAULT_TOKEN": "hvs.given", "VAULT_SKIP_VERIFY": "true"}.options())
	_, err := vault.Do(t.Context(), auth.DoOptions{Patience: 20 * time.Second}, func(ctx context.Context, client *api.Client) error {
		listener.left.Store(2)
		before := sent.Load()
		_, err := sign(ctx, client, "transit/sign/release")
		assert.EqualValues(t, before+1, sent.Load())
		return err
	})
	require.NoError(t, err)
}

// No redirect is followed.
func TestDoFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	other := newStandIn(t, nil)
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/login") || strings.Contains(r.URL.Path, "-self") {
			return false
		}
		w.Header().Set("Location", other.address+r.URL.Path)
		w.WriteHeader(http.StatusPermanentRedirect)
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
	_, err := vault.Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := client.Logical().ReadWithContext(ctx, "pki/cert/ca")
		assert.ErrorIs(t, err, fault.BadResponse)
		_, err = sign(ctx, client, "transit/sign/release")
		assert.ErrorIs(t, err, fault.BadResponse)
		_, err = client.Sys().HealthWithContext(ctx)
		return err
	})
	assertKind(t, err, fault.BadResponse, "the address redirects", other.address)
	assert.Empty(t, other.requests())
}

// The pins apply to Do as well.
func TestDoIsPinned(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	for name, pins := range map[string]variables{
		"address":   {"VAULT_ADDR": "https://vault.example:8200"},
		"namespace": {"VAULT_NAMESPACE": "team"},
	} {
		settings := auth.Settings{Address: server.address, AuthMethod: "approle", Namespace: "other"}
		_, err := auth.New(settings, pins.and(variables{"VAULT_ROLE_ID": "r"}).options()).Do(t.Context(), auth.DoOptions{}, func(context.Context, *api.Client) error {
			t.Error("called")
			return nil
		})
		assert.ErrorIs(t, err, fault.Pinned, name)
	}
	assert.Empty(t, server.requests())
}

// When the context ends, requests under way end, and then the token is revoked.
func TestDoEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/sign/release") {
			return false
		}
		cancel()
		<-r.Context().Done()
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
	_, err := vault.Do(ctx, auth.DoOptions{}, func(context.Context, *api.Client) error {
		return errors.New("of the caller, which is told by its own context")
	})
	require.ErrorContains(t, err, "of the caller")
	_, err = vault.Do(ctx, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		// A caller that uses another context is ended all the same.
		_, err := sign(context.WithoutCancel(ctx), client, "transit/sign/release")
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 2, count(server.requests(), "/revoke-self"))
}
