package resolver_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

var update = flag.Bool("update", false, "write the golden files of verdicts anew")

const verdictFiles = "../testdata/verdicts"

// Each kind occurs once here, in a run and in a check. Neither prints a secret, and a
// golden file shows what the UI gets.
func TestEachKind(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	for path, version := range map[string]int{"kv": 2, "kv1": 1, "team/kv": 2} {
		server.KVAt(t, path, version)
	}
	server.Must(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	server.Must(t, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	server.Must(t, http.MethodPost, "auth/approle/role/agent", map[string]any{"token_policies": "default"})
	server.Put(t, "kv", "app", map[string]any{"password": canary.Secret, "empty": "", "other-key": canary.Secret})
	server.Put(t, "kv", "app", map[string]any{"password": canary.Secret, "empty": "", "other-key": canary.Secret})
	server.Put(t, "kv", "hr", map[string]any{"password": canary.Secret})
	server.Put(t, "kv", "limited", map[string]any{"password": canary.Secret})
	server.Metadata(t, "kv", "limited", map[string]string{"luumen_hosts": "db-*"})
	server.Put(t, "kv", "gone", map[string]any{"password": canary.Secret})
	server.Delete(t, "kv", "gone")
	server.Put(t, "kv1", "app", map[string]any{"password": canary.Secret})
	token := server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, `
		path "kv/data/*" { capabilities = ["read"] }
		path "kv/data/hr" { capabilities = ["deny"] }
		path "kv1/*" { capabilities = ["read"] }
		path "transit/*" { capabilities = ["read"] }`)}})
	sealed := vaulttest.SharedSealed(t)
	withTLS := vaulttest.SharedTLS(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	vault := vaultAt(server.Address, token)
	with := func(settings auth.Settings, variables map[string]string) *auth.Vault {
		return auth.New(settings, environment(variables))
	}
	unlisted := behind(t, server, refuses("sys/internal/"))
	const field = "vault:kv/app#password"
	cases := []struct {
		kind  resolver.Kind
		vault *auth.Vault
		field string
		host  string
		ctx   context.Context
	}{
		{kind: resolver.OK, vault: vault, field: field},
		{kind: resolver.NotConfigured, vault: with(auth.Settings{}, nil), field: field},
		{kind: resolver.Settings, vault: with(auth.Settings{Address: server.Address + "/v1", KVVersion: "3"}, nil), field: field},
		{kind: resolver.Environment, vault: with(auth.Settings{Address: server.Address}, nil), field: field},
		{kind: resolver.Pinned, vault: with(auth.Settings{Address: server.Address}, map[string]string{"VAULT_TOKEN": token, "VAULT_ADDR": "https://pinned.example"}), field: field},
		{kind: resolver.Unreachable, vault: vaultAt("http://"+vaulttest.ClosedPort(t), token), field: field},
		{kind: resolver.TLS, vault: vaultAt(withTLS.Address, token), field: field},
		{kind: resolver.Sealed, vault: vaultAt(sealed.Address, token), field: field},
		{kind: resolver.NoActiveNode, vault: vaultAt(wrongServer(t, always(500, `{"errors":["local node not active but active cluster node not found"]}`)), token), field: field},
		{kind: resolver.ServerError, vault: vaultAt(wrongServer(t, always(500, `{"errors":["internal error"]}`)), token), field: field},
		{kind: resolver.RateLimited, vault: vaultAt(wrongServer(t, always(429, `{"errors":["rate limit quota exceeded"]}`)), token), field: field},
		{kind: resolver.BadResponse, vault: vaultAt(wrongServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }), token), field: field},
		{kind: resolver.Login, vault: with(auth.Settings{Address: server.Address, AuthMethod: "approle"}, map[string]string{"VAULT_ROLE_ID": "wrong", "VAULT_SECRET_ID": "wrong"}), field: field},
		{kind: resolver.Token, vault: vaultAt(server.Address, "hvs.wrong"), field: field},
		{kind: resolver.Denied, vault: vault, field: "vault:kv/hr#password"},
		{kind: resolver.NotFound, vault: vault, field: "vault:kv/nothing#password"},
		{kind: resolver.Deleted, vault: vault, field: "vault:kv/gone#password"},
		{kind: resolver.NoVersion, vault: vault, field: "vault:kv1/app?version=1#password"},
		{kind: resolver.KVVersion, vault: with(auth.Settings{Address: unlisted, KVVersion: "v1"}, map[string]string{"VAULT_TOKEN": server.Token, "VAULT_ADDR": unlisted}), field: field},
		{kind: resolver.NotKV, vault: vault, field: "vault:transit/keys/a#name"},
		{kind: resolver.NotForHost, vault: vault, field: "vault:kv/limited#password", host: "web-1"},
		{kind: resolver.NoKey, vault: vault, field: "vault:kv/app#other-kez"},
		{kind: resolver.BadValue, vault: vault, field: "vault:kv/app#empty"},
		{kind: resolver.BadReference, vault: vault, field: "vault:kv//app#password"},
		{kind: resolver.Canceled, vault: vault, field: field, ctx: ended},
	}
	covered := make(map[resolver.Kind]bool)
	for _, c := range cases {
		covered[c.kind] = true
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			patience := patienceFor(c.kind)
			v := resolver.Check(ctx, c.vault, fieldsOf(c.field), resolver.CheckOptions{Host: c.host, Patience: patience})
			require.Len(t, v.Fields, 1)
			assert.Equal(t, c.kind, v.Fields[0].Kind)
			assertRoundTrip(t, v)
			assertGolden(t, filepath.Join(verdictFiles, string(c.kind)+".json"), steady(v))
			assertSilent(t, v)
			t.Log(v)

			h := host(cmp.Or(c.host, "db-1"), "password", c.field, "literal", canary.Secret)
			run := resolver.Resolve(ctx, c.vault, []resolver.Host{h}, resolver.Options{Patience: patience})
			result := collect(run)[0]
			if c.kind == resolver.OK {
				require.NoError(t, result.Err())
			} else {
				failed, ok := errors.AsType[*resolver.FieldError](result.Err())
				require.True(t, ok)
				assert.Equal(t, c.kind, failed.Kind())
				assert.Equal(t, c.kind != resolver.Canceled, errors.Is(result.Err(), c.kind))
			}
			assertRunIsSilent(t, h, c.vault, run, result)
		})
	}
	for _, kind := range append(fault.Kinds(), resolver.OK, resolver.Canceled) {
		assert.True(t, covered[kind], "no case of kind %s", kind)
	}
}

