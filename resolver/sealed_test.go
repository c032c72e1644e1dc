package resolver_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// Vault Proxy repeats requests that a sealed Vault refuses for longer than an attempt
// lasts, but passes sys/health on. A check explains both.
func TestSealedBehindAProxy(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	token := server.ReaderToken(t, "secret/data/app")
	proxy := server.Proxy(t, vaulttest.ProxyConfig{})
	require.NoError(t, server.Seal())
	vault := auth.New(auth.Settings{Address: proxy.Address}, environment(map[string]string{
		"VAULT_TOKEN": token, "VAULT_ADDR": proxy.Address, "VAULT_CLIENT_TIMEOUT": "1",
	}))
	began := time.Now()
	v := resolver.Check(t.Context(), vault, fieldsOf("vault:secret/app#password"), resolver.CheckOptions{Patience: brief})
	t.Log(time.Since(began), v)
	require.NotNil(t, v.Connection.Health, "%s", v)
	assert.True(t, v.Connection.Health.Sealed)
	assert.NotEqual(t, resolver.OK, v.Connection.Kind)
	if v.Connection.Kind != resolver.Sealed {
		assert.Contains(t, codes(v.Connection.Findings), resolver.HealthSealed)
		assert.Contains(t, v.String(), "the node that answered sys/health is sealed or not initialized")
	}
}

// Behind a balancer, another node may answer sys/health than the other requests.
func TestOneSealedNodeBehindABalancer(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	_, health, err := vaulttest.SharedSealed(t).Do("GET", "sys/health", nil)
	require.NoError(t, err)
	require.Equal(t, true, health["sealed"])
	_, uninitialized, err := vaulttest.NewUninitialized(t).Do("GET", "sys/health", nil)
	require.NoError(t, err)
	require.Equal(t, false, uninitialized["initialized"])
	for _, test := range []struct {
		name   string
		health map[string]any
		token  string
		found  bool
	}{
		{"sealed", health, server.Token, true},
		{"not initialized", uninitialized, server.Token, true},
		{"sealed, and the token is none", health, "hvs.none", true},
		{"well", nil, server.Token, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(test.health)
			require.NoError(t, err)
			address := behind(t, server, func(w http.ResponseWriter, path string) bool {
				if path != "sys/health" || test.health == nil {
					return false
				}
				always(200, string(body))(w, nil)
				return true
			})
			v := resolver.Check(t.Context(), vaultAt(address, test.token), nil, resolver.CheckOptions{})
			if test.token == server.Token {
				assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
			} else {
				assert.Equal(t, resolver.Token, v.Connection.Kind, "%s", v)
			}
			assert.Equal(t, test.found, slices.Contains(codes(v.Connection.Findings), resolver.HealthSealed), "%s", v)
		})
	}
}

// The error of a locked namespace explains why there is no list of mounts.
func TestLockedNamespace(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	address := behind(t, server, func(w http.ResponseWriter, path string) bool {
		locked := path == mountList || strings.HasPrefix(path, "kv/")
		if locked {
			always(503, `{"errors":["API access to this namespace has been locked by an administrator - \"team\" must be unlocked to gain access."]}`)(w, nil)
		}
		return locked
	})
	vault := vaultAt(address, server.NewToken(t, map[string]any{"ttl": "999h"}))
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:kv/app#password")}, resolver.Options{Patience: brief})
	assert.ErrorIs(t, collect(run)[0].Err(), resolver.Sealed)
	assert.Empty(t, texts(run.Report().Findings))
	v := resolver.Check(t.Context(), vault, fieldsOf("vault:kv/app#password"), resolver.CheckOptions{Patience: brief})
	assert.Equal(t, resolver.Sealed, v.Connection.Kind, "%s", v)
	assert.NotContains(t, codes(v.Connection.Findings), resolver.MountsUnknown, "%s", v)
}
