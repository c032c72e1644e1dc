package resolver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

var update = flag.Bool("update", false, "write the golden files of verdicts anew")

const verdictFiles = "../testdata/verdicts"

// fieldsOf parses fields as they were typed.
func fieldsOf(texts ...string) []ref.Value {
	fields := make([]ref.Value, len(texts))
	for i, text := range texts {
		fields[i] = ref.Parse(text)
	}
	return fields
}

// references makes the references to one key of each path.
func references(t testing.TB, paths ...string) []ref.Ref {
	t.Helper()
	all := make([]ref.Ref, len(paths))
	for i, path := range paths {
		r, err := ref.New(path, "password", 0)
		require.NoError(t, err)
		all[i] = r
	}
	return all
}

// checkOne checks one field and returns its verdict.
func checkOne(t *testing.T, vault *auth.Vault, field string, options resolver.CheckOptions) resolver.Verdict {
	t.Helper()
	v := resolver.Check(t.Context(), vault, fieldsOf(field), options)
	require.Len(t, v.Fields, 1)
	return v.Fields[0]
}

// codes are the codes of findings, in their order.
func codes(findings []resolver.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.Code)
	}
	return all
}

// texts are findings as the agent's log has them.
func texts(findings []resolver.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.String())
	}
	return all
}

// refuses makes a proxy refuse what is below a path, as some do.
func refuses(prefix string) func(w http.ResponseWriter, path string) bool {
	return func(w http.ResponseWriter, path string) bool {
		refused := strings.HasPrefix(path, prefix)
		if refused {
			http.Error(w, "<html>no", http.StatusForbidden)
		}
		return refused
	}
}

func wrongServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// always makes a handler that gives one answer to everything.
func always(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// vaultAt describes a Vault by its address and a given token.
func vaultAt(address, token string) *auth.Vault {
	return auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_ADDR": address}))
}

// Each kind has a golden file, which shows what the UI gets.
func TestVerdictsOfEachKind(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	for path, version := range map[string]int{"kv": 2, "kv1": 1, "team/kv": 2} {
		server.KVAt(t, path, version)
	}
	server.Must(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	server.Must(t, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	server.Must(t, http.MethodPost, "auth/approle/role/agent", map[string]any{"token_policies": "default"})
	server.Put(t, "kv", "app", map[string]any{"password": "canary-1", "empty": "", "other-key": "canary-2"})
	server.Put(t, "kv", "app", map[string]any{"password": "canary-1", "empty": "", "other-key": "canary-2"})
	server.Put(t, "kv", "hr", map[string]any{"password": "canary-3"})
	server.Put(t, "kv", "limited", map[string]any{"password": "canary-4"})
	server.Metadata(t, "kv", "limited", map[string]string{"luumen_hosts": "db-*"})
	server.Put(t, "kv", "gone", map[string]any{"password": "canary-5"})
	server.Delete(t, "kv", "gone")
	server.Put(t, "kv1", "app", map[string]any{"password": "canary-6"})
	token := server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, `
		path "kv/data/*" { capabilities = ["read"] }
		path "kv/data/hr" { capabilities = ["deny"] }
		path "kv1/*" { capabilities = ["read"] }
		path "transit/*" { capabilities = ["read"] }`)}})
	sealed := vaulttest.New(t, vaulttest.Config{})
	require.NoError(t, sealed.Seal())
	withTLS := vaulttest.SharedTLS(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	vault := vaultAt(server.Address, token)
	with := func(settings auth.Settings, variables map[string]string) *auth.Vault {
		return auth.New(settings, environment(variables))
	}
	unlisted := behind(t, server, refuses("sys/internal/"))
	const field = "vault:kv/app#password"
	for _, c := range []struct {
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
		{kind: resolver.Unreachable, vault: vaultAt("http://"+closedPort(t), token), field: field},
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
		{kind: "canceled", vault: vault, field: field, ctx: ended},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			v := resolver.Check(ctx, c.vault, fieldsOf(c.field), resolver.CheckOptions{Host: c.host, Patience: 300 * time.Millisecond})
			require.Len(t, v.Fields, 1)
			assert.Equal(t, c.kind, v.Fields[0].Code)
			assertRoundTrip(t, v)
			assertGolden(t, filepath.Join(verdictFiles, string(c.kind)+".json"), steady(v))
			t.Log(v)
		})
	}
}

