package resolver_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// resolve resolves the only field of a host.
func resolve(t *testing.T, vault *auth.Vault, field string) (resolver.Credential, error) {
	t.Helper()
	return resolver.One(t.Context(), vault, host("host-1", "password", field), resolver.Options{}).Credential("password")
}

// Each answer of a healthy Vault has its kind and a text that
// says what to do. No such request is repeated (trap 13).
func TestKindsOfAHealthyVault(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v2, v1 := server.KV(t, 2), server.KV(t, 1)
	nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
	hidden := server.KV(t, 2)
	transit := vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/mounts/"+transit, map[string]any{"type": "transit"})

	server.Put(t, v2, "app", map[string]any{"password": "old"})
	server.Put(t, v2, "app", map[string]any{"password": "new", "pass.word": "dot", "data": "d", "metadata": "m"})
	server.Put(t, v2, "hr", map[string]any{"password": "x"})
	server.Put(t, v2, "deleted", map[string]any{"password": "x"})
	server.Delete(t, v2, "deleted")
	server.Put(t, v2, "destroyed", map[string]any{"password": "x"})
	server.Destroy(t, v2, "destroyed", 1)
	server.Must(t, http.MethodPost, v2+"/data/empty", map[string]any{"data": map[string]any{}})
	server.Must(t, http.MethodPost, v2+"/data/null", map[string]any{"data": nil})
	server.Put(t, nested, "app", map[string]any{"password": "nested"})
	server.Put(t, v1, "app", map[string]any{"password": "one", "data": "d", "metadata": "m"})
	server.Put(t, hidden, "app", map[string]any{"password": "x"})

	token := server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, fmt.Sprintf(`
		path "%[1]s/data/*" { capabilities = ["read"] }
		path "%[1]s/data/hr" { capabilities = ["deny"] }
		path "%[2]s/*" { capabilities = ["read"] }
		path "%[3]s/data/*" { capabilities = ["read"] }
		path "%[4]s/*" { capabilities = ["read"] }
		path "%[5]s/*" { capabilities = ["read"] }`, v2, v1, nested, transit, vaulttest.Name()))}})
	vault := connect(server, token)
	top, _, _ := strings.Cut(nested, "/")

	for _, c := range []struct {
		name  string
		field string
		want  string // the value, if there is no kind
		kind  resolver.Kind
		text  string // after the field and the reference; %s is the v2 mount
		ends  string // with this; likewise
		reads int
	}{
		{name: "v2", field: "vault:" + v2 + "/app#password", want: "new", reads: 1},
		{name: "v2 pinned", field: "vault:" + v2 + "/app?version=1#password", want: "old", reads: 1},
		{name: "v2 key data", field: "vault:" + v2 + "/app#data", want: "d", reads: 1},
		{name: "key with a dot", field: "vault:" + v2 + "/app#pass.word", want: "dot", reads: 1},
		{name: "v1", field: "vault:" + v1 + "/app#password", want: "one", reads: 1},
		{name: "v1 key data", field: "vault:" + v1 + "/app#data", want: "d", reads: 1},
		{name: "v1 key metadata", field: "vault:" + v1 + "/app#metadata", want: "m", reads: 1},
		{name: "nested", field: "vault:" + nested + "/app#password", want: "nested", reads: 1},

		{name: "no key", field: "vault:" + v2 + "/app#pasword", kind: resolver.NoKey, reads: 1,
			text: `no key "pasword" at version 2; did you mean "password"?`},
		{name: "no key, nothing near", field: "vault:" + v2 + "/app#token", kind: resolver.NoKey, reads: 1,
			text: `no key "token" at version 2`},
		{name: "no key by a wildcard", field: "vault:" + v2 + "/app#pass*", kind: resolver.NoKey, reads: 1,
			text: `no key "pass*" at version 2`},
		{name: "no key on v1", field: "vault:" + v1 + "/app#user", kind: resolver.NoKey, reads: 1,
			text: `no key "user"`},
		{name: "empty secret", field: "vault:" + v2 + "/empty#password", kind: resolver.NoKey, reads: 1,
			text: `no key "password" at version 1`},
		{name: "secret that is null", field: "vault:" + v2 + "/null#password", kind: resolver.NoKey, reads: 1,
			text: `no key "password" at version 1`},
		{name: "not found", field: "vault:" + v2 + "/none#password", kind: resolver.NotFound, reads: 1,
			text: "vault has no secret at %s/data/none; check the path"},
		{name: "folder", field: "vault:" + nested + "/ap#password", kind: resolver.NotFound, reads: 1,
			text: "vault has no secret at " + nested + "/data/ap; check the path"},
		{name: "not found on v1", field: "vault:" + v1 + "/none#password", kind: resolver.NotFound, reads: 1,
			text: "vault has no secret at " + v1 + "/none; check the path"},
		{name: "doubled data/", field: "vault:" + v2 + "/data/app#password", kind: resolver.NotFound, reads: 1,
			text: "vault has no secret at %s/data/data/app; omit data/ from the path, since it is added automatically"},
		{name: "data/ on v1", field: "vault:" + v1 + "/data/none#password", kind: resolver.NotFound, reads: 1,
			text: "vault has no secret at " + v1 + "/data/none; check the path"},
		{name: "a mount is no secret", field: "vault:" + nested + "#password", kind: resolver.NotFound,
			text: nested + " is a mount, not a secret; write the path of the secret below it"},
		{name: "deleted", field: "vault:" + v2 + "/deleted#password", kind: resolver.Deleted, reads: 1,
			text: "version 1 of %s/deleted was deleted at "},
		{name: "destroyed", field: "vault:" + v2 + "/destroyed#password", kind: resolver.Deleted, reads: 1,
			text: "version 1 of %s/destroyed is destroyed; write the secret again"},
		{name: "no version", field: "vault:" + v2 + "/app?version=9#password", kind: resolver.NoVersion, reads: 1,
			text: "vault has no version 9 of %s/data/app, or no such secret; check the pinned version, or omit it"},
		{name: "pin on v1", field: "vault:" + v1 + "/app?version=1#password", kind: resolver.NoVersion,
			text: "the mount " + v1 + " is KV v1, which has no versions; omit the version, or upgrade the mount to KV v2"},
		{name: "denied", field: "vault:" + v2 + "/hr#password", kind: resolver.Denied, reads: 1,
			text: `the agent's token may not read %[1]s/data/hr (its policies: `,
			ends: `); add to its policy: path "%[1]s/data/hr" { capabilities = ["read"] }; if a policy already has this line, it has wrapping or parameter conditions (min_wrapping_ttl, required_parameters), or one of the token's policies denies the path`},
		{name: "hidden mount", field: "vault:" + hidden + "/app#password", kind: resolver.Denied,
			text: "the agent's token can see no mount for " + hidden + "/app (its policies: ",
			ends: `); check the path, and that its mount exists (vault secrets list -detailed); then add to its policy: path "` + hidden + `/data/app" { capabilities = ["read"] }; the mount ` + hidden + " of KV v2 is a guess: if it is wrong, name the mount in the settings; if a policy already has this line, one of the token's policies denies the path"},
		{name: "above a nested mount", field: "vault:" + top + "/app#password", kind: resolver.Denied,
			text: "the agent's token can see no mount for "},
		{name: "a namespace before the mount", field: "vault:ns1/" + v2 + "/app#password", kind: resolver.Denied,
			text: "the agent's token can see no mount for "},
		{name: "not KV", field: "vault:" + transit + "/keys/a#name", kind: resolver.NotKV,
			text: "the mount " + transit + " is not KV; name a secret in a KV mount"},
		{name: "bad reference", field: "vault:" + v2 + "/app", kind: resolver.BadReference, text: "key at byte "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			id := vaulttest.Name()
			result := resolver.One(t.Context(), vault, host("host-1", "password", c.field), resolver.Options{RunID: id})
			password, err := result.Credential("password")
			reads := 0
			for request := range asked(t, server, id) {
				if request != "read auth/token/lookup-self" && request != "read sys/internal/ui/mounts" {
					reads++
				}
			}
			assert.Equal(t, c.reads, reads, "reads")
			if c.kind == "" {
				require.NoError(t, err)
				assert.Equal(t, c.want, password.Reveal())
				return
			}
			require.ErrorIs(t, err, c.kind)
			place := "password: "
			if r := ref.Parse(c.field).Ref(); !r.IsZero() {
				place += r.String() + ": "
			}
			inV2 := func(text string) string {
				if strings.Contains(text, "%") {
					return fmt.Sprintf(text, v2)
				}
				return text
			}
			assert.Contains(t, err.Error(), place+inV2(c.text))
			assert.True(t, strings.HasSuffix(err.Error(), inV2(c.ends)), err.Error())
			assert.NotContains(t, err.Error(), "\n")
			assert.Equal(t, "[none]", password.String(), "no credential beside an error")
		})
	}
}