// forUI is the part of the verdicts that goes to the UI.
func forUI(v resolver.Verdicts) resolver.Verdicts {
	v.Connection.Text, v.Fields = "", slices.Clone(v.Fields)
	v.Connection.Findings = slices.Clone(v.Connection.Findings)
	for i := range v.Connection.Findings {
		v.Connection.Findings[i].Detail = ""
	}
	for i := range v.Fields {
		v.Fields[i].Text = ""
	}
	t := v.Connection.Token
	v.Connection.Token = auth.Token{Given: t.Given, Batch: t.Batch, Known: t.Known, Expires: t.Expires, TTL: t.TTL, UsesLeft: t.UsesLeft}
	return v
}

func assertRoundTrip(t *testing.T, v resolver.Verdicts) {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var again resolver.Verdicts
	require.NoError(t, json.Unmarshal(data, &again))
	assert.Equal(t, forUI(v), again)
}

// steady replaces what changes from run to run.
func steady(v resolver.Verdicts) resolver.Verdicts {
	day := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	// Which settings take effect is package auth's; one of them stands for all.
	address := []auth.Setting{}
	for _, s := range v.Connection.Settings.Used {
		if s.Name == "address" && s.Source == "UI" {
			s.Value = "https://vault.example:8200"
			address = append(address, s)
		}
	}
	v.Connection.Settings = auth.Effective{Used: address}
	if v.RunID != "" {
		v.RunID = "F3ZKQ4XN7A2M"
	}
	if s := v.Connection.Health; s != nil {
		s.Version, s.ClockSkew, s.Namespaces = "1.21.1", 0, false
	}
	if token := &v.Connection.Token; token.TTL > 0 {
		token.TTL, token.Expires = 30*24*60*60, day.AddDate(0, 0, 30)
	}
	for i := range v.Fields {
		if !v.Fields[i].Created.IsZero() {
			v.Fields[i].Created = day
		}
	}
	return v
}

func assertGolden(t *testing.T, file string, v any) {
	t.Helper()
	var got bytes.Buffer
	encoder := json.NewEncoder(&got)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(v))
	if *update {
		require.NoError(t, os.WriteFile(file, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "go test -update ./resolver writes it")
	assert.Equal(t, string(want), got.String())
}

// The UI decodes what the agent encoded.
func TestVerdictFilesDecodeToWhatTheyAre(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(verdictFiles + "/*.json")
	require.NoError(t, err)
	require.Len(t, files, len(fault.Kinds())+2, "one for each kind, ok and canceled")
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var v resolver.Verdicts
		require.NoError(t, json.Unmarshal(data, &v), file)
		again, err := json.Marshal(v)
		require.NoError(t, err)
		assert.JSONEq(t, string(data), string(again), file)
		require.NotEmpty(t, v.Fields, file)
		assert.Equal(t, strings.TrimSuffix(filepath.Base(file), ".json"), string(v.Fields[0].Kind))
	}
}
