package resolver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// A check ends in time, at whatever rate Vault lets requests through. It says that it ended
// too early, and not that Vault is down.
func TestCheckUnderARateLimit(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	kv := server.KV(t, 2)
	const n = 60
	var fields []ref.Value
	for i := range n {
		server.Put(t, kv, fmt.Sprint("a", i), map[string]any{"password": "x"})
		fields = append(fields, ref.Parse(fmt.Sprintf("vault:%s/a%d#password", kv, i)))
	}
	check := func(variables map[string]string) {
		variables["VAULT_TOKEN"], variables["VAULT_CLIENT_TIMEOUT"] = server.Token, "3"
		began := time.Now()
		v := resolver.Check(t.Context(), auth.New(auth.Settings{Address: server.Address}, environment(variables)), fields, resolver.CheckOptions{})
		assert.Less(t, time.Since(began), 12*time.Second, "patience and two attempts, and time for a busy machine")
		assert.Equal(t, resolver.OK, v.Connection.Kind)
		kinds := make(map[resolver.Kind]int)
		for _, field := range v.Fields {
			kinds[field.Kind]++
			if field.Kind == resolver.RateLimited {
				assert.Equal(t, "the check ended before Vault had answered all of it", field.Reason)
			}
		}
		assert.NotZero(t, kinds[resolver.OK])
		assert.NotZero(t, kinds[resolver.RateLimited])
	}
	check(map[string]string{"VAULT_RATE_LIMIT": "5:5"}) // the operator's own
	server.Must(t, http.MethodPost, "sys/quotas/rate-limit/q", map[string]any{"rate": 3, "interval": "1s", "path": kv + "/"})
	check(map[string]string{})
}

