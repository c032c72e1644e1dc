package auth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// userpass logs in as vault/api's own packages do.
type userpass struct{ mount, user, password string }

func (u userpass) Login(ctx context.Context, c *api.Client) (*api.Secret, error) {
	secret, err := c.Logical().WriteWithContext(ctx, "auth/"+u.mount+"/login/"+u.user, map[string]any{"password": u.password})
	if err != nil {
		return nil, errors.New("userpass with " + u.password + ": " + err.Error()) // some do quote what they sent
	}
	return secret, nil
}

// withMethod returns a Vault with the method custom, which no built-in one is named.
func withMethod(address string, method api.AuthMethod, v variables) *auth.Vault {
	options := v.options()
	options.Methods = handIn(map[string]api.AuthMethod{"custom": method})
	return auth.New(auth.Settings{Address: address, AuthMethod: "custom"}, options)
}

const password = "Kq7canaryZ9"

// A run with a method of Options logs in, reads and revokes like any other.
func TestHandedInMethod(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	secret := newSecret(t, server)
	mount := "userpass-" + vaulttest.Name()
	server.Must(t, "POST", "sys/auth/"+mount, map[string]any{"type": "userpass"})
	server.Must(t, "POST", "auth/"+mount+"/users/agent", map[string]any{"password": password, "token_policies": secret.policy, "token_ttl": "1h", "token_num_uses": 50})
	good := userpass{mount, "agent", password}

	for range 2 {
		r := readOnce(t.Context(), withMethod(server.Address, good, variables{"VAULT_CACERT": server.CAFile}), secret.path)
		require.NoError(t, r.err)
		assert.Equal(t, []int{200}, r.status)
		assert.Equal(t, []string{"auth/" + mount + "/login/agent", secret.path, "auth/token/lookup-self", "auth/token/revoke-self"}, r.requests(t, server))
		assert.Equal(t, new(50), r.usage.Token.UsesLeft)
		assert.Equal(t, 4, r.usage.Requests)
		assert.Empty(t, r.warnings())
		assert.False(t, isAlive(t, server, r.accessor(t, server)))
	}

	for _, test := range []struct {
		name   string
		method api.AuthMethod
		says   string
	}{
		{"wrong password", userpass{mount, "agent", password + "wrong"}, "400 invalid username or password"},
		{"wrong mount", userpass{"nowhere", "agent", password}, "403 permission denied"},
	} {
		r := readOnce(t.Context(), withMethod(server.Address, test.method, variables{"VAULT_CACERT": server.CAFile}))
		assertKind(t, r.err, fault.Login, "the login method custom was refused", test.says)
		assert.NotContains(t, r.err.Error(), password)
		assert.Len(t, r.requests(t, server), 1)
	}
	stranger := userpass{mount, "agent", password}
	r := readOnce(t.Context(), withMethod(server.Address, stranger, variables{}))
	assertKind(t, r.err, fault.TLS, "VAULT_CACERT")
}

// A method of Options with the name of the default one replaces it, also where the settings
// name none.
func TestHandedInMethodAsTheDefault(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "token"} {
		options := variables{"VAULT_TOKEN": "hvs.given"}.options()
		options.Methods = handIn(map[string]api.AuthMethod{"token": userpass{"userpass", "agent", password}})
		server := newStandIn(t, nil)
		require.NoError(t, readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: name}, options)).err)
		assert.Equal(t, "PUT auth/userpass/login/agent", server.requests()[0])
	}
}

