package vaulttest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestProxy(t *testing.T) {
	t.Parallel()
	plain, withTLS := vaulttest.Shared(t), vaulttest.SharedTLS(t)
	for _, test := range []struct {
		name   string
		server *vaulttest.Server
		config vaulttest.ProxyConfig
		bare   int // the status of a read without a token
		given  int // and with a token that may read nothing
	}{
		{"passes on", plain, vaulttest.ProxyConfig{}, 403, 403},
		{"agent passes on", plain, vaulttest.ProxyConfig{Agent: true}, 403, 403},
		{"before TLS", withTLS, vaulttest.ProxyConfig{Cache: true}, 403, 403},
		{"auto-auth for the sink alone", plain, vaulttest.ProxyConfig{AutoAuth: map[string]any{}}, 403, 403},
		{"its token for requests without one", plain, vaulttest.ProxyConfig{AutoAuth: map[string]any{}, UseToken: "true"}, 200, 403},
		{"its token for all", plain, vaulttest.ProxyConfig{AutoAuth: map[string]any{}, UseToken: "force"}, 200, 200},
		{"with a cache", plain, vaulttest.ProxyConfig{AutoAuth: map[string]any{}, UseToken: "force", Cache: true}, 200, 200},
		{"its token may not look at itself", plain, vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_no_default_policy": true}, UseToken: "force"}, 200, 200},
		{"agent", withTLS, vaulttest.ProxyConfig{Agent: true, AutoAuth: map[string]any{}, UseToken: "force", Cache: true, RequireHeader: true}, 200, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kv := test.server.KV(t, 2)
			test.server.Put(t, kv, "app", map[string]any{"k": "v"})
			url := "/v1/" + kv + "/data/app"
			if test.config.AutoAuth != nil {
				test.config.AutoAuth["token_policies"] = test.server.Policy(t, `path "`+kv+`/data/app" { capabilities = ["read"] }`)
			}
			p := test.server.Proxy(t, test.config)
			run := "run-" + vaulttest.Name()
			good := test.server.ReaderToken(t, kv+"/data/app")
			if test.config.RequireHeader {
				assert.Equal(t, http.StatusPreconditionFailed, get(t, p.Address+url, good, run))
				return
			}
			assert.Equal(t, test.bare, get(t, p.Address+url, "", run))
			assert.Equal(t, 200, get(t, p.Address+url, good, run))
			assert.Equal(t, test.given, get(t, p.Address+url, test.server.ReaderToken(t, "none"), run))

			// The audit file shows the client's User-Agent behind the proxy's own,
			// and whose token was used.
			var own int
			requests := test.server.RequestsBy(t, run)
			require.Len(t, requests, 3)
			for _, r := range requests {
				assert.Contains(t, r.UserAgent, "API Proxy")
				if r.Accessor == p.Accessor && p.Accessor != "" {
					own++
				}
			}
			assert.Equal(t, map[string]int{"": 0, "true": 1, "force": 3}[test.config.UseToken], own)

			if test.config.AutoAuth == nil {
				assert.Empty(t, p.Sink+p.Accessor)
				return
			}
			assert.True(t, test.server.Alive(t, p.Accessor))
			token, err := os.ReadFile(p.Sink)
			require.NoError(t, err)
			assert.Equal(t, 200, get(t, test.server.Address+url, string(token), run))
			test.server.Must(t, "POST", "auth/token/revoke-accessor", map[string]any{"accessor": p.Accessor})
			assert.False(t, test.server.Alive(t, p.Accessor))
		})
	}
}

// With wrap_ttl, the file holds this instead of a token.
func TestProxySinkIsWrapped(t *testing.T) {
	t.Parallel()
	s := vaulttest.Shared(t)
	for _, agent := range []bool{false, true} {
		p := s.Proxy(t, vaulttest.ProxyConfig{Agent: agent, AutoAuth: map[string]any{"token_policies": "default"}, WrapTTL: "5m"})
		text, err := os.ReadFile(p.Sink)
		require.NoError(t, err)
		var sink map[string]any
		require.NoError(t, json.Unmarshal(text, &sink))
		assert.ElementsMatch(t, []string{"token", "accessor", "ttl", "creation_time", "creation_path", "wrapped_accessor"}, slices.Collect(maps.Keys(sink)))
		unwrapped := s.Must(t, "POST", "sys/wrapping/unwrap", map[string]any{"token": sink["token"]})
		token := vaulttest.Text(unwrapped, "data", "token")
		status, answer, err := s.DoAs(token, "GET", "auth/token/lookup-self", nil)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		assert.Equal(t, p.Accessor, vaulttest.Text(answer, "data", "accessor"))
	}
}

// Clients of such a proxy must know two things: with "force", all their requests use the
// proxy's token; and with a cache, two clients get the same token.
func TestProxyTakesTokensForItsOwn(t *testing.T) {
	t.Parallel()
	s := vaulttest.Shared(t)
	login := func(p *vaulttest.Proxy, role *vaulttest.AppRole, secretID string) string {
		response, err := http.Post(p.Address+"/v1/auth/"+role.Mount+"/login", "application/json",
			strings.NewReader(`{"role_id":"`+role.RoleID+`","secret_id":"`+secretID+`"}`))
		require.NoError(t, err)
		defer response.Body.Close()
		var answer map[string]any
		require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
		token := vaulttest.Text(answer, "auth", "client_token")
		require.NotEmpty(t, token)
		return token
	}
	revoke := func(address, token string) {
		request, err := http.NewRequestWithContext(t.Context(), "POST", address+"/v1/auth/token/revoke-self", nil)
		require.NoError(t, err)
		request.Header.Set("X-Vault-Token", token)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		response.Body.Close()
		require.Equal(t, http.StatusNoContent, response.StatusCode)
	}
	auto := map[string]any{"token_policies": "default"}

	force := s.Proxy(t, vaulttest.ProxyConfig{AutoAuth: auto, UseToken: "force"})
	token := login(force, force.AppRole, force.AppRole.SecretID(t, nil))
	revoke(force.Address, token)
	assert.False(t, s.Alive(t, force.Accessor))
	s.Must(t, "POST", "auth/token/lookup", map[string]any{"token": token})

	given := s.Proxy(t, vaulttest.ProxyConfig{AutoAuth: auto, UseToken: "true"})
	revoke(given.Address, login(given, given.AppRole, given.AppRole.SecretID(t, nil)))
	assert.True(t, s.Alive(t, given.Accessor))

	for _, cache := range []bool{false, true} {
		p := s.Proxy(t, vaulttest.ProxyConfig{Cache: cache})
		role := s.AppRole(t, auto)
		secretID := role.SecretID(t, nil)
		first, second := login(p, role, secretID), login(p, role, secretID)
		assert.Equal(t, cache, first == second)
	}
}

func TestProxyStops(t *testing.T) {
	s := vaulttest.Shared(t)
	var p *vaulttest.Proxy
	t.Run("test", func(t *testing.T) {
		t.Setenv("VAULT_ADDR", "http://192.0.2.1:1") // which the proxy does not see
		p = s.Proxy(t, vaulttest.ProxyConfig{})
		assert.Equal(t, 200, get(t, p.Address+"/v1/sys/health", "", "vaulttest"))
		p.Stop()
		assert.True(t, refuses(p.Address))
		p = s.Proxy(t, vaulttest.ProxyConfig{AutoAuth: map[string]any{}})
		assert.FileExists(t, p.Sink)
	})
	assert.True(t, refuses(p.Address), "%s still listens after the test", p.Address)
	assert.NoFileExists(t, p.Sink)
}