func assertRoundTrip(t *testing.T, v resolver.Verdicts) {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var again resolver.Verdicts
	require.NoError(t, json.Unmarshal(data, &again))
	assert.Equal(t, v, again)
}

// steady puts fixed things in place of what changes from run to run.
func steady(v resolver.Verdicts) resolver.Verdicts {
	day := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	// Which settings take effect is package auth's; one of them stands for all.
	address := []auth.Setting{}
	for _, s := range v.Connection.Settings.Settings {
		if s.Name == "address" && s.Source == "UI" {
			s.Value = "https://vault.example:8200"
			address = append(address, s)
		}
	}
	v.Connection.Settings = auth.Effective{Settings: address}
	if s := v.Connection.Server; s != nil {
		s.Version, s.Ahead = "1.21.1", 0
	}
	if token := v.Connection.Token; token != nil && token.TTL > 0 {
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

// The UI decodes what the agent encoded, and gets the same.
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
		assert.Equal(t, strings.TrimSuffix(filepath.Base(file), ".json"), string(v.Fields[0].Code))
	}
}

// What is odd about a value is found, each by its code, and never the value
// itself. Trap 20.
func TestCheckFindsOddValues(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v2, v1 := server.KV(t, 2), server.KV(t, 1)
	for _, test := range []struct {
		name  string
		value any
		v2    []string
		v1    []string
	}{
		{"a password", canary.Secret, nil, nil},
		{"a line break", canary.Secret + "\n", []string{resolver.TrailingNewline}, []string{resolver.TrailingNewline}},
		{"a line break of Windows", canary.Secret + "\r\n", []string{resolver.TrailingNewline}, []string{resolver.TrailingNewline}},
		{"a private key", "-----BEGIN KEY-----\n" + canary.Secret + "\n-----END KEY-----\n", nil, nil},
		{"a space before", " " + canary.Secret, []string{resolver.SurroundingSpace}, []string{resolver.SurroundingSpace}},
		{"a space after", canary.Secret + "\u00a0", []string{resolver.SurroundingSpace}, []string{resolver.SurroundingSpace}},
		{"a space and a line break", canary.Secret + " \n", []string{resolver.TrailingNewline, resolver.SurroundingSpace}, []string{resolver.TrailingNewline, resolver.SurroundingSpace}},
		{"a space inside", canary.Secret + " " + canary.Secret, nil, nil},
		{"a NUL", canary.Secret + "\x00" + canary.Secret, []string{resolver.HoldsNUL}, []string{resolver.HoldsNUL}},
		{"a BOM", "\ufeff" + canary.Secret, []string{resolver.HoldsBOM}, []string{resolver.HoldsBOM}},
		{"a number", 12345678901234, []string{resolver.RoundedNumber}, nil},
		{"a negative number", -12345678901234, []string{resolver.RoundedNumber}, nil},
		{"digits in a text", "12345678901234", nil, nil},
		{"a boolean", true, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			name := vaulttest.Name()
			for mount, want := range map[string][]string{v2: test.v2, v1: test.v1} {
				server.Put(t, mount, name, map[string]any{"password": test.value})
				vault := connect(server, server.ReaderToken(t, v2+"/data/"+name, v1+"/"+name))
				v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+mount+"/"+name+"#password"), resolver.CheckOptions{FullText: true})
				require.Equal(t, resolver.OK, v.Fields[0].Code)
				assert.ElementsMatch(t, want, codes(v.Fields[0].Findings))
				assertRoundTrip(t, v)
				assertSilent(t, v)
			}
		})
	}
}

// assertSilent sends verdicts through every sink and looks for the canary.
func assertSilent(t *testing.T, v resolver.Verdicts) {
	t.Helper()
	v.Fields = v.Fields[:min(len(v.Fields), 30)]
	for name, sink := range canary.Sinks() {
		assert.Empty(t, canary.Leak(sink(v)), "the sink %s", name)
		assert.Empty(t, canary.Leak(sink(v.Connection)), "the sink %s", name)
	}
}

