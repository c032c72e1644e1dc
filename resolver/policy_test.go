package resolver_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

func TestPolicy(t *testing.T) {
	t.Parallel()
	const (
		kv   = `# Assumes that "kv" is a KV v2 mount. If it is not, correct its lines below.` + "\n"
		read = " { capabilities = [\"read\"] }\n"
	)
	for _, test := range []struct {
		name   string
		paths  []string
		mounts []resolver.Mount
		want   string
	}{
		{"nothing", nil, nil, ""},
		{"v2", []string{"kv/app"}, []resolver.Mount{{Path: "kv", Version: 2}}, `path "kv/data/app"` + read},
		{"v1", []string{"kv/app"}, []resolver.Mount{{Path: "kv", Version: 1}}, `path "kv/app"` + read},
		{"v2 if no version is given", []string{"kv/app"}, []resolver.Mount{{Path: "kv"}}, `path "kv/data/app"` + read},
		{"as settings write a mount", []string{"team/kv/app"}, []resolver.Mount{{Path: "team/kv/", Version: 2}}, `path "team/kv/data/app"` + read},
		{"nested", []string{"team/kv/a/b"}, []resolver.Mount{{Path: "kv", Version: 1}, {Path: "team/kv", Version: 2}}, `path "team/kv/data/a/b"` + read},
		{"a mount is no mere prefix", []string{"kvx/app"}, []resolver.Mount{{Path: "kv", Version: 1}, {Path: "kvx", Version: 2}}, `path "kvx/data/app"` + read},
		{"data below v2", []string{"kv/data/app"}, []resolver.Mount{{Path: "kv", Version: 2}}, `path "kv/data/data/app"` + read},
		{"data in a name", []string{"kv/dataface/app"}, []resolver.Mount{{Path: "kv", Version: 2}}, `path "kv/data/dataface/app"` + read},
		{"sorted, each once", []string{"kv/b", "kv/a", "kv/b"}, []resolver.Mount{{Path: "kv", Version: 1}}, `path "kv/a"` + read + `path "kv/b"` + read},
		{"guessed", []string{"kv/b", "kv/a"}, nil, kv + `path "kv/data/a"` + read + `path "kv/data/b"` + read},
		{"guessed, of the settings' version", []string{"kv/a"}, []resolver.Mount{{Path: "kv", Version: 1, Guessed: true}},
			`# Assumes that "kv" is a KV v1 mount. If it is not, correct its lines below.` + "\n" + `path "kv/a"` + read},
		{"known rather than guessed", []string{"kv/a"}, []resolver.Mount{{Path: "kv", Version: 1, Guessed: true}, {Path: "kv", Version: 2}}, `path "kv/data/a"` + read},
		{"one path of two mounts", []string{"team/kv", "team/data/kv"}, []resolver.Mount{{Path: "team/data", Version: 1}}, `path "team/data/kv"` + read},
		{"one path of two guesses", []string{"team/kv", "team/data/kv"}, []resolver.Mount{{Path: "team/data", Version: 1, Guessed: true}},
			`# Assumes that "team" is a KV v2 mount. If it is not, correct its lines below.` + "\n" + `path "team/data/kv"` + read},
		{"quotes and backslashes", []string{`kv/a"b\c`, `kv/" { capabilities = ["sudo"] } path "x`}, []resolver.Mount{{Path: "kv", Version: 1}},
			`path "kv/\" { capabilities = [\"sudo\"] } path \"x"` + read + `path "kv/a\"b\\c"` + read},
		{"what HCL would read as code", []string{"kv/${a", "kv/$${b}"}, []resolver.Mount{{Path: "kv", Version: 1}},
			`path "kv/$$\u007bb}"` + read + `path "kv/$\u007ba"` + read},
		{"a namespace below the token's, for guesses too", []string{"kv/a", "other/x"}, []resolver.Mount{{Path: "kv", Version: 2, Namespace: "child"}},
			`path "child/kv/data/a"` + read + `# Assumes that "other" is a KV v2 mount. If it is not, correct its lines below.` + "\n" + `path "child/other/data/x"` + read},
		{"a quote in a guess", []string{`k"v/a`}, nil,
			`# Assumes that "k\"v" is a KV v2 mount. If it is not, correct its lines below.` + "\n" + `path "k\"v/data/a"` + read},
		{"stars and pluses that are literal", []string{"kv/a*b/p+q", "kv/+x", "kv/x+"}, []resolver.Mount{{Path: "kv", Version: 1}},
			`path "kv/+x"` + read + `path "kv/a*b/p+q"` + read + `path "kv/x+"` + read},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := resolver.Policy(references(t, test.paths...), test.mounts)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			slices.Reverse(test.paths)
			again, err := resolver.Policy(references(t, test.paths...), test.mounts)
			require.NoError(t, err)
			assert.Equal(t, got, again, "the order of the references is of no account")
		})
	}
}

