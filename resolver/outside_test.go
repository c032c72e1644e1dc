package resolver_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// The JSON of a report holds no policy names, no words of Vault and nothing about the
// network.
func TestReportAsTheUISeesIt(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right", "other-key": "x"})
	policy := server.Policy(t, `path "`+kv+`/data/app" { capabilities = ["read"] }`)
	token := server.NewToken(t, map[string]any{"policies": []string{"default", policy}})
	port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
	closed := vaulttest.ClosedPort(t)
	bound := server.AppRole(t, map[string]any{"token_policies": policy, "secret_id_bound_cidrs": "192.0.2.0/24"})
	const word = "canary-of-vault"
	wordy := wrongServer(t, always(500, `{"errors":["`+word+`"]}`))
	for _, test := range []struct {
		name   string
		vault  *auth.Vault
		field  string
		hidden []string // in the JSON; the text has one of them at least
	}{
		{"denied", vaultAt(server.Address, token), "vault:" + kv + "/hr#password", []string{policy, "default", port(server.Address)}},
		{"no mount to see", vaultAt(server.Address, server.NewToken(t, map[string]any{"policies": []string{policy}})), "vault:elsewhere/hr#password", []string{policy, "default", port(server.Address)}},
		{"a key", vaultAt(server.Address, token), "vault:" + kv + "/app#other-kez", []string{"other-key"}},
		{"refused", vaultAt("http://"+closed, token), "vault:" + kv + "/app#password", []string{port(closed), "127.0.0.1", "refused"}},
		{"a proxy", auth.New(auth.Settings{Address: "http://vault.invalid"}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_PROXY_ADDR": "http://" + closed})), "vault:" + kv + "/app#password", []string{port(closed), "127.0.0.1"}},
		{"words of Vault", vaultAt(wordy, token), "vault:" + kv + "/app#password", []string{word, port(wordy), "500"}},
		{"a login", auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{
			"VAULT_APPROLE_MOUNT": bound.Mount, "VAULT_ROLE_ID": bound.RoleID, "VAULT_SECRET_ID": bound.SecretID(t, nil)})), "vault:" + kv + "/app#password", []string{bound.Mount, "CIDR", "192.0.2"}},
		{"a dead token", vaultAt(server.Address, "hvs.CAESIJdead"), "vault:" + kv + "/app#password", []string{"revoked or used up"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			run := resolver.Resolve(t.Context(), test.vault, []resolver.Host{host("h", "password", test.field)}, resolver.Options{Patience: brief})
			result := collect(run)[0]
			require.Error(t, result.Err())
			report := run.Report()
			require.NotEmpty(t, report.Causes)
			shown := false
			for _, v := range []any{report, report.Causes, report.Findings, result.Err()} {
				text, err := json.Marshal(v)
				require.NoError(t, err)
				for _, hidden := range test.hidden {
					assert.NotContains(t, string(text), hidden)
					shown = shown || strings.Contains(report.String(), hidden)
				}
			}
			assert.True(t, shown, "the log has none of %q: %s", test.hidden, report)
		})
	}
}

// Whatever a server names or says is in no JSON, except what a person typed: neither policies,
// keys, namespaces and mounts, nor words.
func TestUISeesNoWordOfTheServer(t *testing.T) {
	t.Parallel()
	const inner = "inner-word"
	word := func(text string, places ...string) string {
		for _, place := range places {
			require.Contains(t, text, place)
			with := `"` + inner + `"`
			if name, _, isMember := strings.Cut(place, ":"); isMember {
				with = name + ":" + with
			}
			text = strings.Replace(text, place, with, 1)
		}
		return text
	}
	says := answers{
		look:   word(observed.look, `"luumen"`, `"team"`, `"accessor":"a"`, `"display_name":"token"`, `"namespace_path":""`),
		login:  word(observed.login, `"luumen"`, `"accessor":"a"`, `"entity_id":"e"`),
		list:   word(observed.list, `"one/"`),
		health: word(observed.health, `"version":"1.21.1"`, `"cluster_name":"c"`, `"cluster_id":"i"`),
		powers: observed.powers,
	}
	denied := `{"errors":["1 error occurred:\n\t* permission denied\n\n","` + inner + `"]}`
	failed := `{"errors":["` + inner + `"],"warnings":["` + inner + `"]}`
	e := newEncoder(t)
	for _, read := range []struct {
		status int
		text   string
	}{{200, word(observed.read, `"other"`, `"w"`)}, {400, failed}, {403, denied}, {404, failed}, {500, failed}} {
		says.read = read.text
		e.now.Store(&says)
		e.status.Store(int64(read.status))
		for _, vault := range []*auth.Vault{e.given, e.byLogin} {
			const patience = 100 * time.Millisecond
			fields := fieldsOf("vault:secret/app#password", "vault:secret/app#inner-wort", "vault:pki/app#password", "vault:elsewhere/app#password")
			v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{Patience: patience})
			hosts := []resolver.Host{{Name: "h"}, {Name: "i", Fields: map[string]ref.Value{"password": fields[1]}}, {Name: "j", Fields: map[string]ref.Value{"password": fields[2]}}}
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: patience})
			shown, logged := []any{v}, v.String()
			for _, result := range run.Results() {
				shown = append(shown, result, result.Err())
			}
			shown, logged = append(shown, run.Report()), logged+run.Report().String()
			text, err := json.Marshal(shown)
			require.NoError(t, err)
			assert.NotContains(t, string(text), inner, read.status)
			assert.Contains(t, logged, inner, read.status)
		}
	}
}

