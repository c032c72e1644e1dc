package auth_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// proxyLogins are the ways to log in through a Vault Proxy. It ends TLS, so a
// client certificate does not reach Vault.
var proxyLogins = []struct {
	method string
	// setUp returns the login's mount, its variables, and a method to hand in.
	setUp func(t *testing.T, server *vaulttest.Server, role map[string]any) (mount string, v variables, method api.AuthMethod)
}{
	{"approle", func(t *testing.T, server *vaulttest.Server, role map[string]any) (string, variables, api.AuthMethod) {
		a := server.AppRole(t, role)
		return a.Mount, variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil)}, nil
	}},
	{"kubernetes", func(t *testing.T, server *vaulttest.Server, role map[string]any) (string, variables, api.AuthMethod) {
		k := server.Kubernetes(t, role)
		return k.Mount, variables{"VAULT_KUBERNETES_MOUNT": k.Mount, "VAULT_KUBERNETES_ROLE": k.Role, "VAULT_KUBERNETES_JWT_FILE": inFile(t, k.Token(t, nil))}, nil
	}},
	{"jwt", func(t *testing.T, server *vaulttest.Server, role map[string]any) (string, variables, api.AuthMethod) {
		j := server.JWT(t, role)
		return j.Mount, variables{"VAULT_JWT_MOUNT": j.Mount, "VAULT_JWT_ROLE": j.Role, "VAULT_JWT_FILE": inFile(t, j.Token(t, nil))}, nil
	}},
	{"custom", func(t *testing.T, server *vaulttest.Server, role map[string]any) (string, variables, api.AuthMethod) {
		mount := "userpass-" + vaulttest.Name()
		server.Must(t, "POST", "sys/auth/"+mount, map[string]any{"type": "userpass"})
		user := map[string]any{"password": password}
		maps.Copy(user, role)
		server.Must(t, "POST", "auth/"+mount+"/users/agent", user)
		return mount, variables{}, userpass{mount, "agent", password}
	}},
}

// A Vault Proxy or Agent can put its own token in place of the run's. A run
// revokes the token of its own login, and no other.
func TestRevokesItsOwnTokenAlone(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	both := []string{"default", secret.policy}
	const replaced, unseen = "because Vault shows another token in its place", "because it may not look itself up"
	for _, test := range []struct {
		name    string
		config  vaulttest.ProxyConfig
		warning string // empty where the run's own token arrives
	}{
		{"passes on", vaulttest.ProxyConfig{}, ""},
		{"passes on, with a cache", vaulttest.ProxyConfig{Cache: true}, ""},
		{"agent passes on, and demands the header", vaulttest.ProxyConfig{Agent: true, RequireHeader: true}, ""},
		{"true", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "true"}, ""},
		{"true, with a cache", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "true", Cache: true, RequireHeader: true}, ""},
		{"agent, true", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "true", Agent: true, Cache: true}, ""},
		{"force", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "force"}, replaced},
		{"force, with a cache", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "force", Cache: true, RequireHeader: true}, replaced},
		{"agent, force", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "force", Agent: true, RequireHeader: true}, replaced},
		{"agent, force, with a cache", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both}, UseToken: "force", Agent: true, Cache: true}, replaced},
		{"force, and its token may not be looked at", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": secret.policy, "token_no_default_policy": true}, UseToken: "force"}, unseen},
		{"force, and its token may be revoked alone", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_no_default_policy": true, "token_policies": []string{
			secret.policy, server.Policy(t, `path "auth/token/revoke-self" { capabilities = ["update"] }`)}}, UseToken: "force"}, unseen},
		{"force, with a batch token", vaulttest.ProxyConfig{AutoAuth: map[string]any{"token_policies": both, "token_type": "batch"}, UseToken: "force"}, replaced},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := server.Proxy(t, test.config)
			for _, login := range proxyLogins {
				mount, v, method := login.setUp(t, server, map[string]any{"token_policies": both, "token_ttl": "1h"})
				options := v.options()
				if method != nil {
					options.Methods = handIn(map[string]api.AuthMethod{login.method: method})
				}
				vault := auth.New(auth.Settings{Address: p.Address, AuthMethod: login.method}, options)
				runs := 1
				if test.config.Cache {
					runs = 2
				}
				for range runs {
					r := readOnce(t.Context(), vault, secret.path)
					require.NoError(t, r.err, login.method)
					assert.Equal(t, []int{200}, r.status)
					wanted := []string{secret.path, "auth/token/lookup-self", "auth/token/revoke-self"}
					if test.warning != "" {
						wanted = wanted[:2]
						require.Len(t, r.warnings(), 1)
						assert.Contains(t, r.warnings()[0], "the run's token was not revoked, "+test.warning)
						assert.Contains(t, r.warnings()[0], "lives until "+r.usage.Token.Expires.UTC().Format("2006-01-02 15:04Z"))
						assert.Contains(t, r.warnings()[0], "short token_ttl (1m), or use a batch token")
						if test.warning == unseen {
							assert.Contains(t, r.warnings()[0], "grant read on auth/token/lookup-self and update on auth/token/revoke-self")
						}
					} else {
						assert.Empty(t, r.warnings(), login.method)
					}
					asked := slices.DeleteFunc(r.requests(t, server), func(path string) bool { return strings.HasPrefix(path, "auth/"+mount) })
					assert.Equal(t, wanted, asked, login.method)
				}
				assert.Equal(t, test.warning == "", tokensOf(t, server, mount) == 0, "tokens of %s after its runs", login.method)
				if p.Accessor != "" {
					assert.True(t, server.Alive(t, p.Accessor), "the proxy's own token after the runs with %s", login.method)
				}
			}
		})
	}
}

