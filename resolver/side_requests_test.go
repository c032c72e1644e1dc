package resolver_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
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

// A side request that alone is answered as if Vault were down, or refused for its rate,
// costs a third of patience, also if it hangs in the end.
func TestSideRequestsThatFailAlone(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	token := server.ReaderToken(t, kv+"/data/app")
	for _, answer := range []struct {
		name, retryAfter, body string
		status                 int
		hangs                  bool
	}{
		{"sealed", "", `{"errors":["Vault is sealed"]}`, 503, false},
		{"no leader", "", `{"errors":["local node not active but active cluster node not found"]}`, 500, false},
		{"rate", "3600", `{"errors":["request path \"x\": rate limit quota exceeded"]}`, 429, false},
		{"sealed, then hangs", "", `{"errors":["Vault is sealed"]}`, 503, true},
		{"rate, then hangs", "", `{"errors":["request path \"x\": rate limit quota exceeded"]}`, 429, true},
		{"internal error, then hangs", "", `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`, 500, true},
	} {
		for _, blocked := range [][]string{{"auth/token/lookup-self"}, {mountList}, {"auth/token/lookup-self", mountList}} {
			t.Run(fmt.Sprint(answer.name, blocked), func(t *testing.T) {
				t.Parallel()
				const patience = 8 * brief // its twelfth, for Vault's health, must do on a busy machine
				began := time.Now()
				address := behind(t, server, func(w http.ResponseWriter, path string) bool {
					if slices.Contains(blocked, path) {
						if answer.hangs && time.Since(began) > patience/5 {
							<-t.Context().Done()
							return true
						}
						if answer.retryAfter != "" {
							w.Header().Set("Retry-After", answer.retryAfter)
						}
						whole(w, answer.status, answer.body)
						return true
					}
					return false
				})
				vault := auth.New(auth.Settings{Address: address, Mounts: []string{kv}}, environment(map[string]string{"VAULT_TOKEN": token}))
				run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{Patience: patience})
				assert.NoError(t, collect(run)[0].Err())
				assert.Less(t, time.Since(began), patience/2, "a third, and time for a busy machine")
			})
		}
	}
}