// Names come from outside. In texts and logs they are quoted if they could end the line or
// change the terminal.
func TestNamesFromOutsideAreQuoted(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	vault := vaultAt(server.Address, server.ReaderToken(t, kv+"/data/app"))
	for _, name := range []string{
		"web\nlevel=ERROR msg=forged", "web\r\x1b[2K\x1b[1Aforged", "web\u2028forged", "web\u202eforged\u200b", "web\x00\x07\x9bforged", "web\xff\xfeforged",
	} {
		hosts := []resolver.Host{
			{Name: name, Fields: map[string]ref.Value{name: ref.Parse("vault:" + kv + "/app#pasword")}},
			{Name: name, Fields: map[string]ref.Value{name: ref.Parse("vault:" + kv + "//app#password"), "odd" + name: ref.Parse("secret/a#b")}},
			{Name: name, Fields: map[string]ref.Value{name: ref.Parse("vault:nowhere/app#password")}},
			{Name: name, Fields: map[string]ref.Value{name: ref.Parse("vault:" + kv + "/app#password")}},
		}
		run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
		results := collect(run)
		report := run.Report()
		require.Equal(t, 1, report.Ready)
		var lines []string
		add := func(text string) { lines = append(lines, strings.Split(strings.TrimSuffix(text, "\n"), "\n")...) }
		for _, result := range results {
			add(result.String())
			_, err := result.Credential("no" + name)
			add(err.Error())
			if err := result.Err(); err != nil {
				add(err.Error())
			}
		}
		for _, cause := range report.Causes {
			add(cause.String())
		}
		for _, finding := range report.Findings {
			add(finding.String())
		}
		want := len(lines) // each of these is one line
		assert.Equal(t, 8+3+len(report.Causes)+len(report.Findings), want)
		add(report.String())
		add(run.Report().String())
		add(resolver.Check(t.Context(), vault, []ref.Value{hosts[0].Fields[name], hosts[1].Fields[name]}, resolver.CheckOptions{Host: name}).String())
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		for _, result := range results {
			logger.Error("host", "result", result, "error", result.Err())
		}
		logger.Info("report", "report", report, "run", run)
		for _, cause := range report.Causes {
			logger.Error("cause", "cause", cause)
		}
		assert.Equal(t, 5+len(report.Causes), strings.Count(log.String(), "\n"))
		add(log.String())
		for _, line := range lines {
			assert.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", line)
			assert.False(t, strings.Contains(line, "\xff"), "%q", line)
			assert.NotRegexp(t, `^(level=ERROR msg=)?forged`, line)
		}
	}
}

// A secret that is too large comes from Vault, and the UI does not say otherwise.
func TestSecretThatIsTooLarge(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	part := strings.Repeat("x", 1<<20-1)
	server.Put(t, kv, "app", map[string]any{"password": "right", "a": part, "b": part, "c": part, "d": part})
	vault := connect(server, server.ReaderToken(t, kv+"/data/app"))
	_, err := resolve(t, vault, "vault:"+kv+"/app#password")
	require.ErrorIs(t, err, resolver.BadResponse)
	v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{}).Fields[0]
	assert.Equal(t, []string{"bad_response", "the server's answer is larger than 4 MiB", "store smaller values in Vault, or fewer in one secret"}, []string{string(v.Kind), v.Reason, v.Fix})

	server.Put(t, kv, "app", map[string]any{"password": "right", "a": part, "b": part})
	_, err = resolve(t, vault, "vault:"+kv+"/app#password")
	assert.NoError(t, err, "fewer in one secret")
}

