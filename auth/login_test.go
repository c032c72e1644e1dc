package auth_test

import (
	"context"
	"fmt"
	"net/http"
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

// Every method logs in at its mount, reads and revokes, and sends nothing else.
func TestLogin(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	for _, test := range loginCases {
		if test.method == "token" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			secret := newSecret(t, server)
			v, _ := test.setUp(t, server, map[string]any{"token_policies": secret.policy, "token_ttl": "1h"})
			mount := strings.TrimSuffix(v["VAULT_"+strings.ToUpper(test.method)+"_MOUNT"], "/")
			vault := at(server, test.method, v)
			require.NoError(t, vault.Validate())

			for range 3 {
				r := readOnce(t.Context(), vault, secret.path)
				require.NoError(t, r.err)
				assert.Equal(t, []int{200}, r.status)
				asked := r.requests(t, server)
				require.Len(t, asked, 4)
				assert.True(t, strings.HasPrefix(asked[0], "auth/"+mount+"/login"), asked[0]) // some methods name the user behind it
				assert.Equal(t, []string{secret.path, "auth/token/lookup-self", "auth/token/revoke-self"}, asked[1:])
				assert.Empty(t, r.warnings())
				assert.Equal(t, 4, r.usage.Requests)
				assert.Equal(t, r.id, r.usage.RunID)
				assert.False(t, r.usage.Token.Given)
				assert.True(t, r.usage.Token.Known)
				assert.WithinDuration(t, time.Now().Add(time.Hour), r.usage.Token.Expires, time.Minute)
				assert.Equal(t, r.usage.Token.Expires.UTC().Truncate(time.Second), r.usage.Token.Expires)
				assert.False(t, isAlive(t, server, r.accessor(t, server)), "the token is still alive")
			}
			assert.Zero(t, tokensOf(t, server, mount))
		})
	}
}

// A token of the run before would keep that run's policies.
func TestEachRunLogsInAnew(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	a := server.AppRole(t, map[string]any{"token_policies": "default"})
	vault := at(server, "approle", variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil)})

	r := readOnce(t.Context(), vault, secret.path)
	require.NoError(t, r.err)
	assert.Equal(t, []int{403}, r.status)

	server.Must(t, "POST", "auth/"+a.Mount+"/role/"+a.Role, map[string]any{"token_policies": secret.policy})
	r = readOnce(t.Context(), vault, secret.path)
	require.NoError(t, r.err)
	assert.Equal(t, []int{200}, r.status)
}