// However short an attempt may be, there is time within a check's limit for the revocation.
func TestCheckEndsInTimeForItsRevocation(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x"})
	a := server.AppRole(t, map[string]any{"token_policies": server.Policy(t, `path "`+kv+`/data/app" { capabilities = ["read"] }`)})
	began := time.Now()
	address := behind(t, server, func(w http.ResponseWriter, path string) bool {
		limited := path == "auth/token/lookup-self" || strings.HasPrefix(path, kv+"/data/limited") ||
			path == kv+"/data/app" && time.Since(began) < time.Second // so that patience lasts
		if limited {
			always(429, `{"errors":["request path \"x\": rate limit quota exceeded"]}`)(w, nil)
		}
		return limited
	})
	vault := auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, environment(map[string]string{
		"VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil), "VAULT_APPROLE_MOUNT": a.Mount, "VAULT_CLIENT_TIMEOUT": "200ms"}))
	resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password", "vault:"+kv+"/limited1#password", "vault:"+kv+"/limited2#password"), resolver.CheckOptions{})
	assert.Less(t, time.Since(began), 3400*time.Millisecond+time.Second, "patience and two attempts, and time for a busy machine")
}

// What a check found to be no KV mount gets no policy.
func TestPolicyAfterACheckOfAnotherEngine(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv, pki := server.KV(t, 2), "pki-"+vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/mounts/"+pki, map[string]any{"type": "pki"})
	server.Must(t, http.MethodPost, pki+"/root/generate/internal", map[string]any{"common_name": "Root"})
	server.Put(t, kv, "app", map[string]any{"password": "x"})
	fields := []ref.Value{ref.Parse("vault:" + kv + "/app#password"), ref.Parse("vault:" + pki + "/cert/ca#certificate")}
	for _, blocked := range []bool{false, true} {
		address, version := server.Address, ""
		if blocked {
			address, version = behind(t, server, refuses("sys/internal/ui/mounts")), "v1"
		}
		vault := auth.New(auth.Settings{Address: address, KVVersion: version}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
		v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
		require.Equal(t, resolver.NotKV, v.Fields[1].Kind)
		policy, err := resolver.Policy([]ref.Ref{fields[0].Ref(), fields[1].Ref()}, v.Mounts)
		assert.ErrorContains(t, err, "the mount "+pki+" is not KV")
		assert.NotContains(t, policy, pki)
		assert.Contains(t, policy, kv)
	}
}

// Whoever types a reference cannot put a policy line for a path with tokens into the log.
func TestNoPolicyLineForTokens(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	token := server.ReaderToken(t, server.KV(t, 2)+"/data/app")
	for _, path := range []string{"team/auth/token/lookup-self", "team/sys/raw/x", "team/identity/oidc/token/x"} {
		_, err := resolve(t, connect(server, token), "vault:"+path+"#password")
		require.ErrorIs(t, err, resolver.Denied, path)
		assert.NotContains(t, err.Error(), "capabilities")
	}
}

// Policies after a check that could not log in have the prefix that the pinned namespace
// demands.
func TestNamespaceAfterAFailedLogin(t *testing.T) {
	t.Parallel()
	server := wrongServer(t, always(400, `{"errors":["invalid role or secret ID"]}`))
	vault := auth.New(auth.Settings{Address: server, AuthMethod: "approle", Namespace: "team/child", Mounts: []string{"named"}},
		environment(map[string]string{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "the-secret-id", "VAULT_NAMESPACE": "team"}))
	fields := []ref.Value{ref.Parse("vault:kv/app#password"), ref.Parse("vault:named/app#password")}
	v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
	require.Equal(t, resolver.Login, v.Connection.Kind)
	policy, err := resolver.Policy([]ref.Ref{fields[0].Ref(), fields[1].Ref()}, v.Mounts)
	require.NoError(t, err)
	assert.Contains(t, policy, `path "child/kv/data/app"`)
	assert.Contains(t, policy, `path "child/named/data/app"`)
}

// The namespace of a given token is the one that Vault says. Its policies count from there.
func TestNamespaceOfAGivenToken(t *testing.T) {
	t.Parallel()
	server := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/lookup-self"):
			always(200, `{"request_id":"1","data":{"accessor":"a","ttl":0,"type":"service","policies":["p"],"namespace_path":"team/"},"mount_type":"token"}`)(w, r)
		case strings.HasSuffix(r.URL.Path, "/mounts"):
			always(200, `{"request_id":"1","data":{"secret":{"kv/":{"type":"kv","options":{"version":"2"}}}}}`)(w, r)
		default:
			always(403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`)(w, r)
		}
	})
	vault := auth.New(auth.Settings{Address: server, Namespace: "team/child"}, environment(map[string]string{"VAULT_TOKEN": "hvs.given"}))
	_, err := resolve(t, vault, "vault:kv/app#password")
	require.ErrorIs(t, err, resolver.Denied)
	assert.ErrorContains(t, err, `path "child/kv/data/app" { capabilities = ["read"] }`)
}

// A cause has the reference that its hosts share.
func TestReferenceOfACause(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for other, want := range map[string]string{"password": "vault:" + kv + "/none#password", "user": ""} {
		hosts := []resolver.Host{host("a", "p", "vault:"+kv+"/none#password"), host("b", "p", "vault:"+kv+"/none#"+other)}
		run := resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{})
		collect(run)
		causes := run.Report().Causes
		require.Len(t, causes, 1)
		assert.Equal(t, want, causes[0].Ref.String())
		text, err := json.Marshal(causes[0])
		require.NoError(t, err)
		assert.Equal(t, want != "", strings.Contains(string(text), "#password"))
	}
}

// A quota of Vault on one path costs the hosts of that path alone. A check says that a run
// would wait.
func TestQuotaOnOnePath(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	kv := server.KV(t, 1)
	var hosts []resolver.Host
	for i := range 400 {
		server.Put(t, kv, fmt.Sprint("a", i), map[string]any{"password": "x"})
		hosts = append(hosts, host(fmt.Sprint("h", i), "p", fmt.Sprintf("vault:%s/a%d#password", kv, i)))
	}
	server.Must(t, http.MethodPost, "sys/quotas/rate-limit/q", map[string]any{"rate": 1, "interval": "1h", "path": kv + "/a3"})
	server.Do(http.MethodGet, kv+"/a3", nil)
	vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
	for i, result := range resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 8 * time.Second}).Results() {
		if i == 3 {
			assert.ErrorIs(t, result.Err(), resolver.RateLimited)
		} else {
			assert.NoError(t, result.Err())
		}
	}
	v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/a4#password", "vault:"+kv+"/a3#password"), resolver.CheckOptions{})
	assert.Equal(t, []resolver.Kind{resolver.OK, resolver.OK, resolver.RateLimited}, []resolver.Kind{v.Connection.Kind, v.Fields[0].Kind, v.Fields[1].Kind})
	assert.Equal(t, "Vault is rate limiting the agent now; a run waits up to 60 s for it to pass", v.Fields[1].Reason)
}

// A check goes on without a side request that a proxy cuts off, or refuses with 429, as a
// run does; and the run's reads are not slowed down by it.
func TestSideRequestsThatAProxyCutsOff(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := server.KV(t, 2)
	server.Put(t, mount, "app", map[string]any{"password": "x"})
	fields := fieldsOf("vault:" + mount + "/app#password")
	cut := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	quota := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"errors":["request path \"x\": rate limit quota exceeded"]}`+"\n")
	}
	for _, test := range []struct {
		name     string
		prefixes []string
		answer   func(w http.ResponseWriter)
	}{
		{"sys/ is cut off", []string{"sys/"}, cut},
		{"auth/token/ is cut off", []string{"auth/token/"}, cut},
		{"both are cut off", []string{"sys/", "auth/token/"}, cut},
		{"a quota on the look-up", []string{"auth/token/lookup-self"}, quota},
		{"a quota on the list", []string{"sys/internal/"}, quota},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := behind(t, server, func(w http.ResponseWriter, path string) bool {
				blocked := slices.ContainsFunc(test.prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
				if blocked {
					test.answer(w)
				}
				return blocked
			})
			vault := auth.New(auth.Settings{Address: address, Mounts: []string{mount}}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
			v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{Patience: 8 * time.Second})
			assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
			assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{{Name: "h", Fields: map[string]ref.Value{"p": fields[0]}}}, resolver.Options{Patience: 4 * time.Second})
			for _, result := range run.Results() {
				assert.NoError(t, result.Err())
			}
		})
	}
}