// Values are exact, or errors.
func TestValues(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	pem := "-----BEGIN KEY-----\nAAAA\r\nBBBB==\n-----END KEY-----\n"
	type value struct {
		json string
		want string        // as read
		v2   string        // as read from KV v2, where that differs
		kind resolver.Kind // instead
		what string
	}
	values := map[string]value{
		"plain":              {json: `"s3cret"`, want: "s3cret"},
		"trailing newline":   {json: `"s3cret\n"`, want: "s3cret\n"},
		"spaces":             {json: `"  a b  "`, want: "  a b  "},
		"pem":                {json: fmt.Sprintf("%q", pem), want: pem},
		"nul":                {json: `"a\u0000b"`, want: "a\x00b"},
		"bom":                {json: `"\ufeffa"`, want: "\ufeffa"},
		"html":               {json: `"<a href='x'>&amp;</a>"`, want: "<a href='x'>&amp;</a>"},
		"emoji":              {json: `"pässwörd 🔑 \u2028"`, want: "pässwörd 🔑 \u2028"},
		"quotes":             {json: `"\"\\/\b\f\t"`, want: "\"\\/\b\f\t"},
		"looks like a ref":   {json: `"vault:a/b#c"`, want: "vault:a/b#c"},
		"zero":               {json: `0`, want: "0"},
		"big number":         {json: `12345678901234567890`, want: "12345678901234567890", v2: "12345678901234567000"},
		"exponent":           {json: `1e21`, want: "1e21", v2: "1e+21"},
		"decimals":           {json: `0.10`, want: "0.10", v2: "0.1"},
		"negative":           {json: `-12`, want: "-12"},
		"true":               {json: `true`, want: "true"},
		"false":              {json: `false`, want: "false"},
		"null":               {json: `null`, kind: resolver.BadValue, what: "null"},
		"empty":              {json: `""`, kind: resolver.BadValue, what: "empty"},
		"object":             {json: `{"c4nary":"c4nary"}`, kind: resolver.BadValue, what: "an object"},
		"list":               {json: `["c4nary"]`, kind: resolver.BadValue, what: "a list"},
		"a.b/c#d?e%f*|@this": {json: `"odd key"`, want: "odd key"},
		"Plain":              {json: `"other case"`, want: "other case"},
	}
	for version := 1; version <= 2; version++ {
		kv := server.KV(t, version)
		var members []string
		for key, v := range values {
			members = append(members, fmt.Sprintf("%q:%s", key, v.json))
		}
		body := rawJSON("{" + strings.Join(members, ",") + "}")
		path := kv + "/all"
		if version == 2 {
			body, path = rawJSON(`{"data":`+string(body)+"}"), kv+"/data/all"
		}
		server.Must(t, http.MethodPost, path, body)
		fields := make(map[string]ref.Value)
		for key := range values {
			r, err := ref.New(kv+"/all", key, 0)
			require.NoError(t, err)
			fields[key] = ref.Parse(r.String())
		}
		for key, v := range values {
			t.Run(fmt.Sprintf("v%d %s", version, key), func(t *testing.T) {
				result := resolver.One(t.Context(), connect(server, server.Token), resolver.Host{Name: "h", Fields: map[string]ref.Value{"f": fields[key]}}, resolver.Options{})
				credential, err := result.Credential("f")
				if v.kind != "" {
					require.ErrorIs(t, err, v.kind)
					assert.Contains(t, err.Error(), "is "+v.what+"; store a non-empty string, a number or a boolean")
					assert.NotContains(t, err.Error(), "c4nary")
					return
				}
				require.NoError(t, err)
				want := v.want
				if version == 2 && v.v2 != "" {
					want = v.v2
				}
				assert.Equal(t, want, credential.Reveal())
			})
		}
	}
}