// Policies have no escapes. References that they would misread are errors, and the others
// are granted.
func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	kv := []resolver.Mount{{Path: "kv", Version: 2}}
	for _, test := range []struct{ path, want string }{
		{"kv/a*", "vault:kv/a*#password: no policy can name this path alone, because Vault reads the * at its end as a wildcard; move the secret to another path"},
		{"kv/*", "the * at its end"},
		{`kv/a\*`, "the * at its end"},
		{"kv/+", "a segment + as a wildcard"},
		{"kv/+/a", "a segment + as a wildcard"},
		{"+/a", "a segment + as a wildcard"},
		{"kv/a+*b", "+* as a mistake"},
		{"kv/{{a", "{{ and }} as a template"},
		{"kv/{{identity.entity.id}}/a", "{{ and }} as a template"},
		{"kv/a}}", "{{ and }} as a template"},
	} {
		t.Run(test.path, func(t *testing.T) {
			t.Parallel()
			policy, err := resolver.Policy(references(t, "kv/fine", test.path), kv)
			require.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, references(t, test.path)[0].String())
			assert.Equal(t, `path "kv/data/fine" { capabilities = ["read"] }`+"\n", policy)
		})
	}
	t.Run("a path that may lead to a token", func(t *testing.T) {
		t.Parallel()
		policy, err := resolver.Policy(references(t, "team/auth/approle/role/x/role-id", "team/identity/oidc/token/x"), nil)
		assert.ErrorContains(t, err, "it may lead to a token, not to a secret")
		assert.Empty(t, policy)
	})
	t.Run("a namespace", func(t *testing.T) {
		t.Parallel()
		policy, err := resolver.Policy(references(t, "kv/a"), []resolver.Mount{{Path: "kv", Version: 2, Namespace: "team/+"}})
		assert.ErrorContains(t, err, "a segment + as a wildcard")
		assert.Empty(t, policy)
	})
	t.Run("a mount itself", func(t *testing.T) {
		t.Parallel()
		_, err := resolver.Policy(references(t, "team/kv"), []resolver.Mount{{Path: "team/kv", Version: 2}})
		assert.EqualError(t, err, "vault:team/kv#password: it names a mount, not a secret; write the path of the secret below it")
	})
	t.Run("no reference", func(t *testing.T) {
		t.Parallel()
		policy, err := resolver.Policy(append(references(t, "kv/a"), ref.Ref{}), kv)
		require.NoError(t, err)
		assert.Equal(t, "path \"kv/data/a\" { capabilities = [\"read\"] }\n", policy)
	})
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		_, err := resolver.Policy(references(t, "kv/a*", "kv/b*"), kv)
		require.ErrorContains(t, err, "vault:kv/a*#")
		assert.ErrorContains(t, err, "vault:kv/b*#")
	})
}

// granted parses a policy with Vault's own parser, and returns its paths.
func granted(t testing.TB, policy string) []string {
	t.Helper()
	file, err := hcl.Parse(policy)
	require.NoError(t, err, "%q", policy)
	var paths []string
	for _, item := range file.Node.(*ast.ObjectList).Items {
		require.Len(t, item.Keys, 2, "%q", policy)
		require.Equal(t, "path", item.Keys[0].Token.Value(), "%q", policy)
		var block struct{ Capabilities []string }
		require.NoError(t, hcl.DecodeObject(&block, item.Val), "%q", policy)
		require.Equal(t, []string{"read"}, block.Capabilities, "%q", policy)
		require.Len(t, item.Val.(*ast.ObjectType).List.Items, 1, "%q", policy)
		paths = append(paths, item.Keys[1].Token.Value().(string))
	}
	return paths
}

