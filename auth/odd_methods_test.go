package auth_test

import (
	"context"
	"encoding/base64"
	"math"
	"net/http"
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

// A method may renew a token that others use, too. A run does not revoke it.
func TestMethodThatRenewsItsToken(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy, "default"}, "ttl": "1h"})
	r := readOnce(t.Context(), withMethod(server.Address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		client.SetToken(token)
		return client.Auth().Token().RenewSelfWithContext(ctx, 3600)
	}), nil), secret.path)
	require.NoError(t, r.err)
	assert.Equal(t, []int{http.StatusOK}, r.status)
	status, _, err := server.Do(http.MethodPost, "auth/token/lookup", map[string]any{"token": token})
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status, "it is alive")
}

// A method may try a token of its own first. The run goes on although Vault cannot read it.
func TestMethodThatTriesATokenFirst(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Vault-Token") != "old" {
			return false
		}
		say(w, 500, `{"errors":["failed to look up namespace from the token: no namespace"]}`)
		return true
	})
	r := readOnce(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		client.SetToken("old")
		_, err := client.Auth().Token().LookupSelfWithContext(ctx)
		assert.Error(t, err)
		client.ClearToken()
		return client.Logical().WriteWithContext(ctx, "auth/custom/login", map[string]any{})
	}), nil), "x/y")
	require.NoError(t, r.err)
	assert.Equal(t, []int{http.StatusOK}, r.status)
}

// A method may log in in a namespace of its choice. Requests about its token go there.
func TestMethodThatChoosesItsNamespace(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	r := readOnce(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.WithNamespace("machines/").Logical().WriteWithContext(ctx, "auth/custom/login", map[string]any{})
	}), nil), "x/y")
	require.NoError(t, r.err)
	namespaces := map[string]string{}
	for _, request := range server.all() {
		namespaces[strings.TrimPrefix(request.URL.Path, "/v1/")] = strings.Trim(request.Header.Get("X-Vault-Namespace"), "/")
	}
	assert.Equal(t, map[string]string{"auth/custom/login": "machines", "x/y": "", "auth/token/lookup-self": "machines", "auth/token/revoke-self": "machines"}, namespaces)
	assert.Equal(t, "machines", r.usage.Token.Namespace)
}

// An error about a namespace names the one of the request, unless that may be a secret in
// the wrong place.
func TestNamespaceIsNamed(t *testing.T) {
	t.Parallel()
	const gone, sealed = `{"errors":["namespace not found"]}`, `{"errors":["namespace is sealed"]}` // as OpenBao 2.6.2 says them
	for _, test := range []struct {
		pinned, ui, lacks string
		status            int
		body, says        string
	}{
		{"team", "team/child", "team", 404, gone, "vault has no such namespace: team ("},
		{"team", "team/child", "team/child", 404, gone, "vault has no such namespace: team/child ("},
		{"", "team", "team", 503, sealed, "the namespace is sealed or locked: team ("},
		{"", "", "", 404, gone, "vault has no such namespace ("},
		{"", "hvs.pastedCANARY", "hvs.pastedCANARY", 404, gone, "vault has no such namespace: [masked] ("},
	} {
		t.Run(test.says, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				is := r.Header.Get("X-Vault-Namespace") == test.lacks
				if is {
					say(w, test.status, test.body)
				}
				return is
			})
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle", Namespace: test.ui}, variables{"VAULT_NAMESPACE": test.pinned, "VAULT_ROLE_ID": "r"}.options())
			_, err := do(t.Context(), vault, auth.DoOptions{Patience: brief}, func(ctx context.Context, client *api.Client) error {
				_, err := get(ctx, client, "secret/app")
				return err
			})
			require.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), "CANARY")
		})
	}
}

