package auth_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
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

// Requests that wait for a connection do not use up the time of their attempt: a write
// would be sent, and then given up as unanswered.
func TestMoreRequestsThanConnections(t *testing.T) {
	t.Parallel()
	const requests, connections = 60, 4
	var served, underWay, most atomic.Int32
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "pki/issue") {
			return false
		}
		if n := underWay.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-time.After(200 * time.Millisecond) // a slow server
		underWay.Add(-1)
		served.Add(1)
		say(w, 200, `{"request_id":"1","data":{"certificate":"x"},"mount_type":"pki"}`)
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_CLIENT_TIMEOUT": "2"}.options())
	usage, err := do(t.Context(), vault, auth.DoOptions{Connections: connections}, func(ctx context.Context, client *api.Client) error {
		var working sync.WaitGroup
		for i := range requests {
			working.Go(func() {
				_, err := client.Logical().WriteWithContext(ctx, fmt.Sprintf("pki/issue/%d", i), map[string]any{"common_name": "x"})
				assert.NoError(t, err)
			})
		}
		working.Wait()
		return nil
	})
	require.NoError(t, err)
	assert.EqualValues(t, requests, served.Load(), "each once")
	assert.LessOrEqual(t, most.Load(), int32(connections))
	assert.Zero(t, usage.Retries)
}

// A clone works as its client does, whatever vault/api finds in the environment.
func TestClonesIgnoreTheEnvironment(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "hvs.of-the-process")
	t.Setenv("VAULT_NAMESPACE", "process")
	t.Setenv("VAULT_HEADERS", `{"X-Process":"1"}`)
	server := newStandIn(t, nil)
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle", Namespace: "team"}, variables{"VAULT_ROLE_ID": "r"}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		for _, clone := range []func() (*api.Client, error){client.Clone, client.CloneWithHeaders} {
			c, err := clone()
			require.NoError(t, err)
			assert.Empty(t, c.Token())
			_, err = c.Logical().ReadWithContext(ctx, "secret/app")
			assert.NoError(t, err)
		}
		return nil
	})
	require.NoError(t, err)
	reads := 0
	for _, r := range server.all() {
		if strings.HasSuffix(r.URL.Path, "/secret/app") {
			reads++
			assert.Equal(t, []string{standInToken, "team", ""}, []string{r.Header.Get("X-Vault-Token"), r.Header.Get("X-Vault-Namespace"), r.Header.Get("X-Process")})
		}
	}
	assert.Equal(t, 2, reads)
}

// A mistake of the caller's is found before a login.
func TestDoWithoutAVaultOrAUse(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options())
	assert.PanicsWithValue(t, "auth: Do without a func to call", func() { vault.Do(t.Context(), auth.DoOptions{}, nil) })
	assert.Empty(t, server.requests())

	var zero auth.Vault
	_, err := do(t.Context(), &zero, auth.DoOptions{}, nil)
	assertKind(t, err, fault.NotConfigured)
	assertKind(t, zero.Validate(), fault.NotConfigured)
	assert.NoError(t, zero.ValidatePath("secret/app"))
	assert.Empty(t, zero.Settings())
	assert.NotEmpty(t, zero.Effective())
}

// The zero options are those that the documentation names.
func TestDefaultsOfDo(t *testing.T) {
	t.Parallel()
	o := auth.WithDefaults(auth.DoOptions{})
	assert.Equal(t, 60*time.Second, o.Patience)
	assert.Equal(t, 16, o.Connections)
	assert.NotEmpty(t, o.RunID)
	assert.NotEqual(t, o.RunID, auth.WithDefaults(auth.DoOptions{}).RunID)
	long := strings.Repeat("1234567 ", 100)
	assert.Equal(t, strings.Repeat("1234567", 100)[:128], auth.WithDefaults(auth.DoOptions{RunID: long + "é\r\n"}).RunID)
}

