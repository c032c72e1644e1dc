package resolver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// Proxies drop parts of requests.

// givenTo describes a Vault behind a proxy to the library, with the token in the
// environment.
func givenTo(address, token string) *auth.Vault {
	return auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": token}))
}

// A read of a pinned version returns that version or an error, even if a proxy drops the query.
func TestPinBehindAProxyThatDropsQueries(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for _, path := range []string{"app", "deleted"} {
		server.Put(t, kv, path, map[string]any{"password": "one"})
		server.Put(t, kv, path, map[string]any{"password": "two"})
	}
	server.Delete(t, kv, "deleted")
	address := inFront(t, server, func(r *http.Request) { r.URL.RawQuery = "" })
	results := collect(resolver.Resolve(t.Context(), givenTo(address, server.Token), []resolver.Host{
		host("another", "password", "vault:"+kv+"/app?version=1#password"),
		host("the latest", "password", "vault:"+kv+"/app?version=2#password"),
		host("another, deleted", "password", "vault:"+kv+"/deleted?version=1#password"),
	}, resolver.Options{}))
	for _, i := range []int{0, 2} {
		require.ErrorIs(t, results[i].Err(), resolver.BadResponse)
		assert.ErrorContains(t, results[i].Err(), "is version 2, not the pinned 1; check the proxy in front of Vault")
	}
	assert.NoError(t, results[1].Err())
}

// If a proxy drops the token of one read, the run logs in again, and revokes both tokens.
func TestTokenDroppedOnce(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	hosts := make([]resolver.Host, 5)
	for i := range hosts {
		server.Put(t, kv, fmt.Sprint("a", i), map[string]any{"password": "right"})
		hosts[i] = host(fmt.Sprint("h", i), "password", fmt.Sprintf("vault:%s/a%d#password", kv, i))
	}
	policy := server.Policy(t, fmt.Sprintf(`path "%s/data/*" { capabilities = ["read"] }`, kv))
	mount, roleID := appRole(t, server, map[string]any{"token_policies": []string{"default", policy}})
	var reads atomic.Int64
	address := inFront(t, server, func(r *http.Request) {
		if strings.Contains(r.URL.Path, kv+"/data/") && reads.Add(1) == 3 {
			r.Header.Del("X-Vault-Token")
		}
	})
	vault := auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount}))
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Workers: 1})
	for _, result := range collect(run) {
		assert.NoError(t, result.Err())
	}
	assert.Empty(t, codes(run.Report().Findings))
	assertNoToken(t, server, mount)
}

// A list without mounts does not prove a token: Vault sends it without one, too.
func TestTokenAlwaysDropped(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	address := inFront(t, server, func(r *http.Request) {
		r.Header.Del("X-Vault-Token")
		if strings.HasSuffix(r.URL.Path, "lookup-self") {
			r.URL.Path = "/ui/" // a page
		}
	})
	v := resolver.Check(t.Context(), givenTo(address, "garbage"), nil, resolver.CheckOptions{})
	assert.NotEqual(t, resolver.OK, v.Connection.Kind, "%s", v)
	assert.False(t, v.Connection.LoggedIn)
}

// Where the list of mounts is empty, one path is read, although others fail without a
// request.
func TestEmptyListAndPathsThatAreNotAskedFor(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	token := server.NewToken(t, map[string]any{"policies": []string{"nothing"}, "no_default_policy": true})
	for _, first := range []string{"vault:team/auth/x#password", "vault:" + kv + "/first#password"} {
		hosts := []resolver.Host{host("first", "password", first)}
		for i := range 20 {
			hosts = append(hosts, host(fmt.Sprint("h", i), "password", fmt.Sprintf("vault:%s/a%d#password", kv, i)))
		}
		id := vaulttest.Name()
		run := resolver.Resolve(t.Context(), connect(server, token), hosts, resolver.Options{RunID: id})
		results := collect(run)
		reads := 0
		for request, n := range asked(t, server, id) {
			if strings.HasPrefix(request, "read "+kv) {
				reads += n
			}
		}
		assert.Equal(t, 1, reads, first)
		assert.ErrorIs(t, results[20].Err(), resolver.Denied)
		assert.NotContains(t, codes(run.Report().Findings), resolver.MountsUnknown)
	}
	run := resolver.Resolve(t.Context(), connect(server, token), []resolver.Host{host("h", "password", "vault:team/auth/x#password")}, resolver.Options{})
	assert.ErrorIs(t, collect(run)[0].Err(), resolver.NotKV)
	assert.NotContains(t, codes(run.Report().Findings), resolver.MountsUnknown)
}

