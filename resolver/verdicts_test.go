package resolver_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// assertKept checks that a text goes to the log, and not to the UI.
func assertKept(t *testing.T, v resolver.Verdicts, inner string) {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	assert.NotContains(t, string(data), inner)
	var shown resolver.Verdicts
	require.NoError(t, json.Unmarshal(data, &shown))
	assert.NotContains(t, shown.String(), inner)
	assert.Contains(t, v.String(), inner, "the agent's log has it")
}

// JSON holds nothing that is for the agent's log alone.
func TestCheckKeepsTheLogsTextsFromTheUI(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x", "inner-secret-name": "x"})
	token := server.ReaderToken(t, kv+"/data/app")
	mount, roleID := appRole(t, server, map[string]any{"token_no_default_policy": true})
	dead := "http://" + vaulttest.ClosedPort(t)
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
			v := resolver.Check(t.Context(), test.vault, fieldsOf(test.field), resolver.CheckOptions{Patience: brief})
			assert.Contains(t, v.Fields[0].Text, test.inner)
			assertKept(t, v, test.inner)
		})
	}
	t.Run("a revocation", func(t *testing.T) {
		t.Parallel()
		vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount}))
		v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{})
		assert.Equal(t, []string{resolver.AddressNotPinned, auth.TokenNotRevoked}, codes(v.Connection.Findings))
		assertKept(t, v, "permission denied")
		assertRoundTrip(t, v)
	})
}

func TestVerdictsForAPersonAndForTheLog(t *testing.T) {
	t.Parallel()
	left, offset := 3, 9
	v := resolver.Verdicts{
		Connection: resolver.Connection{
			Problem: resolver.Problem{Kind: resolver.OK}, Reachable: true, LoggedIn: true,
			Health:   &auth.Health{Version: "1.21.1", Initialized: true},
			Token:    auth.Token{Given: true, Known: true, Expires: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), TTL: 5 * 24 * 3600, UsesLeft: &left},
			Settings: auth.New(auth.Settings{Address: "https://vault.example:8200"}, environment(nil)).Effective(),
			Findings: []auth.Finding{{Code: "a", Text: "one thing; fix it"}, {Code: "b", Text: "another thing", Notice: true}},
		},
		RunID: "R1",
		Fields: []resolver.Verdict{
			{Problem: resolver.Problem{Kind: resolver.OK, Ref: references(t, "kv/app")[0]}, Version: 7, Created: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC),
				Findings: []auth.Finding{{Code: "c", Text: "odd; look at it"}}},
			{Problem: resolver.Problem{Kind: resolver.BadReference, Part: "path", Offset: &offset, Reason: "an empty segment", Fix: "write one / between segments"}},
			{Problem: resolver.Problem{Kind: resolver.Denied, Ref: references(t, "kv/hr")[0], Reason: "refused", Fix: "ask"}},
			{Problem: resolver.Problem{Kind: resolver.OK}},
		},
	}
	assert.Equal(t, `vault at https://vault.example:8200: ok
server: vault 1.21.1, active
token: given, expires at 2026-11-29 08:00Z, in 5 days, uses left: 3
warning: one thing; fix it
notice: another thing
1. vault:kv/app#password (version 7, written 2026-11-20 08:00Z): ok
   warning: odd; look at it
2. bad_reference: path at byte 9: an empty segment; write one / between segments
3. vault:kv/hr#password: denied: refused; ask
4. no reference to check: ok
2 of 4 fields would not be resolved
`, v.String())

	undated := v.Fields[0]
	undated.Created = time.Time{}
	assert.Equal(t, "vault:kv/app#password (version 7): ok", undated.String())

	for address, first := range map[string]string{"": "vault: not_configured: ", "nonsense": "vault: settings: "} {
		unset := resolver.Check(t.Context(), auth.New(auth.Settings{Address: address}, environment(nil)), nil, resolver.CheckOptions{})
		assert.True(t, strings.HasPrefix(unset.String(), first), "%s", unset)
	}

	login := v
	login.Connection.Token = auth.Token{Known: true, TTL: 32 * 24 * 3600} // it may be revoked by now
	assert.Contains(t, login.String(), "\ntoken: by login, time to live 32 days\n")

	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).Info("checked", "vault", v)
	assert.Equal(t, `level=INFO msg=checked vault.run_id=R1 vault.connection=ok vault.fields=4 vault.kinds="map[bad_reference:1 denied:1 ok:2]" vault.vault_version=1.21.1 vault.errors="[2. bad_reference: path at byte 9: an empty segment; write one / between segments 3. vault:kv/hr#password: denied: refused; ask]" vault.findings="[warning: one thing; fix it notice: another thing]"`+"\n", log.String())
}