// The namespace that a method sends is no secret, so Vault's words about it can be read.
func TestNamespaceOfAMethodIsNotMasked(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
		say(w, 503, `{"errors":["API access to this namespace has been locked by an administrator - \"luumen-team\" must be unlocked to gain access."]}`)
		return true
	})
	_, err := do(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.WithNamespace("luumen-team").Logical().WriteWithContext(ctx, "auth/custom/login", map[string]any{})
	}), nil), auth.DoOptions{Patience: brief}, nil)
	assertKind(t, err, fault.Sealed, `"luumen-team" must be unlocked`)
}

// All headers of a method are secret but five.
func TestHeadersOfAMethod(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
		say(w, 400, `{"errors":["bad luumen-team"]}`)
		return true
	})
	for header, isSecret := range map[string]bool{
		"Accept": false, "Content-Type": false, "User-Agent": false, "X-Vault-Request": false, "X-Vault-Namespace": false,
		"Authorization": true, "X-Vault-Token": true, "X-Vault-Mfa": true, "X-Vault-Wrap-Ttl": true, "Any": true,
	} {
		r := readOnce(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
			client.AddHeader(header, "luumen-team")
			return client.Logical().WriteWithContext(ctx, "auth/custom/login", map[string]any{})
		}), nil))
		require.ErrorIs(t, r.err, fault.Login, header)
		assert.Equal(t, isSecret, strings.Contains(r.err.Error(), "bad [masked]"), header)
	}
}

// A request ends with its own context, even within a login that another request waits for.
func TestRequestThatDoesNotWaitForALogin(t *testing.T) {
	t.Parallel()
	logins, began, end := 0, make(chan bool), make(chan bool)
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/login"):
			if logins++; logins == 1 {
				return false
			}
			close(began)
			<-end
			say(w, 400, `{"errors":["invalid role or secret ID"]}`)
		case strings.HasSuffix(r.URL.Path, "/z"):
			say(w, 403, `{"errors":["permission denied","invalid token"]}`)
		default:
			return false
		}
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := get(ctx, client, "x/y")
		require.NoError(t, err)
		request, cancel := context.WithCancel(ctx)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := get(request, client, "x/z")
			first <- err
		}()
		<-began
		go func() {
			_, err := get(ctx, client, "x/z")
			second <- err
		}()
		cancel()
		assert.ErrorIs(t, <-first, context.Canceled)
		close(end)
		return <-second
	})
	assertKind(t, err, fault.Login, "invalid role or secret ID")
	assert.Equal(t, 2, logins)
}

// A token that only the method vouches for is not proven.
func TestMethodThatAsksNobody(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	_, err := do(t.Context(), withMethod(server.address, methodFunc(func(context.Context, *api.Client) (*api.Secret, error) {
		return &api.Secret{Auth: &api.SecretAuth{ClientToken: "hvs.invented", Accessor: "a"}}, nil
	}), nil), auth.DoOptions{}, func(ctx context.Context, _ *api.Client) error {
		assert.False(t, auth.TokenOf(ctx).Proven)
		return nil
	})
	require.NoError(t, err)
}

func TestMethodThatReturnsALine(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"hvs.kept\n", "hvs.kept\r\n", "hvs.ke\x00pt"} {
		r := readOnce(t.Context(), withMethod(newStandIn(t, nil).address, methodFunc(func(context.Context, *api.Client) (*api.Secret, error) {
			return &api.Secret{Auth: &api.SecretAuth{ClientToken: token}}, nil
		}), nil), "x/y")
		assertKind(t, r.err, fault.Login, "returned a token with a line break or another control character; fix the method")
	}
}