// A run revokes a token only if its look-up shows the accessor of the login.
func TestLookBeforeTheRevocation(t *testing.T) {
	t.Parallel()
	const lines = "grant read on auth/token/lookup-self and update on auth/token/revoke-self, give the role a short token_ttl (1m), or use a batch token"
	const another = "connect to Vault itself, or use auth_method token; give the role a short token_ttl (1m), or use a batch token"
	login := func(accessor string) string {
		return fmt.Sprintf(`{"request_id":"1","auth":{"client_token":"%s","accessor":%q,"token_type":"service","lease_duration":3600},"mount_type":""}`, standInToken, accessor)
	}
	for _, test := range []struct {
		name        string
		accessor    string // of the login
		status      int
		contentType string
		body        string
		revokes     bool
		warning     string
	}{
		{"its own", "a", 200, "application/json", `{"request_id":"1","data":{"accessor":"a"}}`, true, ""},
		{"another", "a", 200, "application/json", `{"request_id":"1","data":{"accessor":"b"}}`, false, another},
		{"one that begins alike", "a", 200, "application/json", `{"request_id":"1","data":{"accessor":"a2"}}`, false, another},
		{"none", "a", 200, "application/json", `{"request_id":"1","data":{"ttl":5}}`, false, another},
		{"an empty one", "a", 200, "application/json", `{"request_id":"1","data":{"accessor":""}}`, false, another},
		{"an empty one, of a login with none", "", 200, "application/json", `{"request_id":"1","data":{"accessor":""}}`, false, another},
		{"an empty one of a token, of a login with none", "", 200, "application/json", `{"request_id":"1","data":{"accessor":"","ttl":5}}`, false, another},
		{"no data", "a", 200, "application/json", `{"request_id":"1","data":null}`, false, another},
		{"data of another form", "a", 200, "application/json", `{"request_id":"1","data":["a"]}`, false, another},
		{"denied", "a", 403, "application/json", `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, false, lines},
		{"denied bare", "a", 403, "application/json", `{"errors":["permission denied"]}`, false, lines},
		{"dead", "a", 403, "application/json", `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, false, ""},
		{"500", "a", 500, "application/json", `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`, false, lines},
		{"404", "a", 404, "application/json", `{"errors":[]}`, false, lines},
		{"a page", "a", 403, "text/html", "<html>no", false, lines},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasSuffix(r.URL.Path, "/login"):
					say(w, 200, login(test.accessor))
				case strings.HasSuffix(r.URL.Path, "/lookup-self"):
					w.Header().Set("Content-Type", test.contentType)
					w.WriteHeader(test.status)
					io.WriteString(w, test.body)
				default:
					return false
				}
				return true
			})
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()), "secret/app")
			require.NoError(t, r.err)
			wanted := []string{"PUT auth/approle/login", "GET secret/app", "GET auth/token/lookup-self"}
			if test.revokes {
				wanted = append(wanted, "PUT auth/token/revoke-self")
			}
			asked := slices.DeleteFunc(server.requests(), func(r string) bool { return r == "GET sys/health" })
			assert.Equal(t, wanted, asked)
			if test.warning == "" {
				assert.Empty(t, r.warnings())
			} else if assert.Len(t, r.warnings(), 1) {
				assert.Contains(t, r.warnings()[0], test.warning)
			}
		})
	}

	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/lookup-self") {
				<-r.Context().Done()
			}
			return false
		})
		began := time.Now()
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()))
		require.NoError(t, r.err)
		assert.Less(t, time.Since(began), 4*time.Second)
		assert.NotContains(t, server.requests(), "PUT auth/token/revoke-self")
		if assert.Len(t, r.warnings(), 1) {
			assert.Contains(t, r.warnings()[0], lines)
		}
	})
}

