package resolver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// hanging is a proxy in front of a server that never answers one path.
func hanging(t *testing.T, server *vaulttest.Server, silent string) (address string) {
	t.Helper()
	over := make(chan struct{})
	address = behind(t, server, func(_ http.ResponseWriter, path string) bool {
		if path != silent {
			return false
		}
		<-over
		return true
	})
	t.Cleanup(func() { close(over) }) // before the proxy is closed, which waits for its requests
	return address
}

// Every request except reads can hang. The run goes on after a third of patience at most,
// with a warning if something is lost.
func TestOptionalRequestsHang(t *testing.T) {
	t.Parallel()
	const patience = 15 * time.Second
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	policy := server.Policy(t, fmt.Sprintf(`path "%s/data/app" { capabilities = ["read"] }`, kv))
	login, roleID := appRole(t, server, map[string]any{"token_policies": []string{policy}, "token_ttl": "1h"})
	byLogin := map[string]string{"VAULT_APPROLE_MOUNT": login, "VAULT_ROLE_ID": roleID}
	given := func() map[string]string {
		return map[string]string{"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{"default", policy}, "ttl": "999h"})}
	}
	old := func() map[string]string { // below half of its time, so that a run renews it
		variables := given()
		server.Must(t, "POST", "auth/token/renew", map[string]any{"token": variables["VAULT_TOKEN"], "increment": "200h"})
		return variables
	}
	for _, test := range []struct {
		silent  string
		method  string
		with    func() map[string]string
		finding string // empty where nothing is lost
	}{
		{"sys/internal/ui/mounts", "token", given, resolver.MountsUnknown},
		{"auth/token/lookup-self", "token", given, auth.TokenExpiryUnknown},
		{"auth/token/renew-self", "token", old, auth.TokenNotRenewed},
		{"auth/token/lookup-self", "approle", func() map[string]string { return byLogin }, auth.TokenNotRevoked},
		{"auth/token/revoke-self", "approle", func() map[string]string { return byLogin }, auth.TokenNotRevoked},
		{"sys/capabilities-self", "token", given, ""},
		{"sys/health", "token", given, ""},
	} {
		t.Run(test.silent+" with "+test.method, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			vault := auth.New(auth.Settings{Address: hanging(t, server, test.silent), AuthMethod: test.method}, environment(test.with()))
			began := time.Now()
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{Patience: patience})
			results := collect(run)
			took := time.Since(began)
			require.NoError(t, results[0].Err())
			assert.Less(t, took, patience/2, "a third, and the rest for a busy machine")
			want := []string{}
			if test.finding != "" {
				want = []string{test.finding}
			}
			assert.Equal(t, want, codes(run.Report().Findings))
		})
	}
}

// A check waits for a hanging request as long as for one attempt.
func TestCheckOfRequestsThatHang(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	token := server.NewToken(t, map[string]any{"policies": []string{"default", server.Policy(t, fmt.Sprintf(`path "%s/data/app" { capabilities = ["read"] }`, kv))}, "ttl": "999h"})
	for silent, finding := range map[string]string{
		"sys/internal/ui/mounts": resolver.MountsUnknown,
		"auth/token/lookup-self": auth.TokenExpiryUnknown,
		"sys/capabilities-self":  resolver.CapabilitiesUnknown,
		"sys/health":             resolver.HealthUnknown,
	} {
		t.Run(silent, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			const timeout = 3 * time.Second
			variables := map[string]string{"VAULT_TOKEN": token, "VAULT_CLIENT_TIMEOUT": "3"}
			vault := auth.New(auth.Settings{Address: hanging(t, server, silent)}, environment(variables))
			began := time.Now()
			v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{})
			assert.Less(t, time.Since(began), 2*timeout+3*time.Second+3*time.Second, "3 s for a busy machine")
			assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
			assert.True(t, v.Connection.LoggedIn)
			assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
			assert.Contains(t, strings.Join(codes(v.Connection.Findings), " "), finding)
		})
	}
}