// Vault's answers to a method mean the same as for any login, whatever the method
// returns, and the method's secrets go nowhere else.
func TestHandedInMethodAgainstWrongServers(t *testing.T) {
	t.Parallel()
	elsewhere := newStandIn(t, nil)
	redirect := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Location", elsewhere.address+"/v1/auth/userpass/login/agent")
			w.WriteHeader(status)
		}
	}
	answer := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { say(w, status, body) }
	}
	for _, test := range []struct {
		name   string
		failed func(http.ResponseWriter)
		times  int
		logins int
		kind   error
	}{
		{"standby", redirect(307), 2, 3, nil},
		{"moved", redirect(301), 9, 1, fault.BadResponse},
		{"moved for good", redirect(308), 9, 1, fault.BadResponse},
		{"see other", redirect(303), 9, 1, fault.BadResponse},
		{"sealed", answer(503, `{"errors":["Vault is sealed"]}`), 2, 3, nil},
		{"too many", answer(429, `{"errors":["rate limit quota exceeded"]}`), 1, 2, nil},
		{"internal error", answer(500, `{"errors":["internal error"]}`), 9, 2, fault.Login},
		{"not a Vault", func(w http.ResponseWriter) { w.Write([]byte("<html>" + password)) }, 9, 1, fault.BadResponse},
		{"echoes what it was sent", answer(400, `{"errors":["no such user with `+password+`"]}`), 9, 1, fault.Login},
		{"refuses as Vault's plugin for Kerberos does", answer(401, `{"errors":["authentication required"]}`), 9, 1, fault.Login},
		{"refused by a gateway", func(w http.ResponseWriter) { w.WriteHeader(401) }, 9, 1, fault.BadResponse},
		{"no token", answer(200, `{"request_id":"1","data":{}}`), 9, 1, fault.Login},
		{"second factor", answer(200, `{"request_id":"1","auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"x"}}}`), 9, 1, fault.Login},
		{"wrapped", answer(200, `{"request_id":"","wrap_info":{"token":"hvs.wrapped"}}`), 9, 1, fault.BadResponse},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			var server *standIn
			server = newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				server.mu.Lock()
				defer server.mu.Unlock()
				if !strings.Contains(r.URL.Path, "/login/") {
					return false
				}
				if failures++; failures > test.times {
					return false
				}
				test.failed(w)
				return true
			})
			r := readOnce(t.Context(), withMethod(server.address, userpass{"userpass", "agent", password}, nil))
			if test.kind == nil {
				assert.NoError(t, r.err)
			} else if assert.ErrorIs(t, r.err, test.kind) {
				assert.NotContains(t, r.err.Error(), password)
				assert.NotContains(t, r.err.Error(), "hvs.")
			}
			assert.Equal(t, test.logins, count(server.requests(), "/login/agent"))
		})
	}
	assert.Empty(t, elsewhere.requests(), "a redirect was followed")
}

type methodFunc func(ctx context.Context, c *api.Client) (*api.Secret, error)

func (f methodFunc) Login(ctx context.Context, c *api.Client) (*api.Secret, error) { return f(ctx, c) }