func TestCheckForAHost(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x\n"})
	server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": "db-*"})
	vault := connect(server, server.ReaderToken(t, kv+"/data/app"))
	field := "vault:" + kv + "/app#password"

	limited := checkOne(t, vault, field, resolver.CheckOptions{})
	assert.Equal(t, resolver.OK, limited.Code)
	assert.Equal(t, []string{resolver.LimitedToHosts, resolver.TrailingNewline}, codes(limited.Findings))

	right := checkOne(t, vault, field, resolver.CheckOptions{Host: "DB-1"})
	assert.Equal(t, resolver.OK, right.Code)
	assert.Equal(t, []string{resolver.TrailingNewline}, codes(right.Findings))

	wrong := checkOne(t, vault, field, resolver.CheckOptions{Host: "web-1"})
	assert.Equal(t, resolver.NotForHost, wrong.Code)
	assert.Empty(t, wrong.Findings, "nothing of the value for a host that must not have it")
	assert.Zero(t, wrong.Version)
}

// What a token may do beside reading is asked for, a thousand paths at a time.
func TestCheckAsksForThePowersOfTheToken(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for _, name := range []string{"read", "write"} {
		server.Put(t, kv, name, map[string]any{"password": "x"})
	}
	policy := fmt.Sprintf("path \"%[1]s/data/read\" { capabilities = [\"read\", \"list\"] }\npath \"%[1]s/data/write\" { capabilities = [\"read\", \"update\"] }\n", kv)
	both := fieldsOf("vault:"+kv+"/read#password", "vault:"+kv+"/write#password")
	token := func(policy string, settings map[string]any) *auth.Vault {
		t.Helper()
		settings["policies"] = []string{server.Policy(t, policy)}
		return connect(server, server.NewToken(t, settings))
	}

	v := resolver.Check(t.Context(), token(policy, map[string]any{}), both, resolver.CheckOptions{})
	assert.Empty(t, v.Fields[0].Findings)
	assert.Equal(t, []string{resolver.CanWrite}, codes(v.Fields[1].Findings))
	assert.Equal(t, []string{resolver.NoPin}, codes(v.Connection.Findings))

	v = resolver.Check(t.Context(), connect(server, server.Token), both, resolver.CheckOptions{})
	assert.Equal(t, []string{resolver.NoPin, resolver.RootToken}, codes(v.Connection.Findings))
	assert.Empty(t, v.Fields[1].Findings, "said once, not for each field")

	// A root token shows even where it cannot be looked up.
	hidden := behind(t, server, func(w http.ResponseWriter, path string) bool {
		if path != "auth/token/lookup-self" {
			return false
		}
		always(403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`)(w, nil)
		return true
	})
	v = resolver.Check(t.Context(), vaultAt(hidden, server.Token), both, resolver.CheckOptions{})
	assert.Contains(t, codes(v.Connection.Findings), resolver.RootToken)

	// Refused: a notice, and nothing else is lost by it.
	v = resolver.Check(t.Context(), token(policy, map[string]any{"no_default_policy": true}), both, resolver.CheckOptions{})
	assert.Equal(t, []string{resolver.NoPin, resolver.TokenUnknown, resolver.PowersUnknown}, codes(v.Connection.Findings))
	assert.Equal(t, resolver.OK, v.Connection.Code)
	assert.Equal(t, resolver.OK, v.Fields[1].Code)

	// A token that is limited in uses is not asked about.
	run := vaulttest.Name()
	v = resolver.Check(t.Context(), token(policy, map[string]any{"num_uses": 9}), both, resolver.CheckOptions{RunID: run})
	assert.Equal(t, []string{resolver.NoPin, resolver.PowersUnknown}, codes(v.Connection.Findings))
	assert.NotContains(t, asked(t, server, run), "update sys/capabilities-self")

	run = vaulttest.Name()
	var many []ref.Value
	for i := range 2500 {
		many = append(many, ref.Parse(fmt.Sprintf("vault:%s/no/%d#password", kv, i)))
	}
	resolver.Check(t.Context(), token(policy, map[string]any{}), append(many, many...), resolver.CheckOptions{RunID: run})
	var paths []int
	for _, r := range server.RequestsBy(t, run) {
		if r.Path == "sys/capabilities-self" {
			list, _ := r.Data["paths"].([]any)
			paths = append(paths, len(list))
		}
	}
	assert.Equal(t, []int{1000, 1000, 500}, paths)
}

// A check counts for the run that comes after it.
func TestCheckCountsUses(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "x"})
	server.Put(t, kv, "b", map[string]any{"password": "x"})
	fields := fieldsOf("vault:"+kv+"/a#password", "vault:"+kv+"/b#password", "vault:elsewhere/c#password")
	policy := server.Policy(t, fmt.Sprintf("path \"%s/data/*\" { capabilities = [\"read\"] }", kv))

	for _, test := range []struct {
		name        string
		uses        int
		left        int // after one look and two reads
		short, runs bool
	}{
		{"enough", 3 + 4, 4, false, true},
		{"one too few", 3 + 3, 3, true, true},
		{"none", 3, 0, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vault := connect(server, server.NewToken(t, map[string]any{"policies": []string{policy}, "num_uses": test.uses}))
			v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
			require.NotNil(t, v.Connection.Token)
			require.NotNil(t, v.Connection.Token.UsesLeft)
			assert.Equal(t, test.left, *v.Connection.Token.UsesLeft)
			assert.Equal(t, 4, v.Connection.Token.UsesNeeded)
			assert.Equal(t, test.short, strings.Contains(strings.Join(codes(v.Connection.Findings), " "), resolver.ShortOfUses))
			assertRoundTrip(t, v)
			run := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
			assert.Equal(t, test.runs, run.Fields[1].Code == resolver.OK)
		})
	}

	t.Run("of each login", func(t *testing.T) {
		t.Parallel()
		mount, roleID := appRole(t, server, map[string]any{"token_policies": []string{policy}, "token_num_uses": 3, "token_ttl": "1h"})
		vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount}))
		v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
		require.NotNil(t, v.Connection.Token)
		assert.Equal(t, resolver.TokenState{Known: true, TTL: v.Connection.Token.TTL, UsesLeft: new(3), UsesNeeded: 4}, *v.Connection.Token)
		assert.InDelta(t, 3600, v.Connection.Token.TTL, 60)
		assert.Contains(t, codes(v.Connection.Findings), resolver.ShortOfUses)
	})
}

// appRole makes a role that needs no secret id.
func appRole(t *testing.T, server *vaulttest.Server, role map[string]any) (mount, roleID string) {
	t.Helper()
	mount = "approle-" + vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "approle"})
	role["bind_secret_id"], role["secret_id_bound_cidrs"] = false, []string{"127.0.0.1/32"}
	server.Must(t, http.MethodPost, "auth/"+mount+"/role/agent", role)
	return mount, vaulttest.Text(server.Must(t, http.MethodGet, "auth/"+mount+"/role/agent/role-id", nil), "data", "role_id")
}

// Without fields, the connection alone is checked, by these requests and the
// one for Vault's health, which the audit file never shows.
func TestCheckTheConnectionAlone(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)

	run := vaulttest.Name()
	v := resolver.Check(t.Context(), connect(server, server.ReaderToken(t, "any")), nil, resolver.CheckOptions{RunID: run})
	assert.Equal(t, resolver.OK, v.Connection.Code)
	assert.True(t, v.Connection.Reachable)
	assert.True(t, v.Connection.LoggedIn)
	require.NotNil(t, v.Connection.Server)
	assert.NotEmpty(t, v.Connection.Server.Version)
	assert.Empty(t, v.Fields)
	assertRoundTrip(t, v)
	assert.Equal(t, map[string]int{"read auth/token/lookup-self": 1, "read sys/internal/ui/mounts": 1}, asked(t, server, run))

	run = vaulttest.Name()
	mount, roleID := appRole(t, server, map[string]any{})
	settings := auth.Settings{Address: server.Address, AuthMethod: "approle"}
	v = resolver.Check(t.Context(), auth.New(settings, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount})), nil, resolver.CheckOptions{RunID: run})
	assert.Equal(t, resolver.OK, v.Connection.Code)
	require.NotNil(t, v.Connection.Token)
	assert.False(t, v.Connection.Token.Given)
	assert.Equal(t, map[string]int{"update auth/" + mount + "/login": 1, "read sys/internal/ui/mounts": 1, "update auth/token/revoke-self": 1}, asked(t, server, run))
}

// What the server is like, and what of the settings does not fit it.
func TestCheckTheServer(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	token := server.ReaderToken(t, "any")
	healthy := func(change string) string { // a proxy before a server whose health is another
		return behind(t, server, func(w http.ResponseWriter, path string) bool {
			if path != "sys/health" {
				return false
			}
			health := map[string]any{}
			assert.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{"initialized":true,"version":"1.21.1","enterprise":false,"server_time_utc":%d}`, time.Now().Unix()), &health))
			assert.NoError(t, json.Unmarshal([]byte(change), &health))
			if ahead, ok := health["ahead"].(float64); ok {
				health["server_time_utc"] = time.Now().Unix() + int64(ahead) // as of this request, not of the test's begin
			}
			w.Header().Set("Content-Type", "application/json")
			assert.NoError(t, json.NewEncoder(w).Encode(health))
			return true
		})
	}
	in := func(seconds int64) string { return fmt.Sprintf(`{"ahead":%d}`, seconds) }
	for _, test := range []struct {
		name      string
		address   string
		namespace string
		want      []string
	}{
		{"as it is", server.Address, "", nil},
		{"a namespace, and there are none", server.Address, "team", []string{resolver.NoNamespaces}},
		{"a namespace on Enterprise", healthy(`{"enterprise":true}`), "team", nil},
		{"a namespace on an Enterprise that does not say so", healthy(`{"version":"1.12.3+ent"}`), "team", nil},
		{"a namespace on OpenBao", healthy(`{"version":"2.4.1"}`), "team", nil},
		{"a namespace on a server that hides its version", healthy(`{"version":""}`), "team", nil},
		{"a clock ahead", healthy(in(300)), "", []string{resolver.ClockSkew}},
		{"a clock behind", healthy(in(-300)), "", []string{resolver.ClockSkew}},
		{"a clock a little ahead", healthy(in(10)), "", nil},
		{"no health", behind(t, server, refuses("sys/health")), "", []string{resolver.HealthUnknown}},
		{"no list of mounts", behind(t, server, refuses("sys/internal/")), "", []string{resolver.MountsUnknown}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vault := auth.New(auth.Settings{Address: test.address, Namespace: test.namespace}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_ADDR": test.address}))
			v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{})
			assert.Equal(t, resolver.OK, v.Connection.Code)
			found := []string{}
			for _, code := range codes(v.Connection.Findings) {
				if code != resolver.TokenUnknown && code != resolver.TokenExpires {
					found = append(found, code)
				}
			}
			assert.ElementsMatch(t, test.want, found)
			assertRoundTrip(t, v)
		})
	}
	t.Run("the namespace is pinned", func(t *testing.T) {
		t.Parallel()
		vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_NAMESPACE": "team"}))
		v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{})
		assert.Contains(t, codes(v.Connection.Findings), resolver.NoNamespaces)
	})
	t.Run("how far the clock is ahead", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), vaultAt(healthy(in(300)), token), nil, resolver.CheckOptions{})
		require.NotNil(t, v.Connection.Server)
		assert.InDelta(t, 300, v.Connection.Server.Ahead, 5)
	})
}