// A look at a token may meet the one node behind a balancer that is down. It is sent once
// more, so a token of a login is revoked, and the expiry of a given one is known.
func TestLookMeetsADeadNode(t *testing.T) {
	t.Parallel()
	for _, status := range []int{502, 504} {
		looks := 0
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/login"):
				say(w, 200, fmt.Sprintf(`{"request_id":"1","auth":{"client_token":"%s","accessor":"a","token_type":"service","lease_duration":3600},"mount_type":""}`, standInToken))
			case strings.HasSuffix(r.URL.Path, "/lookup-self"):
				if looks++; looks == 1 {
					http.Error(w, "<html>", status)
					return true
				}
				say(w, 200, `{"request_id":"1","data":{"accessor":"a"}}`)
			default:
				return false
			}
			return true
		})
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()), "secret/app")
		require.NoError(t, r.err)
		assert.Equal(t, []string{"PUT auth/approle/login", "GET secret/app", "GET auth/token/lookup-self", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}, server.requests())
		assert.Empty(t, r.warnings())

		looks = 0
		r = readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "hvs.given"}.options()), "secret/app")
		require.NoError(t, r.err)
		assert.Equal(t, []string{"GET auth/token/lookup-self", "GET auth/token/lookup-self", "GET secret/app"}, server.requests()[5:])
		assert.Empty(t, r.warnings())
		assert.True(t, r.usage.Token.Known)
	}
}

// A token that is dead by the end of the run needs no revocation, whatever words the
// server uses. OpenBao and Vault before 1.17 answer only "permission denied".
func TestDeadTokenIsNotRevoked(t *testing.T) {
	t.Parallel()
	t.Run("on the real server", func(t *testing.T) {
		t.Parallel()
		server := vaulttest.Shared(t)
		secret := newSecret(t, server)
		a, vault := approle(t, server, map[string]any{"token_policies": []string{"default", secret.policy}})
		r := &run{id: vaulttest.Name()}
		r.usage, r.err = do(t.Context(), vault, auth.DoOptions{RunID: r.id}, func(ctx context.Context, client *api.Client) error {
			_, err := get(ctx, client, secret.path)
			server.Must(t, "PUT", "sys/leases/revoke-prefix/auth/"+a.Mount, map[string]any{"sync": true})
			return err
		})
		require.NoError(t, r.err)
		assert.Equal(t, []string{"auth/" + a.Mount + "/login", secret.path, "auth/token/lookup-self"}, r.requests(t, server))
		assert.Empty(t, r.warnings())
	})
	for _, old := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain denial, old server: %t", old), func(t *testing.T) {
			t.Parallel()
			mountType := `,"mount_type":"kv"`
			if old {
				mountType = ""
			}
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasSuffix(r.URL.Path, "/login"):
					say(w, 200, `{"request_id":"1","auth":{"client_token":"`+standInToken+`","accessor":"a","token_type":"service","lease_duration":3600}`+mountType+`}`)
				case strings.HasSuffix(r.URL.Path, "/lookup-self"):
					say(w, 403, `{"errors":["permission denied"]}`)
				default:
					say(w, 200, `{"request_id":"1","data":{"password":"x"}`+mountType+`}`)
				}
				return true
			})
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()), "secret/app")
			require.NoError(t, r.err)
			assert.Equal(t, !old, len(r.warnings()) == 1, "%q", r.warnings())
		})
	}
}

// A Vault Proxy that requires X-Vault-Request refuses everything if another proxy drops it.
// The error is about the header, not about the credential or each path.
func TestProxyThatDropsTheHeader(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	target, err := url.Parse(server.Proxy(t, vaulttest.ProxyConfig{RequireHeader: true}).Address)
	require.NoError(t, err)
	var requests atomic.Int32
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		requests.Add(1)
		r.SetURL(target)
		r.Out.Header.Del("X-Vault-Request")
	}})
	t.Cleanup(front.Close)
	for method, most := range map[string]int32{"token": 2, "approle": 1} {
		requests.Store(0)
		v := variables{"VAULT_TOKEN": server.Token, "VAULT_ROLE_ID": "r"}
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: front.URL, AuthMethod: method}, v.options()), "secret/app", "secret/other")
		assertKind(t, r.err, fault.ServerError, "check what headers the proxy requires, and that nothing in front of it drops them")
		assert.LessOrEqual(t, requests.Load(), most, method)
	}
}