// A token of another namespace than that of the settings is refused everywhere. The advice
// is the namespace, not a line that its policy may have already.
func TestTokenOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	for _, list := range []string{`{}`, `{"other/":{"type":"kv","options":{"version":"2"}}}`} {
		server := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
			status, body := 403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
			switch {
			case strings.HasSuffix(r.URL.Path, "/lookup-self"):
				status, body = 200, `{"request_id":"1","data":{"id":"t","accessor":"a","ttl":0,"expire_time":null,"type":"service","namespace_path":"team/"}}`
			case strings.HasSuffix(r.URL.Path, "/mounts"):
				status, body = 200, `{"request_id":"1","data":{"secret":`+list+`}}`
			}
			always(status, body)(w, r)
		})
		for namespace, want := range map[string]bool{"": true, "other": true, "team": false, "team/below": false} {
			vault := auth.New(auth.Settings{Address: server, Namespace: namespace}, environment(map[string]string{"VAULT_TOKEN": "t"}))
			_, err := resolve(t, vault, "vault:secret/app#password")
			require.ErrorIs(t, err, resolver.Denied)
			assert.Equal(t, want, strings.Contains(err.Error(), "the token belongs to the namespace team: enter that one"), err)
		}
	}
}

// A check of one path that fails for a while waits for it, as a run does: that Vault tells
// meanwhile what the token may do says nothing of the path.
func TestCheckOfAPathThatRecovers(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x"})
	field := ref.Parse("vault:" + kv + "/app#password")
	token := server.ReaderToken(t, kv+"/data/app")
	var reads atomic.Int64
	address := behind(t, server, func(w http.ResponseWriter, path string) bool {
		if path == kv+"/data/app" && reads.Add(1) <= 6 {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	v := resolver.Check(t.Context(), vaultAt(address, token), []ref.Value{field}, resolver.CheckOptions{})
	assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
	assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
	assert.EqualValues(t, 7, reads.Load())
}