// A refused login is an error of kind login that names method, mount and what to do,
// after one request. A missing credential is one of kind environment, without any
// request.
func TestLoginErrors(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	a := server.AppRole(t, map[string]any{"token_policies": "default"})
	other := server.AppRole(t, map[string]any{"token_policies": "default"})
	k := server.Kubernetes(t, map[string]any{"token_policies": "default"})
	j := server.JWT(t, map[string]any{"token_policies": "default"})
	c := server.Cert(t, map[string]any{"token_policies": "default"})
	stranger := server.Cert(t, nil)
	elsewhere := map[string]any{"token_policies": "default", "secret_id_bound_cidrs": "192.0.2.0/24"}
	bound := server.AppRole(t, elsewhere)
	refusing := server.Kubernetes(t, map[string]any{"token_policies": "default"})
	refusing.Refuse.Store(true)
	anyAccount := server.Kubernetes(t, map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": "*"})
	byName := server.Kubernetes(t, map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": "*", "alias_name_source": "serviceaccount_name"})
	used := a.SecretID(t, map[string]any{"num_uses": 1})
	require.NoError(t, readOnce(t.Context(), at(server, "approle", variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": used})).err)

	approle := func(mount, role, secret string) variables {
		return variables{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": role, "VAULT_SECRET_ID": secret}
	}
	kubernetes := func(k *vaulttest.Kubernetes, role, token string) variables {
		return variables{"VAULT_KUBERNETES_MOUNT": k.Mount, "VAULT_KUBERNETES_ROLE": role, "VAULT_KUBERNETES_JWT_FILE": inFile(t, token)}
	}
	jwt := func(role, token string) variables {
		return variables{"VAULT_JWT_MOUNT": j.Mount, "VAULT_JWT_ROLE": role, "VAULT_JWT_FILE": inFile(t, token)}
	}
	cert := func(c *vaulttest.Cert, by *vaulttest.Cert, role string) variables {
		certificate, key := by.Issue(t, "agent")
		return variables{"VAULT_CERT_MOUNT": c.Mount, "VAULT_CERT_ROLE": role, "VAULT_CLIENT_CERT": inFile(t, certificate), "VAULT_CLIENT_KEY": inFile(t, key)}
	}
	hour := time.Now().Add(-time.Hour).Unix()
	late, lateKey := c.IssueBetween(t, "agent", time.Time{}, time.Now().Add(-time.Minute))
	expired := variables{"VAULT_CERT_MOUNT": c.Mount, "VAULT_CLIENT_CERT": inFile(t, late), "VAULT_CLIENT_KEY": inFile(t, lateKey)}
	wrapped := server.NewToken(t, map[string]any{"ttl": "1m"}) // a wrapping token looks alike
	for _, test := range []struct {
		name   string
		method string
		v      variables
		says   string // of Vault's own
		do     string
	}{
		{"wrong role id", "approle", approle(a.Mount, "wrong-role-id", a.SecretID(t, nil)), "400 invalid role or secret ID", "compare VAULT_ROLE_ID"},
		{"role id of another role", "approle", approle(a.Mount, other.RoleID, a.SecretID(t, nil)), "400 invalid role or secret ID", "compare VAULT_ROLE_ID"},
		{"wrong secret id", "approle", approle(a.Mount, a.RoleID, "wrong-secret-id"), "400 invalid role or secret ID", "then create a new secret id; restart the agent after a change of VAULT_ROLE_ID or VAULT_SECRET_ID"},
		{"used-up secret id", "approle", approle(a.Mount, a.RoleID, used), "400 invalid role or secret ID", "used up or destroyed"},
		{"no secret id", "approle", approle(a.Mount, a.RoleID, ""), "400 missing secret_id", "bind_secret_id=false"},
		{"source address of the secret id", "approle", approle(bound.Mount, bound.RoleID, bound.SecretID(t, nil)), "CIDR restrictions", "allow the Patch server's address, as Vault sees it, in the role"},
		{"missing mount", "approle", approle("nowhere", a.RoleID, a.SecretID(t, nil)), "403 permission denied", "exists in this namespace"},
		{"Kubernetes, wrong role", "kubernetes", kubernetes(k, "nobody", k.Token(t, nil)), "400 invalid role name", "check VAULT_KUBERNETES_ROLE"},
		{"Kubernetes, refused review", "kubernetes", kubernetes(refusing, "patch", refusing.Token(t, nil)), "403 permission denied", "token_reviewer_jwt"},
		{"Kubernetes, expired token", "kubernetes", kubernetes(k, "patch", k.Token(t, map[string]any{"exp": hour})), "token is expired", "not renew"},
		{"Kubernetes, other audience", "kubernetes", kubernetes(k, "patch", k.Token(t, map[string]any{"aud": []string{"other"}})), "invalid audience", "a token projected for the role's audience"},
		{"Kubernetes, other namespace", "kubernetes", kubernetes(k, "patch", k.Token(t, map[string]any{"kubernetes.io": map[string]any{
			"namespace": "other", "serviceaccount": map[string]any{"name": "runner", "uid": "1"}}})), "namespace not authorized", "add the pod's namespace"},
		{"JWT, wrong role", "jwt", jwt("nobody", j.Token(t, nil)), `role "nobody" could not be found`, "check VAULT_JWT_ROLE"},
		{"JWT, expired", "jwt", jwt("patch", j.Token(t, map[string]any{"exp": hour})), "token is expired", "not renew"},
		{"JWT, other audience", "jwt", jwt("patch", j.Token(t, map[string]any{"aud": "other"})), "invalid audience", "bound_audiences"},
		{"JWT, other key", "jwt", jwt("patch", k.Token(t, nil)), "signature", "the keys of the token's issuer"},
		{"JWT, an empty user claim", "jwt", jwt("patch", j.Token(t, map[string]any{"sub": ""})), "missing name in alias", "user_claim"},
		{"Kubernetes, a JWT of no pod", "kubernetes", kubernetes(anyAccount, "patch", k.Token(t, map[string]any{"kubernetes.io": nil})), "could not parse UID from claims", "a service account's token"},
		{"Kubernetes, named by its account, a JWT of no pod", "kubernetes", kubernetes(byName, "patch", k.Token(t, map[string]any{"kubernetes.io": nil})), "namespace and name must be set", "a service account's token"},
		{"certificate of another authority", "cert", cert(c, stranger, ""), "400", "to a role of this mount"},
		{"certificate, expired", "cert", expired, "failed to verify client's certificate", "replace the certificate in VAULT_CLIENT_CERT with a valid one"},
		{"wrapped secret id", "approle", approle(a.Mount, a.RoleID, wrapped), "400 invalid role or secret ID", "response-wrapped secret ids are not supported"},
		{"certificate, wrong role", "cert", cert(c, c, "nobody"), "400", "VAULT_CERT_ROLE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := readOnce(t.Context(), at(server, test.method, test.v), "secret/nothing")
			mount := test.v["VAULT_"+strings.ToUpper(test.method)+"_MOUNT"]
			assertKind(t, r.err, fault.Login, "the login "+test.method+" at auth/"+mount, test.says, test.do)
			assert.Equal(t, []string{"auth/" + mount + "/login"}, r.requests(t, server))
			assert.Empty(t, r.warnings())
			for name, value := range test.v {
				if name == "VAULT_SECRET_ID" && value != "" {
					assert.False(t, strings.Contains(r.err.Error(), value), "the error shows %s", name)
				}
			}
		})
	}
}

// A Kubernetes mount without configuration answers 500, which is not repeated.
func TestLoginThatFailsInVault(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := "kubernetes-" + vaulttest.Name()
	server.Must(t, "POST", "sys/auth/"+mount, map[string]any{"type": "kubernetes"})
	server.Must(t, "POST", "auth/"+mount+"/role/patch", map[string]any{"bound_service_account_names": "runner", "bound_service_account_namespaces": "default"})
	vault := at(server, "kubernetes", variables{"VAULT_KUBERNETES_MOUNT": mount, "VAULT_KUBERNETES_ROLE": "patch", "VAULT_KUBERNETES_JWT_FILE": inFile(t, "a.b.c")})
	r := readOnce(t.Context(), vault)
	assertKind(t, r.err, fault.Login, "the login kubernetes at auth/"+mount, "vault write auth/"+mount+"/config")
	assert.Len(t, r.requests(t, server), 1)
}

// Vault compares bound CIDRs with what a proxy writes into X-Forwarded-For, as it stands.
func TestLoginFromAnAddressWithAPort(t *testing.T) {
	t.Parallel()
	for status, words := range map[int]string{
		400: `source address \"1.2.3.4:5678\" unauthorized by CIDR restrictions on the role: invalid IP address`,
		500: "failed to get connection information", // of an IPv6 address
	} {
		server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
			say(w, status, `{"errors":["`+words+`"]}`)
			return true
		})
		vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}.options())
		r := readOnce(t.Context(), vault)
		assertKind(t, r.err, fault.Login, "let the proxy in front of Vault write the address alone into X-Forwarded-For")
		assert.Len(t, server.requests(), 1)
	}
}

// Hints depend on Vault's own words alone, not on the address beside them.
func TestHintsAreVaultsWords(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		say(w, 500, `{"errors":["internal error"]}`)
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address + "/claims", AuthMethod: "jwt"}, variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": inFile(t, "j")}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{Patience: brief}, nil)
	assertKind(t, err, fault.ServerError, "see Vault's own log")
}

