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
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// newNamespace makes a namespace below another one. It returns false if the server has no
// namespaces.
func newNamespace(t *testing.T, server *vaulttest.Server, parent, name string) bool {
	t.Helper()
	status, _, err := server.Do("POST", strings.TrimPrefix(parent+"/sys/namespaces/"+name, "/"), nil)
	require.NoError(t, err)
	return status == http.StatusOK
}

// A missing namespace is an error of the settings for all hosts, whatever the token.
func TestNamespaceThatIsNotThere(t *testing.T) {
	t.Parallel()
	// As OpenBao 2.6.2 answers to every request there, with and without a token.
	address, token := wrongServer(t, always(404, `{"errors":["namespace not found"]}`+"\n")), "s.token"
	if server := vaulttest.Shared(t); newNamespace(t, server, "", vaulttest.Name()) {
		address, token = server.Address, server.Token
	}
	for _, test := range []struct {
		name      string
		method    string
		variables map[string]string
	}{
		{"a good token", "token", map[string]string{"VAULT_TOKEN": token}},
		{"a token that is none", "token", map[string]string{"VAULT_TOKEN": "garbage"}},
		{"a login", "approle", map[string]string{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vault := auth.New(auth.Settings{Address: address, AuthMethod: test.method, Namespace: "nowhere"}, environment(test.variables))
			hosts := []resolver.Host{
				host("one", "password", "vault:secret/a#b"),
				host("two", "password", "vault:secret/c#d", "user", "vault:kv/e#f"),
				host("three", "password", "as it stands"),
			}
			began := time.Now()
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 30 * time.Second})
			results := collect(run)
			report := run.Report()
			for i := range 2 {
				require.ErrorIs(t, results[i].Err(), resolver.Settings)
				assert.ErrorContains(t, results[i].Err(), "vault has no such namespace: nowhere (namespace not found at "+address+"); correct namespace in the settings, or VAULT_NAMESPACE on the Patch server")
			}
			assert.NoError(t, results[2].Err())
			assert.Len(t, report.Causes, 1, "%s", report)
			assert.LessOrEqual(t, report.Requests, 2)

			for _, fields := range [][]ref.Value{nil, fieldsOf("vault:secret/a#b", "vault:kv/e#f")} {
				v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
				assert.Equal(t, resolver.Settings, v.Connection.Kind, "%s", v)
				assert.Equal(t, "correct namespace, or VAULT_NAMESPACE on the Patch server: Vault has none of this name", v.Connection.Fix)
				assert.False(t, v.Connection.LoggedIn)
				for _, field := range v.Fields {
					assert.Equal(t, resolver.Settings, field.Kind)
				}
			}
			assert.Less(t, time.Since(began), 20*time.Second, "it was waited for")
		})
	}
}

// The token's namespace exists, but the UI's namespace below it does not.
func TestNamespaceBelowIsNotThere(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	pinned, token := "team"+vaulttest.Name(), server.ReaderToken(t, "secret/data/a")
	address := server.Address
	if newNamespace(t, server, "", pinned) {
		token = vaulttest.Text(server.Must(t, "POST", pinned+"/auth/token/create", map[string]any{}), "auth", "client_token")
	} else {
		address = behind(t, server, func(w http.ResponseWriter, path string) bool {
			there := path == "auth/token/lookup-self" || path == "sys/health"
			if !there {
				always(404, `{"errors":["namespace not found"]}`+"\n")(w, nil)
			}
			return !there
		})
	}
	vault := auth.New(auth.Settings{Address: address, Namespace: pinned + "/nowhere"}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_NAMESPACE": pinned}))
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("one", "password", "vault:secret/a#b"), host("two", "password", "vault:secret/c#d")}, resolver.Options{})
	for _, result := range collect(run) {
		assert.ErrorIs(t, result.Err(), resolver.Settings)
	}
	assert.Len(t, run.Report().Causes, 1, "%s", run.Report())
	for _, fields := range [][]ref.Value{nil, fieldsOf("vault:secret/a#b")} {
		v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
		assert.Equal(t, resolver.Settings, v.Connection.Kind, "%s", v)
	}
}

// writeIn mounts KV v2 in a namespace, which ends with a slash or is empty, and writes a
// secret there.
func writeIn(t *testing.T, server *vaulttest.Server, namespace, kv string) {
	t.Helper()
	server.Must(t, "POST", namespace+"sys/mounts/"+kv, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	require.Eventually(t, func() bool {
		status, _, err := server.Do("PUT", namespace+kv+"/data/app", map[string]any{"data": map[string]any{"password": "right"}})
		return err == nil && status == http.StatusOK
	}, time.Minute, 5*time.Millisecond)
}

// A path that repeats the namespace of the settings is in no mount, whatever the policy. The
// advice is to omit it.
func TestNamespaceInThePath(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	namespace, kv, at := "team"+vaulttest.Name(), "kv-"+vaulttest.Name(), ""
	if newNamespace(t, server, "", namespace) {
		at = namespace + "/"
	}
	writeIn(t, server, at, kv)
	reader := server.ReaderToken(t, at+kv+"/data/app")
	for _, test := range []struct {
		name, token string
		unlists     bool
	}{
		{"a reader", reader, false},
		{"a root token", server.Token, false},
		{"a root token, without the list of mounts", server.Token, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := server.Address
			if test.unlists {
				address = behind(t, server, refuses("sys/internal/"))
			}
			vault := auth.New(auth.Settings{Address: address, Namespace: namespace + "/"}, environment(map[string]string{"VAULT_TOKEN": test.token}))
			_, err := resolve(t, vault, "vault:"+namespace+"/"+kv+"/app#password")
			assert.ErrorContains(t, err, " omit "+namespace+"/ from the path, since the namespace is in the settings; or ")
			if test.unlists {
				return // OpenBao does not show the type of a guessed mount
			}
			_, err = resolve(t, vault, "vault:"+kv+"/app#password")
			assert.NoError(t, err)
		})
	}
}

