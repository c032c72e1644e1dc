package resolver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// codes returns the codes of findings, in order.
func codes(findings []auth.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.Code)
	}
	return all
}

// texts returns findings as the agent's log shows them.
func texts(findings []auth.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.String())
	}
	return all
}

// Each oddity of a value has a finding, which never holds the value.
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
		{"a private key without line breaks", "-----BEGIN KEY----- " + canary.Secret + " -----END KEY-----", []string{resolver.FlatKey}, []string{resolver.FlatKey}},
		{"a private key with escaped line breaks", `-----BEGIN KEY-----\n` + canary.Secret + `\n-----END KEY-----\n`, []string{resolver.FlatKey}, []string{resolver.FlatKey}},
		{"a space before", " " + canary.Secret, []string{resolver.SurroundingSpace}, []string{resolver.SurroundingSpace}},
		{"a space after", canary.Secret + "\u00a0", []string{resolver.SurroundingSpace}, []string{resolver.SurroundingSpace}},
		{"a zero-width space after", canary.Secret + "\u200b", []string{resolver.SurroundingSpace}, []string{resolver.SurroundingSpace}},
		{"a space and a line break", canary.Secret + " \n", []string{resolver.TrailingNewline, resolver.SurroundingSpace}, []string{resolver.TrailingNewline, resolver.SurroundingSpace}},
		{"a space inside", canary.Secret + " " + canary.Secret, nil, nil},
		{"a NUL", canary.Secret + "\x00" + canary.Secret, []string{resolver.HoldsNUL}, []string{resolver.HoldsNUL}},
		{"a BOM", "\ufeff" + canary.Secret, []string{resolver.HoldsBOM}, []string{resolver.HoldsBOM}},
		{"a BOM inside", canary.Secret + "\ufeff" + canary.Secret, []string{resolver.HoldsBOM}, []string{resolver.HoldsBOM}},
		{"what was no text", canary.Secret + "\ufffd", []string{resolver.HoldsReplacement}, []string{resolver.HoldsReplacement}},
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
				v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+mount+"/"+name+"#password"), resolver.CheckOptions{})
				require.Equal(t, resolver.OK, v.Fields[0].Kind)
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

// If Vault's list turns out to be wrong while a check reads, the check still says that the
// token may write.
func TestCheckOfAnEmptyListThatIsWrong(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x"})
	server.Put(t, kv, "other", map[string]any{"password": "x"})
	policy := server.Policy(t, fmt.Sprintf("path \"%[1]s/data/app\" { capabilities = [\"read\", \"update\"] }\npath \"%[1]s/data/other\" { capabilities = [\"read\"] }\n", kv))
	address := behind(t, server, withoutList(200, "application/json", `{"request_id":"1","data":{"secret":{}}}`))
	vault := auth.New(auth.Settings{Address: address, Mounts: []string{kv}}, environment(map[string]string{
		"VAULT_ADDR": address, "VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{"default", policy}, "ttl": "999h"})}))
	v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password", "vault:"+kv+"/other#password"), resolver.CheckOptions{})
	assert.Equal(t, []string{resolver.MountsUnknown}, codes(v.Connection.Findings))
	assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
	assert.Equal(t, []string{resolver.CanWrite}, codes(v.Fields[0].Findings))
	assert.Equal(t, resolver.OK, v.Fields[1].Kind, "%s", v)
	assert.Empty(t, v.Fields[1].Findings)
}

// A check asks what the token may do besides reading, for 500 paths at a time.
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
	assert.Equal(t, []string{resolver.AddressNotPinned}, codes(v.Connection.Findings))

	for _, capability := range []string{"create", "patch", "delete"} {
		v = resolver.Check(t.Context(), token(strings.ReplaceAll(policy, "update", capability), map[string]any{}), both, resolver.CheckOptions{})
		assert.Empty(t, v.Fields[0].Findings)
		assert.Equal(t, []string{resolver.CanWrite}, codes(v.Fields[1].Findings), capability)
	}

	v = resolver.Check(t.Context(), connect(server, server.Token), both, resolver.CheckOptions{})
	assert.Equal(t, []string{resolver.AddressNotPinned, resolver.RootToken}, codes(v.Connection.Findings))
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
	assert.Equal(t, []string{resolver.AddressNotPinned, auth.TokenExpiryUnknown, resolver.CapabilitiesUnknown}, codes(v.Connection.Findings))
	assert.Contains(t, v.String(), "grant it update on sys/capabilities-self")
	assert.Equal(t, resolver.OK, v.Connection.Kind)
	assert.Equal(t, resolver.OK, v.Fields[1].Kind)

	// A token that is limited in uses is not asked about.
	run := vaulttest.Name()
	v = resolver.Check(t.Context(), token(policy, map[string]any{"num_uses": 9}), both, resolver.CheckOptions{RunID: run})
	assert.Equal(t, []string{resolver.AddressNotPinned, resolver.CapabilitiesUnknown}, codes(v.Connection.Findings))
	assert.NotContains(t, asked(t, server, run), "update sys/capabilities-self")

	run = vaulttest.Name()
	var many []ref.Value
	for i := range 1100 {
		many = append(many, ref.Parse(fmt.Sprintf("vault:%s/no/%d#password", kv, i)))
	}
	patient := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{ // a busy machine takes longer for all of them than a check may
		"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, policy)}}), "VAULT_CLIENT_TIMEOUT": "5m"}))
	resolver.Check(t.Context(), patient, append(many, many...), resolver.CheckOptions{RunID: run})
	var paths []int
	for _, r := range server.RequestsBy(t, run) {
		if r.Path == "sys/capabilities-self" {
			list, _ := r.Data["paths"].([]any)
			paths = append(paths, len(list))
		}
	}
	assert.ElementsMatch(t, []int{500, 500, 100}, paths)
}

// A check describes the server, and says which settings do not fit it.
func TestCheckTheServer(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	token := server.ReaderToken(t, "any")
	healthy := func(change string) string { // a proxy in front of a server whose health is another
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
			assert.Equal(t, resolver.OK, v.Connection.Kind)
			found := []string{}
			for _, code := range codes(v.Connection.Findings) {
				if code != auth.TokenExpiryUnknown && code != auth.TokenExpires {
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
		assert.Contains(t, v.String(), "remove it from the settings and from VAULT_NAMESPACE on the Patch server")
	})
	t.Run("how far the clock is ahead", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), vaultAt(healthy(in(300)), token), nil, resolver.CheckOptions{})
		require.NotNil(t, v.Connection.Health)
		assert.InDelta(t, 300, v.Connection.Health.ClockSkew, 5)
	})
}

// Dangers of the environment are found even if Vault does not answer.
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
		{"no verification, an exposed token", server.Address, map[string]string{"VAULT_SKIP_VERIFY": "true", "VAULT_TOKEN_FILE": readable},
			[]string{auth.SkipVerify, auth.FileExposed, resolver.RootToken}},
		{"http to another machine", "http://vault.invalid:8200", map[string]string{"VAULT_TOKEN": "t"}, []string{auth.PlainHTTP}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.environment["VAULT_ADDR"] = test.address
			vault := auth.New(auth.Settings{Address: test.address}, environment(test.environment))
			v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{Patience: brief})
			assert.Equal(t, test.want, codes(v.Connection.Findings))
			assertRoundTrip(t, v)
		})
	}
}
