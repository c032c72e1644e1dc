package resolver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// behind puts a proxy in front of the server that answers some paths below /v1/ itself.
func behind(t *testing.T, server *vaulttest.Server, answer func(w http.ResponseWriter, path string) bool) (address string) {
	t.Helper()
	target, err := url.Parse(server.Address)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	proxy.Transport = transport
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, strings.TrimPrefix(r.URL.Path, "/v1/")) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		front.Close()
		transport.CloseIdleConnections()
	})
	return front.URL
}

// withoutList blocks Vault's list of mounts with an answer.
func withoutList(status int, contentType, body string) func(w http.ResponseWriter, path string) bool {
	return func(w http.ResponseWriter, path string) bool {
		if path != "sys/internal/ui/mounts" {
			return false
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

var blocked = withoutList(403, "application/json", `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`)

// An address with a path is right if Vault accepts the token there, even if the list of
// mounts is not found.
func TestListOfMountsIsNotFoundBelowAPath(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	listless := behind(t, server, withoutList(404, "application/json", `{"errors":[]}`))
	front := inFront(t, &vaulttest.Server{Address: listless}, func(r *http.Request) { r.URL.Path = strings.TrimPrefix(r.URL.Path, "/vault") })
	vault := auth.New(auth.Settings{Address: front + "/vault", Mounts: []string{kv}}, environment(map[string]string{"VAULT_TOKEN": server.ReaderToken(t, kv+"/data/app")}))
	credential, err := resolve(t, vault, "vault:"+kv+"/app#password")
	require.NoError(t, err)
	assert.Equal(t, "right", credential.Reveal())
}

// If the list of mounts is not available, the run warns and uses the settings. The
// next run tries again.
func TestListOfMountsIsBlocked(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v1, v2 := server.KV(t, 1), server.KV(t, 2)
	nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
	top, _, _ := strings.Cut(nested, "/")
	transit := vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/mounts/"+transit, map[string]any{"type": "transit"})
	server.Must(t, http.MethodPost, transit+"/keys/a", nil)
	for _, kv := range []string{v1, v2, nested} {
		server.Put(t, kv, "app", map[string]any{"password": "of " + kv})
	}
	server.Put(t, v1, "data/odd", map[string]any{"password": "p"})

	for name, answer := range map[string]func(http.ResponseWriter, string) bool{
		"403":         blocked,
		"404":         withoutList(404, "application/json", `{"errors":[]}`),
		"405":         withoutList(405, "application/json", `{"errors":["unsupported operation"]}`),
		"html":        withoutList(404, "text/html", "<html>no</html>"),
		"plain":       withoutList(200, "text/plain", "ok"),
		"other json":  withoutList(200, "application/json", `{"request_id":"1","data":[1,2]}`),
		"no json":     withoutList(200, "application/json", `{"request_id":`),
		"other shape": withoutList(200, "application/json", `{"request_id":"1","data":{"secret":{"a/":7}}}`),
	} {
		t.Run(name, func(t *testing.T) {
			address := behind(t, server, answer)
			vault := auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+v2+"/app#password")}, resolver.Options{})
			password, err := collect(run)[0].Credential("password")
			require.NoError(t, err)
			assert.Equal(t, "of "+v2, password.Reveal())
			assert.Contains(t, strings.Join(texts(run.Report().Findings), "|"), "warning: vault's list of mounts is not available (sys/internal/ui/mounts), so mounts and KV versions are taken from the settings; let every proxy and rate limit pass the list, or name nested mounts in the settings")
		})
	}

	address := behind(t, server, blocked)
	reader := server.ReaderToken(t, v2+"/data/app")
	for _, c := range []struct {
		name     string
		settings auth.Settings
		token    string
		field    string
		want     string
		kind     resolver.Kind
		text     string
	}{
		{name: "v1 by the settings", settings: auth.Settings{KVVersion: "v1"}, field: v1 + "/app#password", want: "of " + v1},
		{name: "nested by the settings", settings: auth.Settings{Mounts: []string{top, nested + "/"}}, field: nested + "/app#password", want: "of " + nested},
		{name: "nested by a guess", field: nested + "/app#password", kind: resolver.NotFound,
			text: "vault has no mount for " + top + "/data/kv/app; check the path; if its mount is not " + top + ", name the mount in the settings"},
		{name: "pin below no mount", field: "no-" + v2 + "/app?version=3#password", kind: resolver.NotFound,
			text: "vault has no mount for no-" + v2 + "/data/app; check the path; if its mount is not no-" + v2 + ", name the mount in the settings"},
		{name: "v1 though v2", settings: auth.Settings{KVVersion: "v1"}, field: v2 + "/app#password", kind: resolver.KVVersion,
			text: "the mount " + v2 + " is KV v2, not v1 as in the settings; correct kv_version in the settings, or let every proxy and rate limit pass sys/internal/ui/mounts"},
		{name: "v2 though v1", field: v1 + "/app#password", kind: resolver.NotFound,
			text: "vault has no secret at " + v1 + "/data/app; check the path, and that the mount " + v1 + " is KV v2"},
		{name: "v2 though v1, and something is there", field: v1 + "/odd#password", kind: resolver.KVVersion,
			text: "the mount " + v1 + " is KV v1, not v2 as in the settings"},
		{name: "denied", token: reader, field: v2 + "/other#password", kind: resolver.Denied,
			text: `the agent's token may not read ` + v2 + `/data/other; add to its policy: path "` + v2 + `/data/other" { capabilities = ["read"] }; the mount ` + v2 + ` of KV v2 is a guess: if it is wrong, name the mount in the settings; if a policy already has this line, it has wrapping or parameter conditions (min_wrapping_ttl, required_parameters), or one of the token's policies denies the path`},
		{name: "denied, mount by the settings", settings: auth.Settings{Mounts: []string{v2}}, token: reader, field: v2 + "/other#password", kind: resolver.Denied,
			text: `add to its policy: path "` + v2 + `/data/other" { capabilities = ["read"] }`},
		{name: "not KV", settings: auth.Settings{KVVersion: "v1"}, field: transit + "/keys/a#name", kind: resolver.NotKV,
			text: "the mount " + transit + " is not KV"},
		{name: "a token behind a namespace", settings: auth.Settings{KVVersion: "v1"}, field: "ns1/AUTH/token/lookup-self#id", kind: resolver.NotKV,
			text: "the mount ns1 may not be KV, since Vault does not show its type"},
		{name: "a version of a token", settings: auth.Settings{KVVersion: "v1"}, field: "ns1/auth/token/x?version=2#id", kind: resolver.NotKV,
			text: "the mount ns1 may not be KV, since Vault does not show its type"},
		{name: "a mount of tokens", settings: auth.Settings{Mounts: []string{"ns1/auth/token"}}, field: "ns1/auth/token#id", kind: resolver.NotKV,
			text: "the mount ns1/auth/token may not be KV, since Vault does not show its type"},
		{name: "a version of metadata", settings: auth.Settings{KVVersion: "v1"}, field: v2 + "/metadata/app?version=2#id", kind: resolver.NotKV,
			text: v2 + "/metadata/app may be the metadata of a KV v2 mount, not a secret; name its mount in the settings, if it is KV v1"},
		{name: "pin on v1", settings: auth.Settings{KVVersion: "v1"}, field: v1 + "/app?version=1#password", kind: resolver.NoVersion,
			text: "the mount " + v1 + " is KV v1, which has no versions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.settings.Address = address
			token := c.token
			if token == "" {
				token = server.Token
			}
			password, err := resolve(t, auth.New(c.settings, environment(map[string]string{"VAULT_TOKEN": token})), "vault:"+c.field)
			if c.kind == "" {
				require.NoError(t, err)
				assert.Equal(t, c.want, password.Reveal())
				return
			}
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.text)
		})
	}
}

