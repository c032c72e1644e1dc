package resolver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// A path that may lead to a token gets no policy line, and takes none from its neighbors.
func TestPathWithAReservedSegmentInAKVMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := server.KV(t, 2)
	for _, path := range []string{"app", "apps/auth/db", "web"} {
		server.Put(t, mount, path, map[string]any{"password": "right"})
	}
	fields := fieldsOf("vault:"+mount+"/app#password", "vault:"+mount+"/apps/auth/db#password", "vault:"+mount+"/web#password")
	refs := []ref.Ref{fields[0].Ref(), fields[1].Ref(), fields[2].Ref()}
	token := server.NewToken(t, map[string]any{"policies": []string{"default"}, "ttl": "999h"})
	for _, mounts := range [][]string{nil, {mount}} {
		vault := auth.New(auth.Settings{Address: server.Address, Mounts: mounts}, environment(map[string]string{"VAULT_TOKEN": token}))
		v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
		for _, field := range v.Fields {
			assert.Equal(t, resolver.Denied, field.Kind, "%s", v)
		}
		assert.Contains(t, v.Fields[1].Text, "then grant the token read on "+mount+"/data/apps/auth/db by hand")
		assert.NotContains(t, v.Fields[1].Text, "capabilities")
		policy, err := resolver.Policy(refs, v.Mounts)
		assert.ErrorContains(t, err, "it may lead to a token, not to a secret; if "+mount+" is a KV mount, grant the token read on "+mount+"/data/apps/auth/db by hand")

		// The policy grants the others, and with the line written by hand all are served.
		name := server.Policy(t, policy)
		granted := server.NewToken(t, map[string]any{"policies": []string{name}, "ttl": "999h"})
		byHand := server.NewToken(t, map[string]any{"policies": []string{name, server.Policy(t, fmt.Sprintf(`path "%s/data/apps/auth/db" { capabilities = ["read"] }`, mount))}, "ttl": "999h"})
		for token, want := range map[string][]resolver.Kind{granted: {resolver.OK, resolver.Denied, resolver.OK}, byHand: {resolver.OK, resolver.OK, resolver.OK}} {
			v := resolver.Check(t.Context(), connect(server, token), fields, resolver.CheckOptions{})
			assert.Equal(t, want, []resolver.Kind{v.Fields[0].Kind, v.Fields[1].Kind, v.Fields[2].Kind}, "%s", v)
			policy, err := resolver.Policy(refs, v.Mounts)
			assert.NoError(t, err, "Vault lists the mount")
			assert.Contains(t, policy, `path "`+mount+`/data/apps/auth/db" {`)
		}
	}
}

// A secret may be at a path that looks like that of a login. Its refusal is about the token.
func TestSecretAtThePathOfALogin(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := server.KV(t, 2)
	policy := server.Policy(t, `path "`+mount+`/data/*" { capabilities = ["read"] }`)
	paths := []string{"app", "api/v1/auth/oidc/login"}
	var hosts []resolver.Host
	for _, path := range paths {
		server.Put(t, mount, path, map[string]any{"password": "right"})
		hosts = append(hosts, host(path, "password", "vault:"+mount+"/"+path+"#password"))
	}
	method, id := appRole(t, server, map[string]any{"token_policies": []string{policy}, "token_ttl": "1h", "token_num_uses": 1, "token_no_default_policy": true})
	vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_APPROLE_MOUNT": method, "VAULT_ROLE_ID": id}))
	for _, result := range resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Workers: 1}).Results() {
		assert.NoError(t, result.Err())
	}
}

// No path is compared with the pins while the environment is malformed, so none is read
// even if it is repaired before the loop.
func TestEnvironmentRepairedBeforeTheLoop(t *testing.T) {
	t.Parallel()
	h := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, path string) {
		t.Error("read ", path)
		secretV2(w, `{"password":"x"}`, "null")
	}}
	variables := map[string]string{"LUUMEN_VAULT_PATHS": "secret/luumen"}
	vault := auth.New(auth.Settings{Address: h.start(t).Settings().Address}, environment(variables))
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:secret/other/app#password")}, resolver.Options{})
	variables["VAULT_TOKEN"] = "hvs.any"
	for _, result := range run.Results() {
		assert.ErrorIs(t, result.Err(), resolver.Environment)
	}
}

// The JSON of an error decodes to problems, and never to an error that says nothing.
func TestErrorsAreNotDecoded(t *testing.T) {
	t.Parallel()
	run := resolver.Resolve(t.Context(), auth.New(auth.Settings{}, environment(nil)), []resolver.Host{host("h", "password", "vault:secret/app#password")}, resolver.Options{})
	for _, result := range run.Results() {
		text, err := json.Marshal(result.Err())
		require.NoError(t, err)
		var decoded resolver.HostError
		assert.ErrorContains(t, json.Unmarshal(text, &decoded), "a FieldError cannot be decoded")
		var problems struct{ Fields []resolver.Problem }
		require.NoError(t, json.Unmarshal(text, &problems))
		want, ok := errors.AsType[*resolver.FieldError](result.Err())
		require.True(t, ok)
		assert.Equal(t, want.Kind(), problems.Fields[0].Kind)
	}
}