// Fields of every kind at once: each has its verdict, in its place.
func TestCheckAnyFields(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v2, v1 := server.KV(t, 2), server.KV(t, 1)
	server.Put(t, v2, "app", map[string]any{"password": canary.Secret})
	server.Put(t, v1, "app", map[string]any{"password": canary.Secret})
	token := server.ReaderToken(t, v2+"/data/app", v1+"/app")
	texts := []struct {
		field string
		want  resolver.Kind
	}{
		{"vault:" + v2 + "/app#password", resolver.OK},
		{"vault:" + v2 + "/app#password", resolver.OK},
		{"vault:" + v2 + "/app#nothing", resolver.NoKey},
		{"vault:" + v2 + "//app#password", resolver.BadReference},
		{"vault:" + v1 + "/app?version=1#password", resolver.NoVersion},
		{"vault:" + v1 + "/app#password", resolver.OK},
		{"Vault:" + canary.Secret, resolver.BadReference},
		{canary.Secret, resolver.OK},
		{"", resolver.OK},
		{"secret/" + canary.Secret + "#password", resolver.OK},
		{"vault:outside/app#password", resolver.Pinned},
	}
	var fields []ref.Value
	for range 1000 {
		for _, text := range texts {
			fields = append(fields, ref.Parse(text.field))
		}
	}
	fields = append(fields, ref.Value{})
	run := vaulttest.Name()
	vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": token, "LUUMEN_VAULT_PATHS": v1 + "," + v2}))
	v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{RunID: run, FullText: true})

	require.Len(t, v.Fields, len(fields))
	for i, verdict := range v.Fields[:len(fields)-1] {
		require.Equal(t, texts[i%len(texts)].want, verdict.Code, "field %d", i)
		require.Equal(t, fields[i].Ref(), verdict.Reference)
		require.Equal(t, verdict.Code != resolver.OK, verdict.Fix != "" && verdict.Text != "")
	}
	assert.Equal(t, resolver.Verdict{Code: resolver.OK}, v.Fields[len(fields)-1])
	assert.Equal(t, []string{resolver.UnmarkedReference}, codes(v.Fields[9].Findings))
	assert.Equal(t, []resolver.Mount{{Path: min(v1, v2), Version: map[bool]int{true: 1, false: 2}[v1 < v2]}, {Path: max(v1, v2), Version: map[bool]int{true: 2, false: 1}[v1 < v2]}}, v.Mounts)
	assert.Equal(t, map[string]int{"read auth/token/lookup-self": 1, "read sys/internal/ui/mounts": 1,
		"read " + v2 + "/data/app": 1, "read " + v1 + "/app": 1, "update sys/capabilities-self": 1}, asked(t, server, run))
	assertRoundTrip(t, v)
	assertSilent(t, v)
}