// A mount's own version wins over the settings, with one notice for all its paths.
func TestMountsOwnVersionWins(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	plain := server.KV(t, 2)
	likeAdvice := server.KVAt(t, vaulttest.Name()+"; then restart Vault", 2)
	vault := auth.New(auth.Settings{Address: server.Address, KVVersion: "v1"}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
	for kv, shown := range map[string]string{plain: plain, likeAdvice: strconv.Quote(likeAdvice)} {
		server.Put(t, kv, "app", map[string]any{"password": "p"})
		server.Put(t, kv, "other", map[string]any{"password": "p"})
		run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+kv+"/app#password", "other", "vault:"+kv+"/other#password")}, resolver.Options{})
		_, err := collect(run)[0].Credential("password")
		require.NoError(t, err)
		assert.Equal(t, []string{resolver.MountVersion}, codes(run.Report().Findings))
		assert.Contains(t, texts(run.Report().Findings), "notice: the mount "+shown+" is KV v2, not v1 as in the settings; it is read as KV v2")
	}
}

// A host whose path is surely denied does not wait for the paths that are read.
func TestPathThatIsNotReadIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	taken := make(chan struct{})
	server := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, _ string) {
		select {
		case <-taken:
			secretV2(w, `{"password":"x"}`, "null")
		case <-r.Context().Done():
		}
	}}
	hosts := []resolver.Host{host("read", "password", "vault:secret/app#password"), host("denied", "password", "vault:other/app#password")}
	var order []int
	for i, result := range resolver.Resolve(t.Context(), server.start(t), hosts, resolver.Options{Workers: 1}).Results() {
		if order = append(order, i); len(order) == 1 {
			close(taken)
			assert.ErrorIs(t, result.Err(), resolver.Denied)
		}
	}
	assert.Equal(t, []int{1, 0}, order)
	assert.EqualValues(t, 1, server.reads.Load(), "no attempt had to end for it")
}