// A policy grants exactly the paths of its references, whatever they and the mounts hold.
func FuzzPolicy(f *testing.F) {
	f.Add("kv/app", "team/kv/app", "team/kv", 2)
	f.Add(`kv/a"b\`, "kv/${x", "kv", 1)
	f.Add(`kv/\${"`, `kv/" { capabilities = ["sudo"] } #`, "kv\n}", 0)
	f.Add("kv/$${", "kv/}}", "", 2)
	f.Add("kv/a+*", "kv/é/\U0001F600/+", "kv/é", 2)
	f.Add(`kv/\u0022`, `kv/\x22 // /* `, "kv/", -1)
	f.Fuzz(func(t *testing.T, one, two, mount string, version int) {
		var references []ref.Ref
		for _, path := range []string{one, two} {
			if r, err := ref.New(path, "k", 0); err == nil {
				references = append(references, r)
			}
		}
		policy, err := resolver.Policy(references, []resolver.Mount{{Path: mount, Version: version}})
		var want []string
		refused := 0
		for _, r := range references {
			api, ok := expected(r.Path(), strings.Trim(mount, "/"), version)
			if !ok {
				refused++
				continue
			}
			want = append(want, api)
		}
		slices.Sort(want)
		assert.Equal(t, slices.Compact(want), granted(t, policy), "%q", policy)
		assert.Equal(t, refused > 0, err != nil)
		if err != nil {
			assert.Equal(t, refused, strings.Count(err.Error(), "\n")+1, "each reference on a line")
		}
	})
}

// expected is a second implementation of the rule.
func expected(path, mount string, version int) (api string, ok bool) {
	below, inside := strings.CutPrefix(path+"/", mount+"/")
	if !inside || mount == "" {
		mount, below, _ = strings.Cut(path+"/", "/")
		version = 2
	}
	below = strings.TrimSuffix(below, "/")
	api = mount + "/" + below
	if version != 1 {
		api = mount + "/data/" + below
	}
	misread := regexp.MustCompile(`\*$|\+\*|(^|/)\+(/|$)|\{\{|\}\}`)
	return api, below != "" && !misread.MatchString(api)
}

// Vault grants exactly the granted paths, and would misread the refused ones.
func TestPolicyAsVaultReadsIt(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 1)
	status := func(token, path string) int {
		t.Helper()
		status, _, err := server.DoAs(token, http.MethodGet, path, nil)
		require.NoError(t, err)
		return status
	}
	line := func(path string) string { return fmt.Sprintf("path %q { capabilities = [\"read\"] }", path) }
	tokenOf := func(policy string) string {
		t.Helper()
		return server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, policy)}, "no_default_policy": true})
	}

	for _, path := range []string{`a"b\c`, "${a", "$${b}", "a*b", "+x", "p+q", "é\U0001F600", `\u0041`, "a#b?c%d", "//"} {
		path = kv + "/odd/" + strings.ReplaceAll(path, "//", "c/d")
		server.Must(t, http.MethodPut, path, map[string]any{"password": "x"})
		policy, err := resolver.Policy(references(t, path), []resolver.Mount{{Path: kv, Version: 1}})
		require.NoError(t, err)
		token := tokenOf(policy)
		assert.Equal(t, http.StatusOK, status(token, path), path)
		for _, other := range []string{path + "x", kv + "/odd", kv + "/odd/A", kv + "/odd/ab", kv + "/odd/xx", kv + "/odd/x"} {
			assert.Equal(t, http.StatusForbidden, status(token, other), "%s by the policy of %s", other, path)
		}
	}

	for _, test := range []struct{ path, other string }{
		{"a*", "abc"}, {`a\*`, `a\bc`}, {"+", "any"}, {"+/a", "any/a"},
	} {
		server.Must(t, http.MethodPut, kv+"/"+test.other, map[string]any{"password": "x"})
		assert.Equal(t, http.StatusOK, status(tokenOf(line(kv+"/"+test.path)), kv+"/"+test.other), "%s grants %s", test.path, test.other)
	}
	for _, path := range []string{"a+*b", "{{a", "a}}"} {
		status, _, err := server.Do(http.MethodPut, "sys/policies/acl/"+vaulttest.Name(), map[string]any{"policy": line(kv + "/" + path)})
		require.NoError(t, err)
		assert.Equal(t, http.StatusBadRequest, status, "Vault takes no policy with %s", path)
	}
}