// A secret that is read shows that an empty list of mounts is wrong.
func TestEmptyListAndASecret(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 3 {
		server.Put(t, kv, fmt.Sprint("app", i), map[string]any{"password": "right"})
		hosts = append(hosts, host("h", "password", fmt.Sprintf("vault:%s/app%d#password", kv, i)))
	}
	address := behind(t, server, withoutList(200, "application/json", `{"request_id":"1","data":{"secret":{}}}`))
	run := resolver.Resolve(t.Context(), vaultAt(address, server.ReaderToken(t, kv+"/data/*")), hosts, resolver.Options{})
	for _, result := range collect(run) {
		assert.NoError(t, result.Err())
	}
	assert.Contains(t, codes(run.Report().Findings), resolver.MountsUnknown)
}

// Where the list of mounts is empty, a policy denial of one path is one of all, unless the
// settings name their mount.
func TestEmptyListAndADenial(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	token := server.ReaderToken(t, kv+"/data/app")
	address := behind(t, server, withoutList(200, "application/json", `{"request_id":"1","data":{"secret":{}}}`))
	for _, test := range []struct {
		mounts []string
		reads  bool
	}{{nil, false}, {[]string{"other"}, false}, {[]string{"other", kv}, true}} {
		vault := auth.New(auth.Settings{Address: address, Mounts: test.mounts}, environment(map[string]string{"VAULT_TOKEN": token}))
		results := collect(resolver.Resolve(t.Context(), vault, []resolver.Host{
			host("denied", "password", "vault:"+kv+"/typo#password"),
			host("granted", "password", "vault:"+kv+"/app#password"),
		}, resolver.Options{}))
		assert.ErrorIs(t, results[0].Err(), resolver.Denied, test.mounts)
		assert.Equal(t, test.reads, results[1].Err() == nil, "%s: %s", test.mounts, results[1])
	}
}

// A check with a very long time limit does what a run does.
func TestCheckWithALongTimeout(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": server.Token, "VAULT_CLIENT_TIMEOUT": "2000000h"}))
	v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{RunID: "прогон"})
	assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
	assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
	assert.Len(t, v.RunID, 12, "nothing of the given one can be sent")
}

// A token in the wrong variable is not shown with the paths that may be read.
func TestPinnedPathThatIsASecret(t *testing.T) {
	t.Parallel()
	for pin, want := range map[string]struct {
		kind resolver.Kind
		text string
	}{
		"hvs.Canary0123456789Canary":           {resolver.Environment, "LUUMEN_VAULT_PATHS holds what looks like a credential"},
		"ca9a4111-ca9a-4222-8333-ca9a4111ca9a": {resolver.Pinned, "it allows secret/luumen, one that is not shown"},
	} {
		vault := auth.New(auth.Settings{Address: "http://127.0.0.1:1"}, environment(map[string]string{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": "secret/luumen," + pin}))
		err := resolver.One(t.Context(), vault, host("h", "password", "vault:other/app#password"), resolver.Options{}).Err()
		require.ErrorIs(t, err, want.kind)
		assert.ErrorContains(t, err, want.text)
		assert.NotContains(t, err.Error(), pin)
	}
}

// Every refusal has Vault's own error as its cause.
func TestCauseOfARefusal(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	server.Put(t, kv, "deleted", map[string]any{"password": "right"})
	server.Delete(t, kv, "deleted")
	token := server.ReaderToken(t, kv+"/data/app", kv+"/data/deleted", kv+"/data/none")
	for path, want := range map[string]struct {
		kind   resolver.Kind
		status int
	}{
		"denied": {resolver.Denied, 403}, "none": {resolver.NotFound, 404}, "deleted": {resolver.Deleted, 404}, "app?version=7": {resolver.NoVersion, 404},
	} {
		result := resolver.One(t.Context(), connect(server, token), host("h", "password", "vault:"+kv+"/"+path+"#password"), resolver.Options{})
		require.ErrorIs(t, result.Err(), want.kind, path)
		var cause *api.ResponseError
		require.ErrorAs(t, result.Err(), &cause, path)
		assert.Equal(t, want.status, cause.StatusCode, path)
		assert.False(t, strings.ContainsAny(strings.Join(cause.Errors, ""), "\n\t"), "%q", cause.Errors)
	}
}