func TestHandedInMethodByItself(t *testing.T) {
	t.Parallel()
	login := userpass{"userpass", "agent", password}
	for _, test := range []struct {
		name     string
		method   methodFunc
		kind     error
		requests []string
	}{
		{"fails before it asks", func(context.Context, *api.Client) (*api.Secret, error) {
			return nil, errors.New("no credentials in " + password)
		}, fault.Login, nil},
		{"returns nothing", func(context.Context, *api.Client) (*api.Secret, error) { return nil, nil }, fault.Login, nil},
		// Its token would be stranded.
		{"fails after Vault made a token", func(ctx context.Context, c *api.Client) (*api.Secret, error) {
			login.Login(ctx, c)
			return nil, errors.New("second thoughts about " + password)
		}, fault.Login, []string{"PUT auth/userpass/login/agent", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}},
		{"looks at its token", func(ctx context.Context, c *api.Client) (*api.Secret, error) {
			secret, err := login.Login(ctx, c)
			c.SetToken(secret.Auth.ClientToken)
			c.Auth().Token().LookupSelfWithContext(ctx)
			return secret, err
		}, nil, []string{"PUT auth/userpass/login/agent", "GET auth/token/lookup-self", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}},
		{"fails after its login, when Vault refuses something else", func(ctx context.Context, c *api.Client) (*api.Secret, error) {
			login.Login(ctx, c)
			return c.Logical().ReadWithContext(ctx, "away")
		}, fault.Login, []string{"PUT auth/userpass/login/agent", "GET away", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}},
		{"sends what it read from a file, with its line break", func(ctx context.Context, c *api.Client) (*api.Secret, error) {
			c.AddHeader("X-Own", password+"\n")
			return login.Login(ctx, c)
		}, fault.Login, nil},
		{"panics", func(context.Context, *api.Client) (*api.Secret, error) { panic("with " + password) }, fault.Login, nil},
		{"panics after its login", func(ctx context.Context, c *api.Client) (*api.Secret, error) {
			login.Login(ctx, c)
			panic(errors.New("with " + password))
		}, fault.Login, []string{"PUT auth/userpass/login/agent", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}},
		// It belongs to somebody else.
		{"returns a token that it had", func(context.Context, *api.Client) (*api.Secret, error) {
			return &api.Secret{Auth: &api.SecretAuth{ClientToken: "hvs.kept", Accessor: "a"}}, nil
		}, nil, nil},
		{"sets the client's own token", func(ctx context.Context, c *api.Client) (*api.Secret, error) {
			c.SetToken("hvs.other")
			return login.Login(ctx, c)
		}, nil, []string{"PUT auth/userpass/login/agent", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				away := strings.HasSuffix(r.URL.Path, "/away")
				if away {
					say(w, 400, `{"errors":["no such thing"]}`)
				}
				return away
			})
			r := readOnce(t.Context(), withMethod(server.address, test.method, nil))
			if test.kind == nil {
				assert.NoError(t, r.err)
			} else {
				assertKind(t, r.err, test.kind, "the login method custom")
				assert.False(t, leaks(dump(r.err)), "the error, or its cause")
			}
			assert.Equal(t, test.requests, server.requests())
		})
	}
	none := readOnce(t.Context(), withMethod("https://vault.example", nil, nil))
	assertKind(t, none.err, fault.Login, "the login method custom failed: the method is nil, panicked, or ended its goroutine; fix the method")
}

// The answer to a login may show that the address is wrong, or is not Vault's.
func TestLoginAtTheWrongServer(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/vault") {
			say(w, 404, `{"errors":[]}`+"\n")
		} else {
			say(w, 200, `{"request_id":"1","auth":{"client_token":"`+standInToken+`","accessor":"a","metadata":{"a":1}}}`)
		}
		return true
	})
	r := readOnce(t.Context(), withMethod(server.address+"/vault", userpass{"userpass", "agent", password}, nil))
	assertKind(t, r.err, fault.BadResponse, "omit /vault from the address")
	r = readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
	assertKind(t, r.err, fault.BadResponse, "not the JSON of a login at "+server.address)
}

// A method that does not return, because it waits for a Vault that is down, is not to
// blame.
func TestHandedInMethodThatWaitsForVault(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	vault := withMethod("http://127.0.0.1:1", methodFunc(func(ctx context.Context, c *api.Client) (*api.Secret, error) {
		userpass{"userpass", "agent", password}.Login(ctx, c)
		<-over
		return nil, errors.New("no answer")
	}), nil)
	_, err := do(t.Context(), vault, auth.DoOptions{Patience: time.Second}, nil)
	assertKind(t, err, fault.Unreachable, "connection refused")
}

// A method that logs in twice leaves no token behind.
func TestHandedInMethodThatLogsInTwice(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := "userpass-" + vaulttest.Name()
	server.Must(t, "POST", "sys/auth/"+mount, map[string]any{"type": "userpass"})
	server.Must(t, "POST", "auth/"+mount+"/users/agent", map[string]any{"password": password, "token_ttl": "1h"})
	login := userpass{mount, "agent", password}
	r := readOnce(t.Context(), withMethod(server.Address, methodFunc(func(ctx context.Context, c *api.Client) (*api.Secret, error) {
		login.Login(ctx, c)
		return login.Login(ctx, c)
	}), nil))
	require.NoError(t, r.err)
	assert.Empty(t, r.warnings())
	assert.Equal(t, 2, count(r.requests(t, server), "/revoke-self"))
	status, answer, err := server.Do("LIST", "sys/leases/lookup/auth/"+mount+"/login/agent", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, status, "%v", answer)
}