// A person waits for one patience and no more, however many fields there are.
func TestCheckOfADeadVault(t *testing.T) {
	t.Parallel()
	fields := make([]ref.Value, 10_000)
	for i := range fields {
		fields[i] = ref.Parse(fmt.Sprintf("vault:kv/%d#password", i))
		if i%2 == 1 {
			fields[i] = ref.Parse(fmt.Sprintf("vault:kv//%d#%s", i, canary.Secret))
		}
	}
	const patience = 500 * time.Millisecond
	began := time.Now()
	v := resolver.Check(t.Context(), vaultAt("http://"+closedPort(t), canary.Secret), fields, resolver.CheckOptions{Patience: patience, FullText: true})
	assert.Less(t, time.Since(began), 10*patience)
	assert.Equal(t, resolver.Unreachable, v.Connection.Code)
	assert.False(t, v.Connection.Reachable)
	assert.False(t, v.Connection.LoggedIn)
	require.Len(t, v.Fields, len(fields))
	for i, verdict := range v.Fields {
		if i%2 == 1 {
			require.Equal(t, resolver.BadReference, verdict.Code)
		} else {
			require.Equal(t, resolver.Unreachable, verdict.Code)
		}
	}
	assertRoundTrip(t, v)
	assertSilent(t, v)
	assert.Contains(t, v.String(), "10000 of 10000 fields would not be resolved, 5000 of them because of the connection")
}