// An outage behind a balancer that answers in Vault's place costs no host, though it lasts
// longer than the list of mounts may take: those in mounts that only the list shows are read
// when Vault is back. A login is not sent twice into the outage.
func TestOutageBehindABalancer(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	nested, old := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2), server.KV(t, 1)
	for _, mount := range []string{nested, old} {
		server.Put(t, mount, "app", map[string]any{"password": "right"})
	}
	policy := server.Policy(t, fmt.Sprintf(`path "%s/app" { capabilities = ["read"] } path "%s/data/app" { capabilities = ["read"] }`, old, nested))
	const patience = 3 * brief
	for _, page := range []struct{ name, contentType, body string }{
		{"page", "text/html", "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>"},
		{"agent", "application/json", `{"errors":["failed to get the response: Put \"https://127.0.0.1:1/v1/x\": EOF"]}`},
	} {
		for _, method := range []string{"token", "approle"} {
			t.Run(page.name+" "+method, func(t *testing.T) {
				t.Parallel()
				variables := map[string]string{"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{policy}})}
				if method == "approle" {
					mount, id := appRole(t, server, map[string]any{"token_policies": policy})
					variables = map[string]string{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": id}
				}
				var began atomic.Pointer[time.Time]
				address := behind(t, server, func(w http.ResponseWriter, path string) bool {
					began.CompareAndSwap(nil, new(time.Now()))
					if time.Since(*began.Load()) > patience*6/10 {
						return false
					}
					w.Header().Set("Content-Type", page.contentType)
					w.WriteHeader(http.StatusServiceUnavailable)
					fmt.Fprint(w, page.body)
					return true
				})
				vault := auth.New(auth.Settings{Address: address, AuthMethod: method}, environment(variables))
				run := resolver.Resolve(t.Context(), vault, []resolver.Host{
					host("not sent", "password", "vault:"+nested+"/auth/x#password"), // fails while Vault is down
					host("old", "password", "vault:"+old+"/app#password"),
					host("nested", "password", "vault:"+nested+"/app#password"),
				}, resolver.Options{Patience: patience, Workers: 1})
				for i, result := range collect(run) {
					assert.Equal(t, i > 0, result.Err() == nil, "%s", result)
				}
				assert.NotContains(t, codes(run.Report().Findings), resolver.MountsUnknown)
				for _, f := range run.Report().Findings {
					assert.NotContains(t, f.Text, "grant read on")
				}
			})
		}
	}
}

// A proxy that denies a side request in Vault's own words says nothing of a token that Vault
// has accepted: a check agrees with the run, and logs in once.
func TestSideRequestsAreDenied(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for i := range 40 {
		server.Put(t, kv, fmt.Sprint("a", i), map[string]any{"password": "right"})
	}
	policy := server.Policy(t, fmt.Sprintf(`path "%s/data/*" { capabilities = ["read"] }`, kv))
	var fields []string
	for i := range 40 {
		fields = append(fields, fmt.Sprintf("vault:%s/a%d#password", kv, i))
	}
	for _, words := range []string{"permission denied", "invalid token"} {
		for _, method := range []string{"token", "approle"} {
			for _, denied := range []string{"sys/capabilities-self", mountList} {
				t.Run(strings.Join([]string{words, method, denied}, " "), func(t *testing.T) {
					t.Parallel()
					var logins atomic.Int32
					address := behind(t, server, func(w http.ResponseWriter, path string) bool {
						if strings.HasSuffix(path, "/login") {
							logins.Add(1)
						}
						if path == denied {
							whole(w, 403, fmt.Sprintf(`{"errors":[%q]}`, words))
						}
						return path == denied
					})
					variables := map[string]string{"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{"default", policy}})}
					want := int32(0)
					if method == "approle" {
						mount, id := appRole(t, server, map[string]any{"token_policies": policy})
						variables, want = map[string]string{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": id}, 1
					}
					vault := auth.New(auth.Settings{Address: address, AuthMethod: method, Mounts: []string{kv}}, environment(variables))
					v := resolver.Check(t.Context(), vault, fieldsOf(fields...), resolver.CheckOptions{})
					assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
					assert.True(t, v.Connection.LoggedIn)
					for _, field := range v.Fields {
						assert.Equal(t, resolver.OK, field.Kind, "%s", field)
					}
					assert.Equal(t, want, logins.Load())
				})
			}
		}
	}
}

// A proxy that lets nothing pass but logins and reads, and denies all else in Vault's words
// for a token that it refuses, costs nothing either, not even a use of the token.
func TestAllSideRequestsAreDenied(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	policy := server.Policy(t, fmt.Sprintf(`path "%s/data/app" { capabilities = ["read"] }`, kv))
	mount, id := appRole(t, server, map[string]any{"token_policies": policy})
	for _, test := range []struct {
		name, method string
		look         string // "" passes
		words        string
		variables    map[string]string
	}{
		{"a login", "approle", `{"errors":["permission denied"]}`, "permission denied", map[string]string{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": id}},
		{"a given token", "token", "<html>no", "permission denied", map[string]string{"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{policy}})}},
		{"a given token with two uses", "token", "", "permission denied", map[string]string{"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{policy}, "num_uses": 2})}},
		{"a given token with two uses, as if dead", "token", "", "invalid token", map[string]string{"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{policy}, "num_uses": 2})}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := behind(t, server, func(w http.ResponseWriter, path string) bool {
				switch {
				case strings.HasSuffix(path, "/login"), strings.HasPrefix(path, kv), path == "auth/token/lookup-self" && test.look == "":
					return false
				case path == "auth/token/lookup-self":
					whole(w, 403, test.look)
				default:
					whole(w, 403, fmt.Sprintf(`{"errors":[%q]}`, test.words))
				}
				return true
			})
			vault := auth.New(auth.Settings{Address: address, AuthMethod: test.method, Mounts: []string{kv}}, environment(test.variables))
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{})
			assert.NoError(t, collect(run)[0].Err())
		})
	}
}

// A check of the connection alone finds a token that may not be used from here, though its
// login worked. Its error is the only advice about what the token could not ask for.
func TestLoginWhoseTokenIsRefused(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	bound, boundID := appRole(t, server, map[string]any{"token_policies": "default", "token_bound_cidrs": "192.0.2.0/24"})
	mount, id := appRole(t, server, map[string]any{"token_policies": "default"})
	field := fieldsOf("vault:secret/app#password")
	for _, test := range []struct {
		name, address, mount, id string
		checks                   [][]ref.Value
	}{
		{"not for this address", server.Address, bound, boundID, [][]ref.Value{nil, field}},
		{"a proxy that drops it", inFront(t, server, func(r *http.Request) { r.Header.Del("X-Vault-Token") }), mount, id, [][]ref.Value{field}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vault := auth.New(auth.Settings{Address: test.address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_APPROLE_MOUNT": test.mount, "VAULT_ROLE_ID": test.id, "VAULT_ADDR": test.address}))
			for _, fields := range test.checks {
				v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
				assert.Equal(t, resolver.Token, v.Connection.Kind, "%s", v)
				assert.False(t, v.Connection.LoggedIn)
				assert.Equal(t, []string{auth.TokenNotRevoked}, codes(v.Connection.Findings), "%s", v)
			}
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:secret/app#password")}, resolver.Options{})
			assert.ErrorIs(t, collect(run)[0].Err(), resolver.Token)
			assert.Equal(t, []string{auth.TokenNotRevoked}, codes(run.Report().Findings), "%s", run.Report())
		})
	}
}

// A token that is replaced in its file and revoked just before the list of mounts costs
// nothing.
func TestTokenThatDiesBeforeTheListOfMounts(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
	server.Put(t, nested, "app", map[string]any{"password": "right"})
	token := func() string { return server.ReaderToken(t, nested+"/data/app") }
	first, second := token(), token()
	file := inFile(t, first)
	var once sync.Once
	address := behind(t, server, func(_ http.ResponseWriter, path string) bool {
		if path == mountList {
			once.Do(func() {
				require.NoError(t, os.WriteFile(file, []byte(second), 0o600))
				server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": first})
			})
		}
		return false
	})
	vault := auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN_FILE": file}))
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+nested+"/app#password")}, resolver.Options{})
	assert.NoError(t, collect(run)[0].Err())
	assert.NotContains(t, codes(run.Report().Findings), resolver.MountsUnknown)
}

// A path that Vault answers is settled by its answer, whatever becomes of the list of
// mounts.
func TestAnswerBesideALostListOfMounts(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	token := server.ReaderToken(t, kv+"/data/missing")
	var missed atomic.Bool
	address := behind(t, server, func(w http.ResponseWriter, path string) bool {
		switch {
		case path == kv+"/data/missing":
			missed.Store(true)
			return false
		case path == mountList && missed.Load(), path == kv+"/data/other":
			whole(w, 503, `{"errors":["Vault is sealed"]}`)
		case path == mountList:
			whole(w, 500, `{"errors":["internal error"]}`)
		default:
			return false
		}
		return true
	})
	vault := auth.New(auth.Settings{Address: address, Mounts: []string{kv}}, environment(map[string]string{"VAULT_TOKEN": token}))
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{
		host("missing", "password", "vault:"+kv+"/missing#password"),
		host("other", "password", "vault:"+kv+"/other#password"),
	}, resolver.Options{Workers: 1, Patience: 3 * brief})
	results := collect(run)
	assert.ErrorIs(t, results[0].Err(), resolver.NotFound)
	assert.ErrorIs(t, results[1].Err(), resolver.Sealed)
}

// lateList is a proxy in front of a server where the list of mounts fails until a read of the
// mount was sent. It counts the requests for the list and the reads.
func lateList(t *testing.T, server *vaulttest.Server, mount string) (address string, lists, reads *atomic.Int64) {
	lists, reads = new(atomic.Int64), new(atomic.Int64)
	return behind(t, server, func(w http.ResponseWriter, path string) bool {
		switch {
		case path == mountList && lists.Add(1) > 0 && reads.Load() == 0:
			whole(w, 500, `{"errors":["internal error"]}`)
			return true
		case strings.HasPrefix(path, mount):
			reads.Add(1)
		}
		return false
	}), lists, reads
}

// A list of mounts that comes late costs no second read of a path where it was guessed
// right.
func TestLateListThatChangesNothing(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 16 {
		hosts = append(hosts, host(fmt.Sprint("h", i), "password", fmt.Sprintf("vault:%s/missing%d#password", kv, i)))
	}
	address, _, reads := lateList(t, server, kv)
	run := resolver.Resolve(t.Context(), vaultAt(address, server.ReaderToken(t, kv+"/data/*")), hosts, resolver.Options{Patience: 3 * brief})
	for _, result := range collect(run) {
		assert.ErrorIs(t, result.Err(), resolver.NotFound)
		assert.ErrorContains(t, result.Err(), "; check the path")
		assert.NotContains(t, result.Err().Error(), "is KV v2", "the list shows it")
	}
	assert.EqualValues(t, 16, reads.Load())
	assert.NotContains(t, codes(run.Report().Findings), resolver.MountsUnknown)
}

// A list of mounts that comes late shows that an answer without the mount's type, as OpenBao
// sends it, is one of KV. It is not asked for again.
func TestLateListAndAnAnswerWithoutAType(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var reads atomic.Int64
	address := behind(t, server, func(w http.ResponseWriter, path string) bool {
		switch {
		case path == mountList && reads.Load() == 0:
			whole(w, 500, `{"errors":["internal error"]}`)
		case path == kv+"/data/app":
			reads.Add(1)
			whole(w, 200, `{"request_id":"5a9f","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"right"},"metadata":{"created_time":"2026-11-24T04:21:30.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null}`)
		default:
			return false
		}
		return true
	})
	run := resolver.Resolve(t.Context(), vaultAt(address, server.Token), []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{Patience: 3 * brief})
	password, err := collect(run)[0].Credential("password")
	require.NoError(t, err)
	assert.Equal(t, "right", password.Reveal())
	assert.EqualValues(t, 1, reads.Load())
}

// The notice about a mount's version does not depend on when the list came.
func TestLateListNamesTheVersionOfEveryMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v1, v2 := server.KV(t, 1), server.KV(t, 2)
	address, _, _ := lateList(t, server, "kv-")
	hosts := []resolver.Host{host("a", "password", "vault:"+v1+"/a..b#password"), host("b", "password", "vault:"+v2+"/missing#password")}
	run := resolver.Resolve(t.Context(), vaultAt(address, server.Token), hosts, resolver.Options{Workers: 1, Patience: 3 * brief})
	results := collect(run)
	assert.Error(t, results[0].Err(), "read before the list, by a name that no secret can have")
	assert.ErrorIs(t, results[1].Err(), resolver.NotFound)
	assert.Equal(t, []string{resolver.MountVersion}, codes(run.Report().Findings))
}

// A check whose list of mounts comes late did not ask what the token may do on the paths
// that it read. It says so, and the next check asks.
func TestCheckWithALateList(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
	server.Put(t, nested, "app", map[string]any{"password": "right"})
	policy := server.Policy(t, fmt.Sprintf(`path "%s/data/app" { capabilities = ["read", "update"] }`, nested))
	top, _, _ := strings.Cut(nested, "/")
	address, _, _ := lateList(t, server, top)
	vault := vaultAt(address, server.NewToken(t, map[string]any{"policies": []string{"default", policy}}))
	check := func() resolver.Verdicts {
		return resolver.Check(t.Context(), vault, fieldsOf("vault:"+nested+"/app#password"), resolver.CheckOptions{Patience: 2 * brief})
	}
	v := check()
	assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
	assert.Contains(t, codes(v.Connection.Findings), resolver.CapabilitiesUnknown)
	assert.Contains(t, v.String(), "; check again")
	v = check()
	assert.Equal(t, []string{resolver.CanWrite}, codes(v.Fields[0].Findings), "%s", v)
	assert.NotContains(t, codes(v.Connection.Findings), resolver.CapabilitiesUnknown)
}

// A list of mounts that hangs is asked for once more, when a read needs it: Vault may have
// hung as a whole. Both times together cost a third of patience.
func TestListOfMountsThatHangs(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv, nested := server.KV(t, 2), server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 1)
	server.Put(t, nested, "app", map[string]any{"password": "right"})
	for _, test := range []struct {
		hangs   int64 // so many lists
		path    string
		kind    resolver.Kind // empty if the path is read
		mostAsk int64
	}{
		{1, nested + "/app", "", 2},
		{9, kv + "/missing", resolver.NotFound, 2},
	} {
		t.Run(test.path, func(t *testing.T) {
			t.Parallel()
			var lists atomic.Int64
			over := make(chan struct{})
			address := behind(t, server, func(_ http.ResponseWriter, path string) bool {
				if path != mountList || lists.Add(1) > test.hangs {
					return false
				}
				<-over
				return true
			})
			t.Cleanup(func() { close(over) })
			result := resolver.One(t.Context(), vaultAt(address, server.Token), host("h", "password", "vault:"+test.path+"#password"), resolver.Options{Patience: 2 * brief})
			if test.kind == "" {
				assert.NoError(t, result.Err())
			} else {
				assert.ErrorIs(t, result.Err(), test.kind)
			}
			assert.Equal(t, test.mostAsk, lists.Load())
		})
	}
}