func TestMethodNames(t *testing.T) {
	t.Parallel()
	method := userpass{}
	options := variables{"VAULT_TOKEN": "t"}.options()
	options.Methods = handIn(map[string]api.AuthMethod{"custom": method, "": method})
	options.Methods["nil"] = nil
	validate := func(name string) error {
		return auth.New(auth.Settings{Address: "https://h", AuthMethod: name}, options).Validate()
	}
	assert.NoError(t, validate("custom"))
	assert.NoError(t, validate(""), "the token")
	known := append(auth.MethodNames(), "custom")
	slices.Sort(known)
	err := validate("nil")
	assert.ErrorIs(t, err, fault.Settings)
	assert.EqualError(t, err, "the vault settings are wrong: auth_method: unknown; choose one of "+strings.Join(known, ", "))
	assert.Len(t, auth.Settings{Address: "https://h", AuthMethod: "custom"}.Faults(), 1)
	assert.Empty(t, auth.Settings{Address: "https://h", AuthMethod: "custom"}.Faults("custom"))
}

// A server echoes a part of what a method sent, whatever the form of the body.
func TestEchoOfAHandedInMethod(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body, echo string
	}{
		{"JSON", `{"user":{"names":["agent"],"password":"Kq7canaryZ9"}}`, password},
		{"a space", `{"password":"pass w"}`, "pass w"},
		{"a number", `{"otp":12345678}`, "12345678"},
		{"a number, as it was sent", `[1234567890123456789012, 0.10e+10]`, "1234567890123456789012 or 0.10e+10"},
		{"a second JSON value", `{"a":"b"} {"password":"Kq7canaryZ9"}`, password},
		{"a text behind JSON", `{"a":"b"} Kq7canaryZ9`, password},
		{"JSON that is cut off", `{"a":"b"} {"password":"Kq7canaryZ9"`, password},
		{"JSON with a name twice", `{"password":"Kq7canaryZ9","password":"b"}`, password},
		{"headers in base64, as for AWS", `{"iam_request_headers":"` + base64.StdEncoding.EncodeToString([]byte(`{"X-Amz-Security-Token":["Kq7canaryZ9"]}`)) + `"}`, password},
		{"a text", password, password},
		{"a form", "user=agent&password=Kq7canaryZ9", password},
		{"a form with escapes", "user=agent&password=%4bq7%63anary%5A9+%2F&x", "Kq7canaryZ9 /"},
		{"a form with escapes, as it was sent", "user=agent&password=%4bq7%63anary%5A9", "%4bq7%63anary%5A9"},
		{"a form with a wrong escape", "password=Kq7%canary&user=agent", "Kq7%canary"},
		{"a form that begins like JSON", "12=34&password=Kq7canaryZ9", password},
		{"all of it", "user=agent&password=Kq7canaryZ9", "user=agent&password=Kq7canaryZ9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			echo, err := json.Marshal("invalid username or password " + test.echo)
			require.NoError(t, err)
			server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
				say(w, 400, `{"errors":[`+string(echo)+`]}`)
				return true
			})
			method := methodFunc(func(ctx context.Context, c *api.Client) (*api.Secret, error) {
				_, err := c.Logical().WriteRawWithContext(ctx, "auth/custom/login", []byte(test.body))
				return nil, err
			})
			r := readOnce(t.Context(), withMethod(server.address, method, nil))
			assertKind(t, r.err, fault.Login, "invalid username or password [masked]") // names are no secrets
			for part := range strings.SplitSeq(test.echo, " or ") {
				assert.NotContains(t, r.err.Error(), part)
			}
		})
	}
}