func TestCheckHasAPatienceOfThreeSeconds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes three seconds")
	}
	v := resolver.Check(t.Context(), vaultAt("http://"+closedPort(t), "token"), nil, resolver.CheckOptions{FullText: true})
	assert.Contains(t, v.Connection.Text, "tried for 3s")
}

// assertKept fails where a text of the log alone gets to the UI.
func assertKept(t *testing.T, v resolver.Verdicts, inner string) {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	assert.NotContains(t, string(data), inner)
	assert.NotContains(t, v.String(), inner)
}

// What the agent's log may hold and the UI may not comes with FullText alone.
func TestCheckKeepsTheLogsTextsFromTheUI(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x", "inner-secret-name": "x"})
	token := server.ReaderToken(t, kv+"/data/app")
	mount, roleID := appRole(t, server, map[string]any{"token_no_default_policy": true})
	dead := "http://" + closedPort(t)
	redirect := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://inner-node.example/v1/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	for _, test := range []struct {
		name  string
		vault *auth.Vault
		field string
		inner string
	}{
		{"a network cause", vaultAt(dead, token), "vault:a/b#c", "connection refused"},
		{"another node", vaultAt(redirect, token), "vault:a/b#c", "inner-node.example"},
		{"Vault's words", vaultAt(wrongServer(t, always(500, `{"errors":["words of vault"]}`)), token), "vault:a/b#c", "words of vault"},
		{"a key", vaultAt(server.Address, token), "vault:" + kv + "/app#inner-secret-nam", "inner-secret-name"},
		{"a policy", vaultAt(server.Address, token), "vault:" + kv + "/other#password", "capabilities = ["},
		{"an environment", auth.New(auth.Settings{Address: dead}, environment(map[string]string{"VAULT_TOKEN_FILE": "/nowhere/inner"})), "vault:a/b#c", "does not exist"},
		{"a login", auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": "x", "VAULT_APPROLE_MOUNT": mount})), "vault:a/b#c", "invalid role"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options := resolver.CheckOptions{Patience: 200 * time.Millisecond}
			ui := resolver.Check(t.Context(), test.vault, fieldsOf(test.field), options)
			options.FullText = true
			full := resolver.Check(t.Context(), test.vault, fieldsOf(test.field), options)
			assert.Contains(t, full.Fields[0].Text, test.inner)
			assertKept(t, ui, test.inner)
			assert.Equal(t, ui.Fields[0].Fix, full.Fields[0].Fix)
		})
	}
	t.Run("a revocation", func(t *testing.T) {
		t.Parallel()
		vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount}))
		v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{})
		assert.Equal(t, []string{resolver.NoPin, resolver.TokenNotRevoked}, codes(v.Connection.Findings))
		assertKept(t, v, "permission denied")
		assertRoundTrip(t, v)
	})
}