// rawJSON is sent as it is.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// A path is sent as plain text.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	for version := 1; version <= 2; version++ {
		kv := server.KV(t, version)
		for i, path := range []string{
			"a b", "a+b", "a:b", "a%2Fb", "a%20b", "a#b", "a?b", "a?version=1", "a&b=c", `a"b\c`, "a;b,c=d@e", "ünï/cödé", "🔑", "a*", "*", "{{x}}", "~a", "(a)", "'a'",
			"data/x", "metadata/x", "dataface/x", "data/data/x", ".a/b.", "a.", "x/y-mount/z", "A/a", "a/A", strings.Repeat("long", 100),
		} {
			value := fmt.Sprintf("value %d", i)
			server.Put(t, kv, path, map[string]any{"k": value})
			r, err := ref.New(kv+"/"+path, "k", 0)
			require.NoError(t, err, path)
			credential, err := resolve(t, connect(server, server.Token), r.String())
			if assert.NoError(t, err, "v%d %s", version, path) {
				assert.Equal(t, value, credential.Reveal(), "v%d %s", version, path)
			}
		}
	}
	// A mount's name may hold data too.
	kv := server.KVAt(t, "mykv_data-"+vaulttest.Name()+"/data", 2)
	server.Put(t, kv, "data", map[string]any{"k": "v"})
	credential, err := resolve(t, connect(server, server.Token), "vault:"+kv+"/data#k")
	require.NoError(t, err)
	assert.Equal(t, "v", credential.Reveal())
}

