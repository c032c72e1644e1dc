package resolver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// A FieldError that no run made says the same everywhere.
func TestZeroFieldError(t *testing.T) {
	t.Parallel()
	var zero resolver.FieldError
	assert.Equal(t, resolver.OK, zero.Kind())
	assert.Equal(t, `"": ok`, zero.Error())
	text, err := json.Marshal(&zero)
	require.NoError(t, err)
	assert.JSONEq(t, `{"field":"","kind":"ok"}`, string(text))
}

// A nil Vault is one that is not configured.
func TestNoVault(t *testing.T) {
	t.Parallel()
	results := collect(resolver.Resolve(t.Context(), nil, []resolver.Host{host("literal", "password", "x"), host("reference", "password", "vault:secret/a#b")}, resolver.Options{}))
	assert.NoError(t, results[0].Err())
	assert.ErrorIs(t, results[1].Err(), resolver.NotConfigured)
	assert.NoError(t, resolver.One(t.Context(), nil, host("literal", "password", "x"), resolver.Options{}).Err())
	v := resolver.Check(t.Context(), nil, fieldsOf("x", "vault:secret/a#b"), resolver.CheckOptions{})
	assert.Equal(t, resolver.NotConfigured, v.Connection.Kind)
	assert.Equal(t, resolver.OK, v.Fields[0].Kind)
	assert.Equal(t, resolver.NotConfigured, v.Fields[1].Kind)
}

// An error of Vault, its settings or the environment costs only the hosts that need
// Vault.
func TestWhatConcernsTheWholeRun(t *testing.T) {
	t.Parallel()
	closed := vaulttest.ClosedPort(t)
	missing := filepath.Join(t.TempDir(), "token")
	for _, c := range []struct {
		name        string
		settings    auth.Settings
		environment map[string]string
		kind        resolver.Kind
		text        string
		requests    bool
	}{
		{name: "not configured", kind: resolver.NotConfigured,
			text: "vault is not configured; set it up in the UI, or enter the credential itself"},
		{name: "disabled", settings: auth.Settings{Enabled: new(false), Address: "http://" + closed}, kind: resolver.NotConfigured,
			text: "vault is disabled in the UI; enable it there, or enter the credential itself"},
		{name: "enabled without address", settings: auth.Settings{Enabled: new(true)}, kind: resolver.Settings,
			text: "the vault settings are wrong: address: missing, but Vault is enabled; enter it, such as https://vault.example:8200, or disable Vault"},
		{name: "two faults in the settings", settings: auth.Settings{Address: "vault.example:8200", KVVersion: "2"}, kind: resolver.Settings,
			text: `the vault settings are wrong: address: neither https:// nor http://; write it like https://vault.example:8200; also, kv_version: unknown; choose "v1" or "v2"`},
		{name: "no token", settings: auth.Settings{Address: "http://" + closed}, kind: resolver.Environment,
			text: "the environment of the agent is wrong: neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set; set one on the Patch server, or choose another auth_method in the UI"},
		{name: "no token file", settings: auth.Settings{Address: "http://" + closed}, environment: map[string]string{"VAULT_TOKEN_FILE": missing}, kind: resolver.Environment,
			text: "VAULT_TOKEN_FILE: " + missing + " does not exist; create it, or set VAULT_TOKEN_FILE to the right one"},
		{name: "pinned address", settings: auth.Settings{Address: "http://" + closed}, environment: map[string]string{"VAULT_TOKEN": "t", "VAULT_ADDR": "https://vault.example:8200"}, kind: resolver.Pinned,
			text: "the address in the UI is not the one in VAULT_ADDR on the Patch server, so nothing was sent (http://" + closed + ", not https://vault.example:8200); correct one of them"},
		{name: "unreachable", settings: auth.Settings{Address: "http://" + closed}, environment: map[string]string{"VAULT_TOKEN": "t"}, kind: resolver.Unreachable, requests: true,
			text: "vault unreachable (connection refused at http://" + closed + ", tried for "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hosts := []resolver.Host{
				host("literal", "password", "x"),
				host("one", "password", "vault:secret/a#b"),
				host("two", "password", "vault:secret/c#d", "user", "vault:secret/a#b"),
				host("three", "user", "vault:secret/a#b"),
				host("four", "user", "vault:secret/a#b"),
				host("malformed", "user", "vault:secret"),
			}
			run := resolver.Resolve(t.Context(), auth.New(c.settings, environment(c.environment)), hosts, resolver.Options{Patience: brief})
			results := collect(run)
			assert.NoError(t, results[0].Err())
			for i := 1; i <= 4; i++ {
				err := results[i].Err()
				require.ErrorIs(t, err, c.kind)
				assert.Contains(t, err.Error(), ": vault:secret/a#b: "+c.text, "%s", hosts[i].Name)
			}
			assert.ErrorIs(t, results[5].Err(), resolver.BadReference)

			report := run.Report()
			assert.Equal(t, c.requests, report.Requests > 0)
			assert.Equal(t, 1, report.Ready)
			require.Len(t, report.Causes, 2, "the outage once, the malformed field once")
			assert.Equal(t, c.kind, report.Causes[0].Kind)
			assert.ElementsMatch(t, []string{"one", "two", "three", "four"}, report.Causes[0].Hosts)
			assert.Contains(t, report.Causes[0].String(), c.text)
			assert.Contains(t, report.Causes[0].String(), " and 1 more skipped")
			assert.Contains(t, report.String(), "6 hosts: 1 ready, 5 skipped")
		})
	}
}