func TestDefaultMounts(t *testing.T) {
	t.Parallel()
	for method, v := range defaultMountCases(t) {
		server := newStandIn(t, nil)
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: method}, v.options()))
		require.NoError(t, r.err, method)
		assert.Equal(t, []string{"PUT auth/" + method + "/login", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}, server.requests())
	}
}

// Logins and requests about the token go to the pinned namespace, reads to the UI's.
// Each has one header, and no namespace in its path.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, pinned, ui string
		login, read      string
	}{
		{"none", "", "", "", ""},
		{"the UI's", "", "team/patch", "team/patch", "team/patch"},
		{"the pinned one", "team", "", "team", "team"},
		{"both the same", "team/", "team", "team", "team"},
		{"one below the pinned one", "team", "team/patch/", "team", "team/patch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, nil)
			settings := auth.Settings{Address: server.address, AuthMethod: "approle", Namespace: test.ui}
			r := readOnce(t.Context(), auth.New(settings, variables{"VAULT_NAMESPACE": test.pinned, "VAULT_ROLE_ID": "r"}.options()), "secret/app")
			require.NoError(t, r.err)
			want := map[string]string{"auth/approle/login": test.login, "secret/app": test.read, "auth/token/lookup-self": test.login, "auth/token/revoke-self": test.login}
			require.Len(t, server.all(), len(want), "%v", server.requests())
			for _, request := range server.all() {
				path := strings.TrimPrefix(request.URL.Path, "/v1/")
				namespace, ok := want[path]
				require.True(t, ok, path)
				var header []string
				if namespace != "" {
					header = []string{namespace}
				}
				assert.Equal(t, header, request.Header["X-Vault-Namespace"], path)
			}
		})
	}
}