func TestSecretNamesItsHosts(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for path, globs := range map[string]string{
		"web":     "web-*, DB-1.example",
		"nobody":  " , ",
		"broken":  "[web",
		"anybody": "*",
	} {
		server.Put(t, kv, path, map[string]any{"k": "v"})
		server.Metadata(t, kv, path, map[string]string{"luumen_hosts": globs, "owner": "somebody"})
	}
	server.Put(t, kv, "free", map[string]any{"k": "v"})
	server.Metadata(t, kv, "free", map[string]string{"owner": "somebody"})

	for _, c := range []struct {
		path, host string
		ok         bool
	}{
		{"web", "web-1", true}, {"web", "WEB-2", true}, {"web", "db-1.example", true},
		{"web", "db-1xexample", false}, {"web", "web", false}, {"web", "my-web-1", false}, {"web", "", false},
		{"nobody", "web-1", false}, {"broken", "web-1", false}, {"broken", "[web", false},
		{"anybody", "web-1", true}, {"free", "web-1", true},
	} {
		id := vaulttest.Name()
		result := resolver.One(t.Context(), connect(server, server.Token), host(c.host, "p", "vault:"+kv+"/"+c.path+"#k"), resolver.Options{RunID: id})
		_, err := result.Credential("p")
		assert.Equal(t, c.ok, err == nil, "%s for %q: %v", c.path, c.host, err)
		assert.Equal(t, !c.ok, errors.Is(err, resolver.NotForHost), "%s for %q: %v", c.path, c.host, err)
		assert.Len(t, server.RequestsBy(t, "run/"+id), 3, "it comes with the read")
	}
	// Only the hosts concerned are skipped, though they share the read.
	hosts := []resolver.Host{host("web-1", "p", "vault:"+kv+"/web#k"), host("db-2", "p", "vault:"+kv+"/web#k")}
	results := collect(resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{}))
	assert.NoError(t, results[0].Err())
	assert.EqualError(t, results[1].Err(), `p: vault:`+kv+`/web#k: the secret is meant for other hosts; use another secret, or add a glob for the host to luumen_hosts in its custom metadata, where commas separate globs`)
}

// The error says to add a glob for the host to luumen_hosts, which helps whatever its name
// holds. Most names are such a glob.
func TestHostThatIsAddedByItsName(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"k": "secret"})
	for _, test := range []struct{ name, glob string }{
		{`CORP\win-1`, `CORP\win-1`}, {"sap/prd", "sap/prd"}, {"[fe80::1]", "[fe80::1]"}, {"db[1]", "db[1]"}, {"a*b", "a*b"}, {"web 1", "web 1"},
		{"db1,prod", "db1?prod"}, {"win1 ", "win1?"}, {"db{1}", "db?1?"}, {"'web'", "?web?"},
	} {
		name := test.name
		hosts := func(names string) {
			server.Must(t, http.MethodPost, kv+"/metadata/app", map[string]any{"custom_metadata": map[string]string{"luumen_hosts": names}})
		}
		run := func() error {
			return resolver.One(t.Context(), connect(server, server.Token), host(name, "p", "vault:"+kv+"/app#k"), resolver.Options{}).Err()
		}
		hosts("other")
		err := run()
		require.ErrorIs(t, err, resolver.NotForHost, name)
		assert.ErrorContains(t, err, "add a glob for the host to luumen_hosts")
		hosts("other, " + test.glob)
		assert.NoError(t, run(), name)
	}
}