// Parts of a method's headers, and its query, are masked where a server echoes them.
func TestEchoOfPartsOfAMethodsRequest(t *testing.T) {
	t.Parallel()
	const canary = "Kq7canaryZ9"
	server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
		say(w, 400, `{"errors":["bad credential `+canary+`"]}`)
		return true
	})
	for _, header := range [][2]string{
		{"Authorization", "Bearer " + canary}, {"Authorization", "Negotiate " + canary}, {"Authorization", `Digest username="u", response="` + canary + `"`},
		{"Cookie", "a=b; session=" + canary}, {"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("agent:"+canary))},
	} {
		r := readOnce(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
			client.AddHeader(header[0], header[1])
			return client.Logical().WriteWithContext(ctx, "auth/custom/login", map[string]any{})
		}), nil))
		require.ErrorIs(t, r.err, fault.Login)
		assert.False(t, strings.Contains(r.err.Error(), canary), header[0])
	}
	r := readOnce(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.Logical().ReadWithDataWithContext(ctx, "auth/custom/login", map[string][]string{"code": {canary}})
	}), nil))
	require.ErrorIs(t, r.err, fault.Login)
	assert.False(t, strings.Contains(r.err.Error(), canary), "query")
}

// vault/api shows the whole body of an answer whose errors it cannot decode.
func TestDoMasksErrorsOfAnyForm(t *testing.T) {
	t.Parallel()
	const token = "hvs.Kq7canaryZ9Kq7canaryZ9"
	for _, body := range []string{
		`{"request_id":"1","Errors":"no good ` + token + `"}`,
		`{"request_id":"1","Errors":["no good ` + token + `",5]}`,
		`{"errors":[],"ERRORS":{"a":"` + token + `"}}`,
		`{"errors":["` + token + `"],"warnings":"` + token + `"}`,
		`{"errors":["` + token + `"]}`,
	} {
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			is := strings.HasSuffix(r.URL.Path, "/x/y")
			if is {
				say(w, 400, body)
			}
			return is
		})
		_, err := do(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": token}.options()), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
			_, err := client.Logical().ReadWithContext(ctx, "x/y")
			return err
		})
		require.Error(t, err)
		assert.False(t, strings.Contains(err.Error(), token), strings.ReplaceAll(body, token, "TOKEN"))
	}
}

// A given token's expiry follows from its time to live, since clocks may differ.
func TestExpiryIfClocksDiffer(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-2 * time.Hour, 10 * 24 * time.Hour} {
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			is := strings.HasSuffix(r.URL.Path, "/lookup-self")
			if is {
				say(w, 200, `{"request_id":"1","data":{"accessor":"a","ttl":3600,"creation_ttl":3600,"expire_time":"`+time.Now().Add(skew+time.Hour).UTC().Format(time.RFC3339)+`","type":"service","num_uses":0,"renewable":false},"mount_type":"token"}`)
			}
			return is
		})
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "hvs.given"}.options()), "x/y")
		assert.InDelta(t, 3600, r.usage.Token.TTL, 60)
		assert.Contains(t, strings.Join(r.warnings(), ""), "in 60 minutes")
	}
}

// A caller's own index is sent beside that of the login.
func TestIndexOfTheCaller(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/login") {
			w.Header().Set("X-Vault-Index", "of-login")
		}
		return false
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := client.WithRequestCallbacks(api.RequireState("of-my-write")).Logical().ReadWithContext(ctx, "x/y")
		return err
	})
	require.NoError(t, err)
	for _, request := range server.all() {
		if strings.HasSuffix(request.URL.Path, "/x/y") {
			assert.Equal(t, []string{"of-my-write", "of-login"}, request.Header.Values("X-Vault-Index"))
		}
	}
}

func TestNoLimitOverflows(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		is := strings.HasSuffix(r.URL.Path, "/login")
		if is {
			say(w, 200, `{"request_id":"1","auth":{"client_token":"hvs.x","accessor":"a","lease_duration":9223372037,"token_type":"service"},"mount_type":"approle"}`)
		}
		return is
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{Patience: math.MaxInt64}, func(ctx context.Context, _ *api.Client) error {
		assert.True(t, auth.TokenOf(ctx).Expires.After(time.Now().Add(24*time.Hour)))
		return nil
	})
	assert.NoError(t, err)
}