// A path in the address is a prefix of every request's path.
func TestAddressWithAPath(t *testing.T) {
	t.Parallel()
	for _, slash := range []string{"", "/"} {
		server := newStandIn(t, nil)
		vault := auth.New(auth.Settings{Address: server.address + "/team/vault" + slash, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
		require.NoError(t, readOnce(t.Context(), vault, "secret/app").err)
		for _, request := range server.all() {
			assert.True(t, strings.HasPrefix(request.URL.Path, "/team/vault/v1/"), request.URL.Path)
		}
		assert.Len(t, server.all(), 4)
	}
}

// A mount's own name may end in /login.
func TestMountThatIsNamedLogin(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := vaulttest.Name() + "/login"
	server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "approle"})
	server.Must(t, http.MethodPost, "auth/"+mount+"/role/r", map[string]any{"role_id": mount, "bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})
	r := readOnce(t.Context(), at(server, "approle", variables{"VAULT_ROLE_ID": mount, "VAULT_APPROLE_MOUNT": mount}))
	require.NoError(t, r.err)
}

// A login is repeated freely if Vault certainly did not act on it, and once if that is
// unclear.
func TestLoginIsNeverBlindlySentTwice(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { say(w, status, body) }
	}
	broken := func(w http.ResponseWriter) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}
	redirect := func(w http.ResponseWriter) {
		w.Header().Set("Location", "http://127.0.0.1:1/v1/auth/approle/login")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	for _, test := range []struct {
		name   string
		failed func(http.ResponseWriter)
		times  int // that it fails
		logins int // that are sent
		kind   error
		warns  bool
	}{
		{"standby, twice", redirect, 2, 3, nil, false},
		{"not yet there", answer(412, `{"errors":["required index state not present"]}`), 2, 3, nil, false},
		{"too many", answer(429, `{"errors":["rate limit quota exceeded"]}`), 2, 3, nil, false},
		{"sealed", answer(503, `{"errors":["Vault is sealed"]}`), 2, 3, nil, false},
		{"no leader", answer(500, `{"errors":["local node not active but active cluster node not found"]}`), 2, 3, nil, false},
		{"closed once", broken, 1, 2, nil, true},
		{"closed every time", broken, 9, 2, fault.Unreachable, true},
		{"internal error once", answer(500, `{"errors":["internal error"]}`), 1, 2, nil, true},
		{"internal error every time", answer(500, `{"errors":["internal error"]}`), 9, 2, fault.Login, true},
		{"refused", answer(400, `{"errors":["invalid role or secret ID"]}`), 9, 1, fault.Login, false},
		{"denied", answer(403, `{"errors":["permission denied"]}`), 9, 1, fault.Login, false},
		{"not a Vault", func(w http.ResponseWriter) { w.Write([]byte("<html>")) }, 9, 1, fault.BadResponse, false},
		{"compressed by a proxy", func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			say(w, 200, "\x1f\x8b")
		}, 9, 1, fault.BadResponse, true},
		{"404 of another API", answer(404, `{"errors":["Not Found"]}`), 9, 1, fault.BadResponse, false},
		{"404 without a text", answer(404, `{"errors":[]}`), 9, 1, fault.BadResponse, false},
		{"404 of a missing mount", answer(404, `{"errors":["no handler for route \"auth/approle/login\". route entry not found."]}`), 9, 1, fault.Login, false},
		{"no token", answer(200, `{"request_id":"1","data":null}`), 9, 1, fault.BadResponse, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			var server *standIn
			server = newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/login") {
					return false
				}
				server.mu.Lock()
				defer server.mu.Unlock()
				if failures++; failures > test.times {
					return false
				}
				test.failed(w)
				return true
			})
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
			r := readOnce(t.Context(), vault)
			if test.kind == nil {
				assert.NoError(t, r.err)
			} else {
				assert.ErrorIs(t, r.err, test.kind)
			}
			logins := 0
			for _, request := range server.requests() {
				if strings.HasSuffix(request, "/login") {
					logins++
				}
			}
			assert.Equal(t, test.logins, logins)
			assert.Equal(t, test.warns, strings.Contains(strings.Join(r.warnings(), "|"), "any token that it made is not revoked"), "%q", r.warnings())
			if test.kind == fault.Login {
				assert.ErrorContains(t, r.err, "the login approle at auth/approle")
			}
		})
	}
}