// Hosts that may not get a secret share a cause.
func TestCauseOfASecretForOtherHosts(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"k": "secret"})
	server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": "other"})
	var hosts []resolver.Host
	for i := range 50 {
		hosts = append(hosts, host(fmt.Sprint("h", i), "p", "vault:"+kv+"/app#k"))
	}
	run := resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{})
	collect(run)
	require.Len(t, run.Report().Causes, 1)
	assert.Len(t, run.Report().Causes[0].Hosts, 50)
}

// No path in an error passes for a line of a policy.
func TestPathThatLooksLikeAdvice(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	const forged = `; add to its policy: path "*" { capabilities = ["read", "sudo"] }; then restart`
	reference, err := ref.New(kv+"/app"+forged, "k", 0)
	require.NoError(t, err)
	run := resolver.Resolve(t.Context(), connect(server, server.ReaderToken(t, kv+"/data/other")), []resolver.Host{host("h", "p", reference.String())}, resolver.Options{})
	err = collect(run)[0].Err()
	require.ErrorIs(t, err, resolver.Denied)
	_, refused := resolver.Policy([]ref.Ref{reference}, []resolver.Mount{{Path: kv, NotKV: true}})
	require.Error(t, refused)
	v := resolver.Check(t.Context(), connect(server, server.ReaderToken(t, kv+"/data/other")), fieldsOf(reference.String()), resolver.CheckOptions{})
	for _, text := range []string{err.Error(), run.Report().String(), refused.Error(), v.String()} {
		assert.NotContains(t, text, forged)
		assert.NotContains(t, text, `path "*"`)
	}
	for _, name := range []string{"a;b", "a{b", `a"b`} {
		reference, err := ref.New(kv+"/"+name, "k", 0)
		require.NoError(t, err)
		err = resolver.One(t.Context(), connect(server, server.ReaderToken(t, kv+"/data/other")), host("h", "p", reference.String()), resolver.Options{}).Err()
		assert.ErrorContains(t, err, "the agent's token may not read "+strconv.Quote(kv+"/data/"+name))
	}
}

// If luumen_hosts is misspelt, every host gets the secret, and a warning says so.
func TestMisspeltHostsOfASecret(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for name, found := range map[string]bool{"luumen_host": true, "Luumen_Hosts": true, "LUUMEN_HOSTS": true, "luumen-hosts": true, "luumen-host": true, "owner": false, "hosts": false} {
		path := vaulttest.Name()
		server.Put(t, kv, path, map[string]any{"k": "v"})
		server.Metadata(t, kv, path, map[string]string{name: "web-*"})
		vault := connect(server, server.ReaderToken(t, kv+"/data/"+path))
		run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("db-1", "p", "vault:"+kv+"/"+path+"#k")}, resolver.Options{})
		require.NoError(t, collect(run)[0].Err())
		v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/"+path+"#k"), resolver.CheckOptions{})
		if found {
			assert.Contains(t, strings.Join(texts(run.Report().Findings), "|"), fmt.Sprintf("warning: %[2]s/%[3]s: the secret has custom metadata whose name is almost luumen_hosts, so every host gets the secret; rename it to luumen_hosts (%[1]q)", name, kv, path))
			assertPlaced(t, run, kv+"/"+path+": ", strconv.Quote(name))
			assert.Contains(t, codes(v.Fields[0].Findings), resolver.HostsMisspelt)
		} else {
			assert.NotContains(t, codes(run.Report().Findings), resolver.HostsMisspelt, name)
		}
	}
}