// Names that only begin or end like a token or an id are names.
func TestNamesThatResembleCredentials(t *testing.T) {
	t.Parallel()
	const id = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	for _, mount := range []string{"approle-" + id, "s.approle-production-cluster-eu", "hvs.approle", "team/hvs.luumen-patch-production-agent"} {
		v := auth.New(auth.Settings{Address: "https://vault.example", AuthMethod: "approle"}, variables{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": "r"}.options())
		assert.NoError(t, v.Validate(), mount)
	}
	for _, mount := range []string{id, "hvs.CAESIPasted0123456789Pasted"} {
		v := auth.New(auth.Settings{Address: "https://vault.example", AuthMethod: "approle"}, variables{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": "r"}.options())
		assert.Error(t, v.Validate())
	}
	shown := auth.New(auth.Settings{Address: "https://" + id + ".vault.example"}, variables{
		"VAULT_ADDR": "https://" + id + ".vault.example", "VAULT_NAMESPACE": "admin/tenant-" + id, "LUUMEN_VAULT_PATHS": "secret/tenants/" + id, "VAULT_TOKEN": "t",
	}.options())
	require.NoError(t, shown.Validate())
	assert.NotContains(t, shown.Effective().String(), "not valid")
	assert.ErrorContains(t, shown.ValidatePath("secret/other"), "it allows secret/tenants/"+id)
}

// Custom secret ids can have any text, but JSON in place of one is a mistake.
func TestSecretIDsThatBeginLikeJSON(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{`[[Kx9-pq"7]+zz!`: true, `{"kx9!`: true, `["9kz`: true, `{"secret_id":"x"}`: false, `{"data": {"sec`: false, `["x"]`: false} {
		server := newStandIn(t, nil)
		v := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": text}.options())
		_, err := do(t.Context(), v, auth.DoOptions{}, func(context.Context, *api.Client) error { return nil })
		assert.Equal(t, ok, err == nil, "%s: %v", text, err)
	}
}

// A secret id of somebody's own making may begin like a variable's name.
func TestSecretIDsThatBeginLikeAName(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	a := server.AppRole(t, map[string]any{"token_policies": "default"})
	for _, id := range []string{"luumen_patch=2b8f0c6d", "vault_prod=2b8f0c6d", "LUUMEN_PROD=2b8f0c6d"} {
		server.Must(t, http.MethodPost, "auth/"+a.Mount+"/role/"+a.Role+"/custom-secret-id", map[string]any{"secret_id": id})
		r := readOnce(t.Context(), at(server, "approle", variables{"VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": id, "VAULT_APPROLE_MOUNT": a.Mount}))
		assert.NoError(t, r.err, id)
	}
}

// A variable's name copied along with a credential is no part of it, whether the variable
// has an effect or not.
func TestNamesBeforeACredential(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	for _, name := range append(slices.Collect(maps.Keys(auth.NotRead)), "VAULT_TOKEN", "VAULT_CACERT", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "NO_PROXY") {
		for _, v := range []variables{{"VAULT_TOKEN": name + "=abc"}, {"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": name + "=http://abc"}} {
			method := "token"
			if v["VAULT_ROLE_ID"] != "" {
				method = "approle"
			}
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: method}, v.options()))
			if assert.Error(t, r.err, name) {
				assertKind(t, r.err, fault.Environment, "holds a name and = before the credential; write the credential alone, without a name before it")
			}
		}
	}
	assert.Empty(t, server.requests())
}

// However many requests wait for a connection, a silent Vault costs one wait.
func TestManyRequestsToASilentVault(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
		isRead := strings.Contains(r.URL.Path, "/secret/")
		if isRead {
			sent.Add(1)
			<-r.Context().Done()
		}
		return isRead
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_CLIENT_TIMEOUT": "1"}.options())
	began := time.Now()
	_, err := do(t.Context(), vault, auth.DoOptions{Connections: 4, Patience: 3 * time.Second}, func(ctx context.Context, client *api.Client) error {
		var working sync.WaitGroup
		for i := range 80 {
			working.Go(func() {
				_, err := get(ctx, client, fmt.Sprintf("secret/%d", i))
				assertKind(t, err, fault.Unreachable)
			})
		}
		working.Wait()
		return nil
	})
	require.NoError(t, err)
	assert.LessOrEqual(t, sent.Load(), int32(12))
	assert.Less(t, time.Since(began), 12*time.Second, "20 attempts in turn take 20 s")
}

// A check that is canceled while Vault is silent names the time that a check needs, and
// ends by itself in that time.
func TestCheckThatIsCanceled(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
		hangs := strings.HasSuffix(r.URL.Path, "/secret/app")
		if hangs {
			<-r.Context().Done()
		}
		return hangs
	})
	vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t", "VAULT_CLIENT_TIMEOUT": "3s"}.options())
	for _, test := range []struct {
		deadline time.Duration
		findings []string
	}{
		{2 * time.Second, []string{"when the check was canceled; check Vault, or give checks a deadline of more than 7s"}},
		{7 * time.Second, nil},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), test.deadline)
		defer cancel()
		usage, err := do(ctx, vault, auth.DoOptions{Patience: time.Second, Check: true}, func(ctx context.Context, client *api.Client) error {
			_, err := get(ctx, client, "secret/app")
			return err
		})
		require.Error(t, err)
		require.Len(t, usage.Findings, len(test.findings))
		for i, says := range test.findings {
			assert.Contains(t, usage.Findings[i].Text, says)
		}
	}
}

// A proxy's page is no answer to a caller's request, whatever its status is.
func TestPageInDo(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 403} {
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/signed") {
				return false
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(status)
			io.WriteString(w, "<!DOCTYPE html><title>Sign in</title>")
			return true
		})
		_, err := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options()).Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
			_, err := client.Logical().ReadWithContext(ctx, "ssh/signed")
			return err
		})
		assert.ErrorIs(t, err, fault.BadResponse)
	}
}

// A header that HTTP does not allow is the caller's mistake, not the server's.
func TestHeaderThatCannotBeSent(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options())
	_, err := vault.Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := client.WithNamespace("team\n").Logical().ReadWithContext(ctx, "pki/ca")
		return err
	})
	assert.ErrorContains(t, err, "another control character in a header is not sent")
	assert.NotErrorIs(t, err, fault.BadResponse)
	assert.Equal(t, []string{"GET auth/token/lookup-self"}, server.requests())
}