// An unclear login is sent again only when Vault is well, so that an outage costs no
// host.
func TestLoginWaitsForVault(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]http.HandlerFunc{
		"closes the connection": func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
		},
		"a balancer's page": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusServiceUnavailable) },
		"an internal error": func(w http.ResponseWriter, _ *http.Request) { say(w, 500, `{"errors":["internal error"]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := atomic.Int32{}
			left.Store(6)
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				ill := left.Add(-1) >= 0
				if ill {
					fail(w, r)
				}
				return ill
			})
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
			usage, err := do(t.Context(), vault, auth.DoOptions{Patience: 20 * time.Second}, func(context.Context, *api.Client) error { return nil })
			require.NoError(t, err)
			assert.Equal(t, 2, count(server.requests(), "auth/approle/login"))
			assert.Equal(t, 10, usage.Requests, "%v", server.requests())
		})
	}
}

// A TLS server answers plain HTTP and then resets the connection.
func TestLoginWithoutTLSAtAServerWithTLS(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	plain := strings.Replace(server.Address, "https://", "http://", 1)
	secret := strings.Repeat("s", 200_000) // so much that it is never read to the end
	for range 5 {
		vault := auth.New(auth.Settings{Address: plain, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": secret}.options())
		assertKind(t, readOnce(t.Context(), vault).err, fault.TLS, "use https in the address")
	}
}

// Reads carry the X-Vault-Index of the login, because a performance standby must know
// the token.
func TestReadsCarryTheLoginsIndex(t *testing.T) {
	t.Parallel()
	const index = "eyJpbmRleCI6MX0="
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/login") {
			w.Header().Set("X-Vault-Index", index)
		}
		return false
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
	require.NoError(t, readOnce(t.Context(), vault, "secret/app").err)
	for i, request := range server.all() {
		want := index
		if i == 0 {
			want = ""
		}
		assert.Equal(t, want, request.Header.Get("X-Vault-Index"), request.URL.Path)
	}
}

func newPair(t testing.TB) variables {
	t.Helper()
	certificate, key := vaulttest.Pair(t, "agent")
	return variables{"VAULT_CLIENT_CERT": inFile(t, certificate), "VAULT_CLIENT_KEY": inFile(t, key)}
}

// A login that is never answered costs one patience.
func TestLoginThatHangsCostsOnePatience(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
	began := time.Now()
	_, err := do(t.Context(), vault, auth.DoOptions{Patience: brief}, nil)
	assertKind(t, err, fault.Unreachable, "tried for ")
	assert.Less(t, time.Since(began), 2*brief)
}

// A proxy may block sys/health but let the login through. Then an unclear login is sent
// again after a third of patience.
func TestLoginWhereHealthIsBlocked(t *testing.T) {
	t.Parallel()
	var logins atomic.Int32
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/sys/health"):
			http.Error(w, "<html>", http.StatusServiceUnavailable)
			return true
		case strings.HasSuffix(r.URL.Path, "/login") && logins.Add(1) == 1:
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
			return true
		}
		return false
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{Patience: 2 * brief}, func(context.Context, *api.Client) error { return nil })
	require.NoError(t, err)
	assert.EqualValues(t, 2, logins.Load())
}

// If Vault answers sys/health but not the login, it waits for another server. The error
// says so within one patience, however long an attempt may last.
func TestLoginThatWaitsForOthers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method string
		v      variables
		says   string
	}{
		{"kubernetes", variables{"VAULT_KUBERNETES_ROLE": "r", "VAULT_KUBERNETES_JWT_FILE": inFile(t, "j")}, "vault waits for the Kubernetes API server: check kubernetes_host in auth/kubernetes/config"},
		{"jwt", variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": inFile(t, "j")}, "check oidc_discovery_url or jwks_url in auth/jwt/config"},
		{"cert", newPair(t), "vault waits for an OCSP server"},
		{"approle", variables{"VAULT_ROLE_ID": "r"}, "storage or audit device hangs"},
		{"custom", nil, "check the server that Vault asks for this login"},
	} {
		for _, timeout := range []string{"300ms", "1h"} {
			for _, check := range []bool{false, true} {
				if check && timeout == "1h" {
					continue // it would wait for that long
				}
				t.Run(fmt.Sprintf("%s, %s, check %t", test.method, timeout, check), func(t *testing.T) {
					t.Parallel()
					server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
						hangs := strings.Contains(r.URL.Path, "/login")
						if hangs {
							<-r.Context().Done()
						}
						return hangs
					})
					v := test.v.and(variables{"VAULT_CLIENT_TIMEOUT": timeout})
					vault := auth.New(auth.Settings{Address: server.address, AuthMethod: test.method}, v.options())
					if test.method == "custom" {
						vault = withMethod(server.address, userpass{}, v)
					}
					const patience = 6 * time.Second
					began := time.Now()
					_, err := do(t.Context(), vault, auth.DoOptions{Patience: patience, Check: check}, nil)
					assertKind(t, err, fault.Login, "vault answers sys/health, but not this login (no answer within ", test.says)
					if timeout == "1h" { // patience ended the attempt
						assert.NotContains(t, err.Error(), "VAULT_CLIENT_TIMEOUT")
					} else {
						assert.Contains(t, err.Error(), "; if it is only slow, raise VAULT_CLIENT_TIMEOUT")
					}
					assert.Less(t, time.Since(began), patience*3/2)
					logins := 0
					for _, request := range server.requests() {
						if strings.Contains(request, "/login") {
							logins++
						}
					}
					assert.Equal(t, map[bool]int{true: 1, false: 2}[check || timeout == "1h"], logins)
				})
			}
		}
	}
}
