package auth_test

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
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

// A method asks the Vault of the settings alone: at another, a token would be left behind.
func TestMethodThatAsksAnotherServer(t *testing.T) {
	t.Parallel()
	server, other := newStandIn(t, nil), newStandIn(t, nil)
	for name, change := range map[string]func(*api.Client) error{
		"address": func(c *api.Client) error { return c.SetAddress(other.address) },
		"scheme":  func(c *api.Client) error { return c.SetAddress(strings.Replace(server.address, "http:", "https:", 1)) },
		"path":    func(c *api.Client) error { return c.SetAddress(server.address + "/elsewhere") },
	} {
		r := readOnce(t.Context(), withMethod(server.address, methodFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
			if err := change(client); err != nil {
				return nil, err
			}
			return client.Logical().WriteWithContext(ctx, "auth/custom/login", nil)
		}), nil))
		assertKind(t, r.err, fault.Login, "the login method custom: its request was not for the API at the address in the settings, so it was not sent; fix the method")
		assert.Empty(t, server.requests(), name)
		assert.Empty(t, other.requests(), name)
	}
}

// In lower case, the letter U+0130 becomes an i, but it names another host.
func TestHostWithOtherLettersIsAnother(t *testing.T) {
	t.Parallel()
	proxy := newStandIn(t, nil)
	vault := auth.New(auth.Settings{Address: "http://vault.internal"}, variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": proxy.address}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		require.NoError(t, client.SetAddress("http://vault.\u0130nternal"))
		_, err := client.Logical().ReadWithContext(ctx, "secret/app")
		assert.ErrorContains(t, err, "the token is not sent to an address other than the one in the settings")
		require.NoError(t, client.SetAddress("http://VAULT.internal"))
		_, err = client.Logical().ReadWithContext(ctx, "")
		assert.ErrorContains(t, err, "or is empty")
		_, err = client.Logical().ReadWithContext(ctx, "secret/app")
		return err
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"GET auth/token/lookup-self", "GET secret/app"}, proxy.requests())
}

// A refused login for somebody else within Do is the error of that call, and ends nothing else.
func TestLoginWithinDo(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	mount := "userpass-" + vaulttest.Name()
	server.Must(t, "POST", "sys/auth/"+mount, map[string]any{"type": "userpass"})
	server.Must(t, "POST", "auth/"+mount+"/users/alice", map[string]any{"password": password})
	a, vault := approle(t, server, map[string]any{"token_policies": secret.policy})
	r := &run{id: vaulttest.Name()}
	r.usage, r.err = do(t.Context(), vault, auth.DoOptions{RunID: r.id}, func(ctx context.Context, client *api.Client) error {
		for range 7 { // Vault locks the user after the fifth, and then says only: permission denied
			_, err := client.Logical().WriteWithContext(ctx, "auth/"+mount+"/login/alice", map[string]any{"password": "wrong"})
			require.Error(t, err)
			_, ofTheLibrary := errors.AsType[fault.Kind](err)
			assert.False(t, ofTheLibrary, "%v", err)
		}
		answer, err := get(ctx, client, secret.path)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, answer.Status)
		return nil
	})
	require.NoError(t, r.err)
	assert.Equal(t, 1, count(r.requests(t, server), "/login"))
	assert.Zero(t, tokensOf(t, server, a.Mount))
}

// Vault answers some requests with something other than JSON.
func TestDoGetsAnswersOfAnyForm(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := "pki-" + vaulttest.Name()
	server.Must(t, "POST", "sys/mounts/"+mount, map[string]any{"type": "pki"})
	server.Must(t, "POST", mount+"/root/generate/internal", map[string]any{"common_name": "Root"})
	_, err := do(t.Context(), at(server, "", variables{"VAULT_TOKEN": server.Token}), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		response, err := client.Logical().ReadRawWithContext(ctx, mount+"/ca/pem")
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		block, _ := pem.Decode(text)
		require.NotNil(t, block, "%q", text)
		assert.Equal(t, "CERTIFICATE", block.Type)

		status, err := client.Sys().SealStatusWithContext(ctx)
		require.NoError(t, err)
		assert.False(t, status.Sealed)
		return nil
	})
	require.NoError(t, err)
}