var suggested = regexp.MustCompile(`path ".*" \{ capabilities = \["read"\] \}`)

// With the policy, every reference resolves. Without one of its lines, exactly the hosts
// of that path are denied, and the error suggests that line.
func TestPolicyIsExact(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	team := "team-" + vaulttest.Name()
	v2, v1 := server.KV(t, 2), server.KV(t, 1)
	nested, unseen := server.KVAt(t, team+"/kv", 2), server.KVAt(t, team+"/deep/kv", 2)
	var hosts []resolver.Host
	var fields []ref.Value
	for _, path := range []string{v2 + "/a", v2 + "/b/c", v1 + "/a", v1 + `/q"uo\te`, v1 + "/${a", nested + "/a", nested + "/data/b", unseen + "/a"} {
		for _, mount := range []string{v2, v1, nested, unseen} {
			if below, ok := strings.CutPrefix(path, mount+"/"); ok {
				server.Put(t, mount, below, map[string]any{"user": "u", "password": "p"})
			}
		}
		r := references(t, path)[0]
		hosts = append(hosts, host(path, "password", r.String()))
		fields = append(fields, ref.Parse(r.String()))
	}
	settings := auth.Settings{Address: server.Address, Mounts: []string{unseen + "/"}}
	vaultWith := func(policy string) *auth.Vault {
		t.Helper()
		token := server.NewToken(t, map[string]any{"policies": []string{server.Policy(t, policy)}, "no_default_policy": true})
		return auth.New(settings, environment(map[string]string{"VAULT_TOKEN": token}))
	}
	var all []ref.Ref
	for _, field := range fields {
		all = append(all, field.Ref())
	}

	// The mounts come from a check by somebody who may see them.
	seen := resolver.Check(t.Context(), auth.New(settings, environment(map[string]string{"VAULT_TOKEN": server.Token})), fields, resolver.CheckOptions{})
	policy, err := resolver.Policy(all, seen.Mounts)
	require.NoError(t, err)
	require.NotContains(t, policy, "#")
	lines := strings.SplitAfter(strings.TrimSpace(policy)+"\n", "\n")
	lines = lines[:len(lines)-1]
	require.Len(t, lines, len(hosts))
	for _, result := range collect(resolver.Resolve(t.Context(), vaultWith(policy), hosts, resolver.Options{})) {
		assert.NoError(t, result.Err())
	}

	for i, line := range lines {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			others := strings.Join(slices.Concat(lines[:i], lines[i+1:]), "")
			var denied []string
			for _, result := range collect(resolver.Resolve(t.Context(), vaultWith(others), hosts, resolver.Options{})) {
				if result.Err() != nil {
					assert.ErrorIs(t, result.Err(), resolver.Denied)
					denied = append(denied, result.Err().Error())
				}
			}
			require.Len(t, denied, 1)
			suggestion := suggested.FindString(denied[0])
			assert.Equal(t, strings.TrimSpace(line), suggestion)
			for _, result := range collect(resolver.Resolve(t.Context(), vaultWith(others+suggestion), hosts, resolver.Options{})) {
				assert.NoError(t, result.Err())
			}
		})
	}
}