// What is dangerous about the environment shows even where Vault does not
// answer.
func TestCheckFindsDangers(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	readable := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(readable, []byte(server.NewToken(t, map[string]any{"ttl": "1h"})), 0o600))
	require.NoError(t, os.Chmod(readable, 0o644)) // whatever the umask
	for _, test := range []struct {
		name        string
		address     string
		environment map[string]string
		want        []string
	}{
		{"no verification, an exposed token that expires soon", server.Address, map[string]string{"VAULT_SKIP_VERIFY": "true", "VAULT_TOKEN_FILE": readable},
			[]string{resolver.SkipVerify, resolver.FileExposed, resolver.TokenExpires, resolver.RootToken}},
		{"http to another machine", "http://vault.invalid:8200", map[string]string{"VAULT_TOKEN": "t"}, []string{resolver.PlainHTTP}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.environment["VAULT_ADDR"] = test.address
			vault := auth.New(auth.Settings{Address: test.address}, environment(test.environment))
			v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{Patience: 300 * time.Millisecond})
			assert.Equal(t, test.want, codes(v.Connection.Findings))
			assertRoundTrip(t, v)
		})
	}
}

// A check that is broken off says so for each field.
func TestCheckIsBrokenOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	vault := vaultAt(wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}), "token")
	v := resolver.Check(ctx, vault, fieldsOf("vault:a/b#c", "vault:a//b#c", "literal"), resolver.CheckOptions{})
	assert.Equal(t, resolver.Kind("canceled"), v.Connection.Code)
	require.Len(t, v.Fields, 3)
	assert.Equal(t, resolver.Kind("canceled"), v.Fields[0].Code)
	assert.Equal(t, resolver.BadReference, v.Fields[1].Code)
	assert.Equal(t, resolver.OK, v.Fields[2].Code)
}