// A policy in the token's namespace names paths of a namespace below it relative to its
// own, in errors and in Policy. A server without namespaces ignores them, and needs the line
// without the prefix. The advice is followed.
func TestPolicyOfANamespaceBelow(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	for _, test := range []struct {
		name    string
		below   string // the UI's namespace, below the pinned one
		unlists bool   // the list of mounts is blocked
		login   bool
		blind   bool // the token may not be looked up
	}{
		{name: "the same"},
		{name: "a child", below: "child"},
		{name: "a grandchild", below: "child/of"},
		{name: "a child, by a login", below: "child", login: true},
		{name: "a child, without the list of mounts", below: "child", unlists: true},
		{name: "a child, by a token that may not be looked up", below: "child", blind: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kv := "kv-" + vaulttest.Name()
			pinned := "team" + vaulttest.Name()
			namespace := pinned
			in := func(_, path string) string { return path } // without namespaces, all is in one place
			real := newNamespace(t, server, "", pinned)
			for name := range strings.SplitSeq(test.below, "/") {
				if name == "" {
					continue
				}
				if real {
					require.True(t, newNamespace(t, server, namespace, name))
				}
				namespace += "/" + name
			}
			if real {
				in = func(namespace, path string) string { return namespace + "/" + path }
			}
			writeIn(t, server, in(namespace, ""), kv)

			address := server.Address
			if test.unlists {
				address = behind(t, server, refuses("sys/internal/"))
			}
			// with makes a Vault whose token has the policy.
			with := func(hcl string) *auth.Vault {
				policy := "policy-" + vaulttest.Name()
				server.Must(t, "PUT", in(pinned, "sys/policies/acl/"+policy), map[string]any{"policy": hcl})
				settings := auth.Settings{Address: address, Namespace: namespace, Mounts: []string{kv}}
				if !test.login {
					token := vaulttest.Text(server.Must(t, "POST", in(pinned, "auth/token/create"), map[string]any{"policies": []string{policy}, "no_default_policy": test.blind}), "auth", "client_token")
					return auth.New(settings, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_NAMESPACE": pinned}))
				}
				mount := "approle-" + vaulttest.Name()
				server.Must(t, "POST", in(pinned, "sys/auth/"+mount), map[string]any{"type": "approle"})
				role := in(pinned, "auth/"+mount+"/role/agent")
				server.Must(t, "POST", role, map[string]any{"token_policies": policy, "bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})
				id := vaulttest.Text(server.Must(t, "GET", role+"/role-id", nil), "data", "role_id")
				settings.AuthMethod = "approle"
				return auth.New(settings, environment(map[string]string{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": id, "VAULT_NAMESPACE": pinned}))
			}
			hosts := []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}
			api := strings.TrimPrefix(test.below+"/"+kv+"/data/app", "/")
			line := fmt.Sprintf("path %q { capabilities = [\"read\"] }", api)

			denied := with(`path "of/no/matter" { capabilities = ["read"] }`)
			result := collect(resolver.Resolve(t.Context(), denied, hosts, resolver.Options{}))[0]
			require.ErrorIs(t, result.Err(), resolver.Denied)
			assert.ErrorContains(t, result.Err(), "policy: "+line)
			v := resolver.Check(t.Context(), denied, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{})
			require.Equal(t, resolver.Denied, v.Fields[0].Kind)
			assert.Contains(t, v.Fields[0].Text, line)
			assertRoundTrip(t, v)
			// Only the look-up of a token in a namespace shows that the server has them.
			unsure := test.below != "" && (!real || test.login || test.blind)
			omit := "if this Vault has no namespaces, omit " + test.below + "/ from the line"
			assert.Equal(t, unsure, strings.Contains(result.Err().Error(), omit), result.Err())

			granted := line
			if !real {
				granted = fmt.Sprintf("path %q { capabilities = [\"read\"] }", kv+"/data/app")
			}
			served := with(granted)
			result = collect(resolver.Resolve(t.Context(), served, hosts, resolver.Options{}))[0]
			require.NoError(t, result.Err())
			v = resolver.Check(t.Context(), served, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{})
			require.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
			policy, err := resolver.Policy(references(t, kv+"/app"), v.Mounts)
			require.NoError(t, err)
			if test.blind {
				assert.Contains(t, v.String(), "grant it update on child/sys/capabilities-self,")
				powers := strings.Replace(granted, kv+"/data/app", "sys/capabilities-self", 1)
				v = resolver.Check(t.Context(), with(granted+"\n"+strings.Replace(powers, "read", "update", 1)), fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{})
				assert.NotContains(t, codes(v.Connection.Findings), resolver.CapabilitiesUnknown, "%s", v)
			}
			assert.Equal(t, line+"\n", policy)
		})
	}
}