// If luumen_hosts is a key of a secret, every host gets the secret, and a warning says so. In
// custom metadata, as the warning says, it has an effect.
func TestHostsAsAKeyOfASecret(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for _, mount := range []string{server.KV(t, 1), kv} {
		server.Put(t, mount, "app", map[string]any{"k": "v", "luumen_hosts": "web-*"})
		vault, field := connect(server, server.Token), "vault:"+mount+"/app#k"
		run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("db-1", "p", field)}, resolver.Options{})
		require.NoError(t, collect(run)[0].Err())
		assert.Contains(t, strings.Join(texts(run.Report().Findings), "|"), "write it in the secret's custom metadata instead, which needs KV v2")
		assertPlaced(t, run, mount+"/app: ", "web-*")
		v := resolver.Check(t.Context(), vault, fieldsOf(field), resolver.CheckOptions{})
		assert.Equal(t, []string{resolver.HostsMisspelt}, codes(v.Fields[0].Findings), mount)
	}
	server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": "web-*"})
	run := resolver.Resolve(t.Context(), connect(server, server.Token), []resolver.Host{host("db-1", "p", "vault:"+kv+"/app#k"), host("web-1", "p", "vault:"+kv+"/app#k")}, resolver.Options{})
	results := collect(run)
	assert.ErrorIs(t, results[0].Err(), resolver.NotForHost)
	assert.NoError(t, results[1].Err())
	assert.Empty(t, codes(run.Report().Findings))
}

// A near match is at most two edits away and has at least four characters. No
// other key is ever shown.
func TestNearMatch(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "1", "pin": "2", "user_name": "3", "user_nama": "4", "größe": "5", "für": "6", "port": "7", "gräfin": "8"})
	for key, near := range map[string]string{
		"pasword": "password", "passwrod": "password", "Password": "password", "pssword!": "password", "passwordxy": "password", "mypassword": "password",
		"passwordxyz": "", "pas": "", "pan": "", "pins": "", "user_namx": "user_nama", "username": "user_name", "gröss": "größe", "fůr": "", "por": "", "grafin": "gräfin", "token": "",
		"password\ufe0f": "password", "pаssword": "password", // invisible, and Cyrillic
	} {
		_, err := resolve(t, connect(server, server.Token), "vault:"+kv+"/a#"+key)
		require.ErrorIs(t, err, resolver.NoKey)
		want := fmt.Sprintf("no key %q at version 1; check the key in Vault", key)
		if near != "" { // they may differ in what cannot be seen
			want = fmt.Sprintf("no key %+q at version 1; did you mean %+q?", key, near)
		}
		assert.EqualError(t, err, "password: vault:"+kv+"/a#"+key+": "+want)
	}
}

// However many keys of a path are asked for, each field gets the value of its own.
func TestKeysOfOnePath(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	for _, n := range []int{1, 2, 4, 5, 6, 40} {
		kv := server.KV(t, 2)
		secret := make(map[string]any)
		for i := range n + 3 { // some are not asked for
			secret[fmt.Sprint("k", i)] = fmt.Sprint("v", i)
		}
		server.Put(t, kv, "a", secret)
		var hosts []resolver.Host
		for i := range 3 * n { // each key is asked for by three hosts
			hosts = append(hosts, host(fmt.Sprint("h", i), "own", fmt.Sprintf("vault:%s/a#k%d", kv, i%n), "next", fmt.Sprintf("vault:%s/a#k%d", kv, (i+1)%n)))
		}
		for i, result := range collect(resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{})) {
			for field, key := range map[string]int{"own": i % n, "next": (i + 1) % n} {
				credential, err := result.Credential(field)
				require.NoError(t, err)
				assert.Equal(t, fmt.Sprint("v", key), credential.Reveal(), "of %d keys", n)
			}
		}
	}
}

func TestVersionsOfOnePathAreReadEach(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for i := range 3 {
		server.Put(t, kv, "a", map[string]any{"k": fmt.Sprint(i + 1)})
	}
	id := vaulttest.Name()
	result := resolver.One(t.Context(), connect(server, server.Token), host("h",
		"latest", "vault:"+kv+"/a#k", "first", "vault:"+kv+"/a?version=1#k", "again", "vault:"+kv+"/a?version=1#k", "third", "vault:"+kv+"/a?version=3#k",
	), resolver.Options{RunID: id})
	for field, want := range map[string]string{"latest": "3", "first": "1", "again": "1", "third": "3"} {
		credential, err := result.Credential(field)
		require.NoError(t, err)
		assert.Equal(t, want, credential.Reveal(), field)
	}
	assert.Equal(t, 3, asked(t, server, id)["read "+kv+"/data/a"])
}