// Kind, place and cause of an error can be found by their types.
func TestErrorsUnwrap(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	dead := auth.New(auth.Settings{Address: "http://" + vaulttest.ClosedPort(t)}, environment(map[string]string{"VAULT_TOKEN": "t"}))
	result := resolver.One(t.Context(), dead, host("h", "password", "vault:secret/a#b"), resolver.Options{Patience: brief})
	operation, ok := errors.AsType[*net.OpError](result.Err())
	require.True(t, ok)
	assert.Equal(t, "dial", operation.Op)
	assert.ErrorIs(t, result.Err(), connectionRefused)

	field, ok := errors.AsType[*resolver.FieldError](result.Err())
	require.True(t, ok)
	assert.Equal(t, []string{"h", "password", "vault:secret/a#b"}, []string{field.Host, field.Field, field.Ref.String()})
	assert.Equal(t, resolver.Unreachable, field.Kind())

	_, err := resolve(t, connect(server, "hvs.nosuchtoken"), "vault:secret/a#b")
	require.ErrorIs(t, err, resolver.Token)

	_, err = resolve(t, connect(server, server.Token), "vault:secret/a?version=01#b")
	syntax, ok := errors.AsType[*ref.SyntaxError](err)
	require.True(t, ok)
	assert.Equal(t, ref.PartVersion, syntax.Part)
}

func TestRefusedLoginKeepsVaultsError(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s", "VAULT_APPROLE_MOUNT": vaulttest.Name()}))
	_, err := resolve(t, vault, "vault:secret/a#b")
	require.ErrorIs(t, err, resolver.Login)
	answer, ok := errors.AsType[*api.ResponseError](err)
	require.True(t, ok)
	assert.Equal(t, 403, answer.StatusCode)
}

// The JSON of an error is for the UI, and says nothing about the inside of Vault or the
// network.
func TestErrorsAsTheUIShowsThem(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "p"})
	token := server.ReaderToken(t, kv+"/data/a")
	for _, c := range []struct {
		name, field, want string
	}{
		{"no key", "vault:" + kv + "/a#pasword", `{"kind":"no_key","reference":"vault:` + kv + `/a#pasword","reason":"the secret has no such key","fix":"check the key; the agent's log says whether a similar one exists"}`},
		{"denied", "vault:" + kv + "/b#password", `{"kind":"denied","reference":"vault:` + kv + `/b#password","reason":"the agent may not read this path","fix":"check that the path and its mount exist, or ask the Vault administrator to grant read on it; the agent's log has the policy line"}`},
		{"malformed", "vault:" + kv + "/b?version=x#password", `{"kind":"bad_reference","part":"version","offset":`},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := resolver.One(t.Context(), connect(server, token), host("h", "password", c.field), resolver.Options{})
			document, err := json.Marshal(result.Err())
			require.NoError(t, err)
			var decoded struct {
				Host   string
				Fields []map[string]any
			}
			require.NoError(t, json.Unmarshal(document, &decoded))
			assert.Equal(t, "h", decoded.Host)
			require.Len(t, decoded.Fields, 1)
			assert.Equal(t, "password", decoded.Fields[0]["field"])
			assert.Contains(t, string(document), c.want[1:])

			// The agent's log gets all of it, through whatever handler.
			field, ok := errors.AsType[*resolver.FieldError](result.Err())
			require.True(t, ok)
			for name, err := range map[string]error{"host": result.Err(), "field": field, "cause": field.Unwrap()} {
				var log bytes.Buffer
				slog.New(slog.NewJSONHandler(&log, nil)).Error("skipped", "why", err)
				var record struct{ Why string }
				require.NoError(t, json.Unmarshal(log.Bytes(), &record), name)
				assert.Equal(t, err.Error(), record.Why, name)
			}
		})
	}
	dead := auth.New(auth.Settings{Address: "http://" + vaulttest.ClosedPort(t)}, environment(map[string]string{"VAULT_TOKEN": "t"}))
	result := resolver.One(t.Context(), dead, host("h", "password", "vault:secret/a#b"), resolver.Options{Patience: brief})
	document, err := json.Marshal(result.Err())
	require.NoError(t, err)
	assert.NotContains(t, string(document), "127.0.0.1")
	assert.NotContains(t, string(document), "refused")
}
