package resolver_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// Vault's wrapped answers have an empty request id. They are recognized in any request for
// which a proxy asks for wrapping.
func TestWrappedAnswers(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv1, kv2 := server.KV(t, 1), server.KV(t, 2)
	server.Put(t, kv1, "app", map[string]any{"password": "right"})
	server.Put(t, kv2, "app", map[string]any{"password": "right"})
	policy := server.Policy(t, `path "`+kv1+`/*" { capabilities = ["read"] } path "`+kv2+`/*" { capabilities = ["read"] }`)
	mount, roleID := appRole(t, server, map[string]any{"token_policies": policy})
	for _, test := range []struct{ name, wrapped, method, kv string }{
		{"a read of KV v2", kv2 + "/data/app", "token", kv2},
		{"a read of KV v1", kv1 + "/app", "token", kv1},
		{"a login", "auth/" + mount + "/login", "approle", kv2},
		{"every answer", "", "token", kv2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			front := inFront(t, server, func(r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/v1/"+test.wrapped) {
					r.Header.Set("X-Vault-Wrap-TTL", "60s")
				}
			})
			vault := auth.New(auth.Settings{Address: front, AuthMethod: test.method}, environment(map[string]string{
				"VAULT_TOKEN": server.Token, "VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount,
			}))
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+test.kv+"/app#password")}, resolver.Options{})
			err := collect(run)[0].Err()
			require.ErrorIs(t, err, resolver.BadResponse)
			assert.ErrorContains(t, err, "wraps its answers; remove wrapping from the proxy in front of Vault, and min_wrapping_ttl from the policy")
			assert.NotContains(t, err.Error(), "hvs.")
			shown, jsonErr := json.Marshal(err)
			require.NoError(t, jsonErr)
			assert.Contains(t, string(shown), `"reason":"Vault wraps its answers","fix":"remove wrapping`)
			isWarned := slices.ContainsFunc(run.Report().Findings, func(f auth.Finding) bool { return f.Code == auth.TokenNotRevoked })
			assert.Equal(t, test.method != "token", isWarned, "the token of the login is in the wrapped answer")
		})
	}
}