// A name that is empty, or has a space at its beginning or end, is quoted. Otherwise nobody sees
// why luumen_hosts does not match it.
func TestNamesThatAreHardToSee(t *testing.T) {
	t.Parallel()
	run := resolver.Resolve(t.Context(), nil, []resolver.Host{host("web-1 ", "password", "vault:x"), host("", "", "x")}, resolver.Options{})
	results := collect(run)
	assert.Contains(t, results[0].String(), `"web-1 ": password: `)
	assert.Equal(t, `"": ready`, results[1].String())
	_, err := results[1].Credential(" password")
	assert.EqualError(t, err, `" password": the host has no such field`)
	assert.Contains(t, run.Report().String(), `skipped "web-1 " (bad_reference)`)
}

// Vault's list says that a mount is KV, so neither a lease nor a missing type, as before Vault
// 1.16, makes its answer another engine's.
func TestListedKVThatLendsWithoutAType(t *testing.T) {
	t.Parallel()
	server := &hostileVault{
		mounts: `{"auth":{},"secret":{"secret/":{"type":"kv","options":{"version":"1"}}}}`,
		read: func(w http.ResponseWriter, _ *http.Request, _ string) {
			whole(w, 200, `{"request_id":"5a9f","lease_id":"secret/app/8Kq1","renewable":false,"lease_duration":3600,"data":{"password":"right","ttl":"1h"},"wrap_info":null,"warnings":null,"auth":null}`)
		},
	}
	password, err := resolve(t, server.start(t), "vault:secret/app#password")
	require.NoError(t, err)
	assert.Equal(t, "right", password.Reveal())
}

// A secret of KV v1 can have keys like those in the configuration of KV v2: all of them if
// Vault lists the mount, and some in any case.
func TestSecretLikeAConfiguration(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 1)
	server.Put(t, kv, "all", map[string]any{"cas_required": "a", "delete_version_after": "b", "max_versions": "right"})
	server.Put(t, kv, "one", map[string]any{"max_versions": "right"})
	for path, address := range map[string]string{"all": server.Address, "one": behind(t, server, blocked)} {
		vault := auth.New(auth.Settings{Address: address, KVVersion: "v1", Mounts: []string{kv}}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
		value, err := resolve(t, vault, "vault:"+kv+"/"+path+"#max_versions")
		require.NoError(t, err, path)
		assert.Equal(t, "right", value.Reveal())
	}
}

// If Vault says that a mount is KV, a lease proves nothing: KV v1 can lease its secrets.
func TestKVThatLendsItsSecrets(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := "lent-" + vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]string{"version": "1", "leased_passthrough": "true"}})
	generic := "generic-" + vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/mounts/"+generic, map[string]any{"type": "generic", "options": map[string]string{"leased_passthrough": "true"}})
	for _, test := range []struct {
		name, mount, ttl string
		settings         auth.Settings
		blocked          bool
	}{
		{name: "listed", mount: mount, ttl: "1h"},
		{name: "listed, with a lease of its own length", mount: mount, ttl: "30s"},
		{name: "listed as generic", mount: generic, ttl: "1h"},
		{name: "unlisted", mount: mount, ttl: "1h", blocked: true, settings: auth.Settings{KVVersion: "v1"}},
		{name: "unlisted, and named in the settings", mount: mount, ttl: "1h", blocked: true, settings: auth.Settings{KVVersion: "v1", Mounts: []string{mount}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			path := vaulttest.Name()
			server.Must(t, http.MethodPut, test.mount+"/"+path, map[string]any{"password": "right", "ttl": test.ttl})
			answer := server.Must(t, http.MethodGet, test.mount+"/"+path, nil)
			require.NotEmpty(t, answer["lease_id"], "the mount lends nothing")
			test.settings.Address = server.Address
			if test.blocked {
				test.settings.Address = behind(t, server, blocked)
			}
			vault := auth.New(test.settings, environment(map[string]string{"VAULT_TOKEN": server.ReaderToken(t, test.mount+"/"+path)}))
			password, err := resolve(t, vault, "vault:"+test.mount+"/"+path+"#password")
			require.NoError(t, err)
			assert.Equal(t, "right", password.Reveal())
		})
	}
}