// What ends a check while it reads is said of the connection too.
func TestCheckEndsWhileItReads(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	fields := fieldsOf("vault:secret/a#b", "vault:secret/c#d")
	reading := func(answer http.HandlerFunc) *auth.Vault {
		return vaultAt(behind(t, server, func(w http.ResponseWriter, path string) bool {
			reads := strings.HasPrefix(path, "secret/data/")
			if reads {
				answer(w, nil)
			}
			return reads
		}), server.Token)
	}
	t.Run("sealed", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), reading(always(503, `{"errors":["Vault is sealed"]}`)), fields, resolver.CheckOptions{Patience: 300 * time.Millisecond})
		assert.Equal(t, resolver.Sealed, v.Connection.Code)
		assert.True(t, v.Connection.LoggedIn)
		assert.Equal(t, resolver.Sealed, v.Fields[1].Code)
	})
	t.Run("the token dies", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), reading(always(403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)), fields, resolver.CheckOptions{})
		assert.Equal(t, resolver.Token, v.Connection.Code)
		assert.False(t, v.Connection.LoggedIn)
		assert.Equal(t, resolver.Token, v.Fields[1].Code)
	})
	t.Run("broken off", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		vault := reading(func(w http.ResponseWriter, _ *http.Request) {
			cancel()
			always(503, `{"errors":["Vault is sealed"]}`)(w, nil)
		})
		v := resolver.Check(ctx, vault, fields, resolver.CheckOptions{})
		assert.Equal(t, resolver.Kind("canceled"), v.Connection.Code)
		assert.Equal(t, resolver.Kind("canceled"), v.Fields[1].Code)
	})
	t.Run("one path fails alone", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), reading(always(500, `{"errors":["internal error"]}`)), fields[:1], resolver.CheckOptions{Patience: 300 * time.Millisecond})
		assert.Equal(t, resolver.ServerError, v.Fields[0].Code)
	})
}

func TestVerdictsForAPersonAndForTheLog(t *testing.T) {
	t.Parallel()
	left, offset := 3, 9
	v := resolver.Verdicts{
		Connection: resolver.Connection{
			Code: resolver.OK, Reachable: true, LoggedIn: true,
			Server:   &resolver.Server{Version: "1.21.1", Initialized: true},
			Token:    &resolver.TokenState{Given: true, Known: true, Expires: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), TTL: 5 * 24 * 3600, UsesLeft: &left, UsesNeeded: 4},
			Settings: auth.New(auth.Settings{Address: "https://vault.example:8200"}, environment(nil)).Effective(),
			Findings: []resolver.Finding{{Code: "a", Text: "one thing; mend it"}, {Code: "b", Text: "another thing", Notice: true}},
		},
		Fields: []resolver.Verdict{
			{Code: resolver.OK, Reference: references(t, "kv/app")[0], Version: 7, Created: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC),
				Findings: []resolver.Finding{{Code: "c", Text: "odd; look at it"}}},
			{Code: resolver.BadReference, Part: "path", Offset: &offset, Reason: "an empty segment", Fix: "write one / between segments"},
			{Code: resolver.Denied, Reference: references(t, "kv/hr")[0], Fix: "ask"},
			{Code: resolver.OK},
		},
	}
	assert.Equal(t, `vault at https://vault.example:8200: ok
server: vault 1.21.1, active
token: given, expires at 2026-11-29 08:00Z, in 5 days, uses left: 3 (a run needs 4)
warning: one thing; mend it
notice: another thing
1. vault:kv/app#password (version 7, written 2026-11-20 08:00Z): ok
   warning: odd; look at it
2. bad_reference: path at byte 9: an empty segment; write one / between segments
3. vault:kv/hr#password: denied: ask
4. [no reference]: ok
2 of 4 fields would not be resolved
`, v.String())

	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).Info("checked", "vault", v)
	assert.Equal(t, `level=INFO msg=checked vault.connection=ok vault.fields=4 vault.codes="map[bad_reference:1 denied:1 ok:2]" vault.version=1.21.1 vault.findings="[warning: one thing; mend it notice: another thing]"`+"\n", log.String())
}