// A quota on the look-up alone costs a warning.
func TestQuotaOnTheLookUp(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		is := strings.HasSuffix(r.URL.Path, "/lookup-self")
		if is {
			say(w, 429, `{"errors":["request path \"auth/token/lookup-self\": rate limit quota exceeded"]}`)
		}
		return is
	})
	const patience = 3 * time.Second
	vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "hvs.given"}.options())
	began := time.Now()
	usage, err := do(t.Context(), vault, auth.DoOptions{Patience: patience}, func(ctx context.Context, client *api.Client) error {
		assert.Less(t, time.Since(began), patience*2/3)
		_, err := get(ctx, client, "x/y")
		return err
	})
	require.NoError(t, err)
	require.Len(t, usage.Findings, 1)
	assert.Equal(t, auth.TokenExpiryUnknown, usage.Findings[0].Code)
}

// Only 200, 204 and 404 are Vault's answers to a token that it accepts. What any other says
// is masked.
func TestOtherSuccess(t *testing.T) {
	t.Parallel()
	for _, status := range []int{201, 202, 203, 206, 226} {
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			say(w, status, `{"request_id":"1","errors":["no: `+r.Header.Get("X-Vault-Token")+password+string(body)+`"]}`)
			return true
		})
		given := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": password}.options())
		usage, err := do(t.Context(), given, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
			assert.False(t, auth.TokenOf(ctx).Proven, status)
			_, err := get(ctx, client, "x/y")
			return err
		})
		assert.NoError(t, err)
		assert.False(t, usage.Token.Proven, status)

		approle := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id", "VAULT_SECRET_ID": password}.options())
		_, err = do(t.Context(), approle, auth.DoOptions{}, nil)
		require.ErrorIs(t, err, fault.Login)
		assert.False(t, strings.Contains(err.Error(), password), status)
	}
}

// The list of paths can be long, and a run asks for thousands of paths.
func TestManyPathPins(t *testing.T) {
	var all []string
	for i := range 1000 {
		all = append(all, "secret/team-"+strings.Repeat("x", i%20)+vaulttest.Name())
	}
	pins := strings.Join(all, ", ")
	vault := auth.New(auth.Settings{Address: "https://vault.example"}, auth.Options{Getenv: func(name string) string {
		if name == "LUUMEN_VAULT_PATHS" {
			return pins
		}
		return ""
	}})
	for _, path := range []string{all[0], all[999] + "/app"} {
		assert.NoError(t, vault.ValidatePath(path))
	}
	err := vault.ValidatePath("secret/other")
	assertKind(t, err, fault.Pinned, "it allows "+all[0], "…")
	assert.Less(t, len(err.Error()), 1000)
	allocations := testing.AllocsPerRun(10, func() { vault.ValidatePath(all[500]) })
	assert.Less(t, allocations, 5.0, "the list is parsed once")

	pins = "secret/other" // an environment that changes
	assert.NoError(t, vault.ValidatePath("secret/other"))
	for _, malformed := range []string{"secret/a,", "secret/a,,b", "secret/a\nteam", "secret/*", "hvs.Pasted0123456789Pasted"} {
		pins = malformed
		assertKind(t, vault.ValidatePath("secret/a"), fault.Environment, "LUUMEN_VAULT_PATHS")
	}
}