// If the list of mounts ends the run, the hosts do not wait for the revocation.
func TestListOfMountsThatEndsTheRun(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount, id := appRole(t, server, map[string]any{})
	taken := make(chan struct{})
	address := behind(t, server, func(w http.ResponseWriter, path string) bool {
		switch path {
		case mountList:
			whole(w, 404, `{"errors":["namespace not found"]}`)
		case "auth/token/revoke-self":
			<-taken
			return false
		default:
			return false
		}
		return true
	})
	vault := auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": id}))
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:secret/app#password")}, resolver.Options{})
	for _, result := range run.Results() {
		assert.ErrorIs(t, result.Err(), resolver.Settings)
		close(taken)
	}
	assert.NotContains(t, codes(run.Report().Findings), auth.TokenNotRevoked, "it waited for the hosts")
	assertNoToken(t, server, mount)
}

// The settings name a nested mount that the token cannot see, so the policy line
// is not a guess.
func TestSettingsNameAnInvisibleMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
	server.Put(t, nested, "app", map[string]any{"password": "p"})
	settings := auth.Settings{Address: server.Address, Mounts: []string{nested}}
	token := server.NewToken(t, map[string]any{"policies": []string{"default"}})
	_, err := resolve(t, auth.New(settings, environment(map[string]string{"VAULT_TOKEN": token})), "vault:"+nested+"/app#password")
	require.ErrorIs(t, err, resolver.Denied)
	assert.ErrorContains(t, err, `add to its policy: path "`+nested+`/data/app" { capabilities = ["read"] }`)
	assert.NotContains(t, err.Error(), "guess")

	// The suggested line, pasted as it is, helps.
	_, line, _ := strings.Cut(err.Error(), "policy: ")
	line, _, _ = strings.Cut(line, "; if")
	corrected := server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, line)}})
	password, err := resolve(t, auth.New(settings, environment(map[string]string{"VAULT_TOKEN": corrected})), "vault:"+nested+"/app#password")
	require.NoError(t, err)
	assert.Equal(t, "p", password.Reveal())
}