// A check says which mounts are guesses, and so does the policy.
func TestPolicyOfWhatACheckSaw(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "x"})
	refs := references(t, kv+"/none", kv+"/a", "unseen/kv/a")
	fields := fieldsOf(refs[0].String(), refs[1].String(), refs[2].String())
	const guessed = `# Assumes that "unseen" is a KV v1 mount. If it is not, correct its lines below.` + "\n"
	read := func(api string) string { return fmt.Sprintf("path %q { capabilities = [\"read\"] }\n", api) }
	for name, test := range map[string]struct {
		address, version string
		want             string
	}{
		"seen":                       {server.Address, "v1", read(kv+"/data/a") + read(kv+"/data/none") + guessed + read("unseen/kv/a")},
		"guessed, right by a secret": {behind(t, server, blocked), "v2", read(kv+"/data/a") + read(kv+"/data/none") + strings.Replace(guessed, "v1", "v2", 1) + read("unseen/data/kv/a")},
	} {
		t.Run(name, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			settings := auth.Settings{Address: test.address, KVVersion: test.version}
			token := server.ReaderToken(t, kv+"/data/a", kv+"/data/none")
			v := resolver.Check(t.Context(), auth.New(settings, environment(map[string]string{"VAULT_TOKEN": token})), fields, resolver.CheckOptions{})
			policy, err := resolver.Policy(refs, v.Mounts)
			require.NoError(t, err)
			assert.Equal(t, test.want, policy)
			assertRoundTrip(t, v)
		})
	}
}

// A policy that is made as the README says keeps the lines of references that cannot be
// resolved for another reason.
func TestPolicyKeepsWhatIsNotResolvedNow(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv, transit := server.KV(t, 2), "transit-"+vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/mounts/"+transit, map[string]any{"type": "transit"})
	for _, path := range []string{"gone", "app", "others"} {
		server.Put(t, kv, path, map[string]any{"password": "right"})
	}
	server.Delete(t, kv, "gone")
	server.Metadata(t, kv, "others", map[string]string{"luumen_hosts": "web-*"})
	var fields []ref.Value
	for _, path := range []string{"/gone", "/others", "/none", "/app?version=9"} {
		fields = append(fields, ref.Parse("vault:"+kv+path+"#password"))
	}
	fields = append(fields, ref.Parse("vault:"+kv+"/app#none"), ref.Parse("vault:"+transit+"/keys/a#name"), ref.Parse("vault:"))
	v := resolver.Check(t.Context(), connect(server, server.Token), fields, resolver.CheckOptions{Host: "db-1"})
	require.Equal(t, resolver.OK, v.Connection.Kind)
	var all, some []ref.Ref
	for _, field := range v.Fields {
		assert.NotEqual(t, resolver.OK, field.Kind, "%s", v)
		all = append(all, field.Ref)
		if field.Kind != resolver.NotKV {
			some = append(some, field.Ref)
		}
	}
	policy, err := resolver.Policy(some, v.Mounts)
	require.NoError(t, err)
	assert.Len(t, granted(t, policy), 4)
	same, err := resolver.Policy(all, v.Mounts)
	assert.ErrorContains(t, err, transit+" is not KV")
	assert.Equal(t, policy, same)

	server.Must(t, http.MethodPut, kv+"/undelete/gone", map[string]any{"versions": []int{1}})
	token := server.NewToken(t, map[string]any{"policies": []string{"default", server.Policy(t, policy)}})
	assert.NoError(t, resolver.One(t.Context(), connect(server, token), resolver.Host{Fields: map[string]ref.Value{"password": fields[0]}}, resolver.Options{}).Err())
}

// A line that would grant more than the path is never suggested.
func TestDeniedSuggestsNoWildcard(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	vault := connect(server, server.ReaderToken(t, kv+"/data/other"))
	for _, path := range []string{kv + "/a*", kv + "/+/a", kv + "/{{a}}", "unseen/a*"} {
		r := references(t, path)[0]
		err := resolver.One(t.Context(), vault, host("h", "password", r.String()), resolver.Options{}).Err()
		require.ErrorIs(t, err, resolver.Denied)
		assert.NotContains(t, err.Error(), "capabilities")
		assert.ErrorContains(t, err, "no policy can name this path alone")
	}
}