// A credential in place of a name is in no error, and goes nowhere.
func TestCredentialInPlaceOfAName(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	for _, secret := range []string{"hvs.Kq7canaryZ9Kq7canaryZ9", "s.Kq7canaryZ9Kq7canaryZ9Kq", "eyJhbGciOiJub25lIn0.Kq7canaryZ9.x", "VAULT_TOKEN=Kq7canaryZ9"} {
		for variable, method := range map[string]string{
			"VAULT_APPROLE_MOUNT": "approle", "VAULT_JWT_ROLE": "jwt", "VAULT_KUBERNETES_ROLE": "kubernetes", "VAULT_CERT_ROLE": "cert",
			"VAULT_TLS_SERVER_NAME": "token", "VAULT_NAMESPACE": "token", "LUUMEN_VAULT_PATHS": "token",
		} {
			v := variables{"VAULT_TOKEN": "t", "VAULT_ROLE_ID": "r", "VAULT_JWT_FILE": "/f", "VAULT_KUBERNETES_JWT_FILE": "/f", "VAULT_JWT_ROLE": "r"}
			if method == "cert" {
				v = variables{"VAULT_CLIENT_CERT": "/c", "VAULT_CLIENT_KEY": "/k"}
			}
			v[variable] = secret
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: method}, v.options()), "x/y")
			assertKind(t, r.err, fault.Environment, variable)
			assert.False(t, strings.Contains(r.err.Error(), "canary"), variable)
		}
	}
	// What can be a name is hidden, even if Vault echoes it.
	uuid := "ca9a4111-CA9A-4222-8333-ca9a4111ca9a" // the form of a secret id
	for _, v := range []variables{{"VAULT_NAMESPACE": uuid}, {"VAULT_JWT_ROLE": uuid}, {"VAULT_JWT_ROLE": "https://user:canaryPW99@vault.example"}, {"VAULT_JWT_MOUNT": "user:canaryPW99@vault"}} {
		v = v.and(variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": inFile(t, "j")})
		echo := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
			say(w, 400, `{"errors":["role \"`+v["VAULT_JWT_ROLE"]+`\" could not be found"]}`)
			return true
		})
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: echo.address, AuthMethod: "jwt"}, v.options()))
		require.Error(t, r.err)
		assert.NotContains(t, r.err.Error(), "canary", "%v", v)
		assert.NotContains(t, r.err.Error(), uuid, "%v", v)
	}
	// So is a credential in base64.
	encoded := base64.StdEncoding.EncodeToString([]byte("hvs.Kq7canaryZ9Kq7canaryZ9\n"))
	for _, variable := range []string{"VAULT_JWT_ROLE", "VAULT_NAMESPACE"} {
		v := variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": inFile(t, "j"), variable: encoded}
		echo := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			say(w, 400, `{"errors":["role `+encoded+` in `+r.Header.Get("X-Vault-Namespace")+`"]}`)
			return true
		})
		vault := auth.New(auth.Settings{Address: echo.address, AuthMethod: "jwt"}, v.options())
		r := readOnce(t.Context(), vault)
		require.Error(t, r.err)
		assert.NotContains(t, r.err.Error(), encoded, variable)
		assert.NotContains(t, vault.Effective().String(), encoded, variable)
	}
	// A pin that differs is not shown either.
	pinned := auth.New(auth.Settings{Address: server.address, Namespace: "team"}, variables{"VAULT_TOKEN": "t", "VAULT_NAMESPACE": uuid, "LUUMEN_VAULT_PATHS": uuid}.options())
	for _, err := range []error{pinned.Validate(), pinned.ValidatePath("secret/app")} {
		assertKind(t, err, fault.Pinned, "one that is not shown")
		assert.NotContains(t, err.Error(), uuid)
	}
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": uuid}.options()))
	assertKind(t, r.err, fault.Environment, "VAULT_APPROLE_MOUNT")
	assert.NotContains(t, r.err.Error(), uuid)
	faults := auth.Settings{Address: server.address, Namespace: "hvs.Kq7canaryZ9Kq7canaryZ9"}.Faults()
	require.Len(t, faults, 1)
	assert.Equal(t, "namespace", faults[0].Setting)
	assert.Empty(t, server.requests())
	for variable, name := range (variables{"VAULT_TLS_SERVER_NAME": "hvs.corp.example", "VAULT_NAMESPACE": "s.team", "LUUMEN_VAULT_PATHS": "x/b.team"}) {
		vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t", variable: name}.options())
		assert.NoError(t, vault.Validate(), "%s can be a name", name)
	}
}

// A standby answers sys/health although the leader hangs. So the second attempt to log in,
// which is the last, waits until another node leads.
func TestLoginWhileTheLeaderHangs(t *testing.T) {
	t.Parallel()
	var logins, looks, early atomic.Int32
	const elected = 3 // looks at the health until then
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/sys/health"):
			standby := looks.Add(1) < elected
			say(w, 200, fmt.Sprintf(`{"initialized":true,"sealed":false,"standby":%t,"performance_standby":false,"server_time_utc":%d,"version":"1.21.1"}`, standby, time.Now().Unix()))
		case strings.HasSuffix(r.URL.Path, "/login") && logins.Add(1) == 1:
			w.WriteHeader(http.StatusGatewayTimeout) // as a balancer does
		default:
			if strings.HasSuffix(r.URL.Path, "/login") && looks.Load() < elected {
				early.Add(1)
			}
			return false
		}
		return true
	})
	_, err := do(t.Context(), byAppRole(server), auth.DoOptions{Patience: 20 * time.Second}, func(context.Context, *api.Client) error { return nil })
	require.NoError(t, err)
	assert.EqualValues(t, 2, logins.Load())
	assert.Zero(t, early.Load())
}