// A mount that is upgraded to KV v2 while a run reads it costs no host. What the token may not
// read then is denied, with the line for KV v2.
func TestMountIsUpgradedMidway(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 1)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	server.Put(t, kv, "hr", map[string]any{"password": "right"})
	token := server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, fmt.Sprintf(`
		path "%[1]s/*" { capabilities = ["read"] }
		path "%[1]s/data/hr" { capabilities = ["deny"] }`, kv))}})
	var upgrade sync.Once
	front := behind(t, server, func(_ http.ResponseWriter, path string) bool {
		if strings.HasPrefix(path, kv+"/") {
			upgrade.Do(func() {
				server.Must(t, http.MethodPost, "sys/mounts/"+kv+"/tune", map[string]any{"options": map[string]string{"version": "2"}})
			})
		}
		return false
	})
	results := collect(resolver.Resolve(t.Context(), vaultAt(front, token), []resolver.Host{
		host("a", "password", "vault:"+kv+"/app#password"), host("b", "password", "vault:"+kv+"/hr#password"),
	}, resolver.Options{}))
	password, err := results[0].Credential("password")
	require.NoError(t, err)
	assert.Equal(t, []any{"right", 1}, []any{password.Reveal(), password.Version()})
	require.ErrorIs(t, results[1].Err(), resolver.Denied)
	assert.ErrorContains(t, results[1].Err(), `path "`+kv+`/data/hr" { capabilities = ["read"] }`)
}

// Without Vault's list, an answer must show that it is of KV. Servers before Vault 1.16, and
// OpenBao, do not show the type: then the settings must name the mount, and there must be no
// lease.
func TestAnswersThatAreNotOfKVAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		members string // of the answer
		named   bool
		says    string // empty if the secret is returned
	}{
		{"kv", `"mount_type":"kv",`, false, ""},
		{"generic", `"mount_type":"generic",`, false, ""},
		{"kv with a lease", `"mount_type":"kv","lease_id":"database/creds/app/1",`, false, ""},
		{"another type", `"mount_type":"cubbyhole",`, false, "is not KV"},
		{"another type, named", `"mount_type":"cubbyhole",`, true, "is not KV"},
		{"an empty type", `"mount_type":"",`, false, "is not KV"},
		{"an empty type, named", `"mount_type":"",`, true, "is not KV"},
		{"no type", ``, false, "may not be KV, since this server does not show its type; name the mount in the settings, or let every proxy and rate limit pass sys/internal/ui/mounts"},
		{"no type, named", ``, true, ""},
		{"a lease", `"lease_id":"database/creds/app/1",`, false, "may not be KV, since this server does not show its type"},
		{"a lease, named", `"lease_id":"database/creds/app/1",`, true, "is a dynamic secrets engine, not KV"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/v1/database/") {
					always(403, denial)(w, r)
					return
				}
				always(200, `{"request_id":"1",`+test.members+`"data":{"data":{"password":"c4nary"},"metadata":{"version":1}}}`)(w, r)
			})
			settings := auth.Settings{Address: address}
			if test.named {
				settings.Mounts = []string{"database"}
			}
			password, err := resolve(t, auth.New(settings, environment(map[string]string{"VAULT_TOKEN": "t"})), "vault:database/creds/app#password")
			if test.says == "" {
				require.NoError(t, err)
				assert.Equal(t, "c4nary", password.Reveal())
				return
			}
			require.ErrorIs(t, err, resolver.NotKV)
			assert.ErrorContains(t, err, "the mount database "+test.says)
			assert.NotContains(t, err.Error(), "c4nary")
			shown, jsonErr := json.Marshal(err)
			require.NoError(t, jsonErr)
			isUnknown := strings.HasPrefix(test.says, "may not")
			assert.Equal(t, isUnknown, strings.Contains(string(shown), `"Vault does not show whether the path is in a KV mount","fix":"name the mount in the settings, or `), "%s", shown)
			assert.Equal(t, !isUnknown, strings.Contains(string(shown), `"the path is not in a KV mount"`), "%s", shown)
		})
	}
}

// A listed mount whose type Vault does not show is not KV, whatever its reads look like.
func TestListedMountWithoutAType(t *testing.T) {
	t.Parallel()
	for name, listed := range map[string]string{
		"empty":  `{"type":"","options":{"version":"2"}}`,
		"absent": `{"options":{"version":"2"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hostileVault{mounts: `{"auth":{},"secret":{"secret/":` + listed + `}}`,
				read: func(w http.ResponseWriter, _ *http.Request, _ string) { secretV2(w, `{"password":"c4nary"}`, "null") }}
			_, err := resolve(t, h.start(t), "vault:secret/app#password")
			require.ErrorIs(t, err, resolver.NotKV)
			assert.ErrorContains(t, err, "the mount secret is not KV")
			assert.Zero(t, h.reads.Load(), "it is not read")
		})
	}
}
