package resolver_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// desk is what a person can change outside of Vault: the settings and the field in the
// UI, and the variables on the Patch server.
type desk struct {
	auth.Settings
	v        map[string]string
	field    ref.Value
	host     string
	patience time.Duration // of a run; 0 means the default
}

func (d *desk) vault() *auth.Vault {
	return auth.New(d.Settings, environment(maps.Clone(d.v)))
}

func (d *desk) run(t *testing.T) error {
	t.Helper()
	hosts := []resolver.Host{{Name: d.host, Fields: map[string]ref.Value{"password": d.field}}}
	run := resolver.Resolve(t.Context(), d.vault(), hosts, resolver.Options{Patience: d.patience})
	result := collect(run)[0]
	if result.Err() == nil {
		credential, err := result.Credential("password")
		require.NoError(t, err)
		assert.Equal(t, "right", credential.Reveal())
	}
	return result.Err()
}

// advice is a text that says what to do. provoke causes the error on a working desk, and
// returns a func that follows the advice.
type advice struct {
	name    string
	kind    resolver.Kind
	says    string // a part of the error: what to do, after a reason that shows which one it is
	provoke func(t *testing.T, d *desk) (follow func())
	next    resolver.Kind // of the next error, where there is more to do; "" means that the host is served
}

// waitedOut are the kinds of error for which a run waits until patience ends.
var waitedOut = []resolver.Kind{resolver.Unreachable, resolver.Sealed, resolver.RateLimited}

// prove provokes each error, follows its advice, and checks that the host is resolved. A
// check must report the same error as the run.
func prove(t *testing.T, newDesk func(t *testing.T) *desk, all []advice) {
	t.Helper()
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			d := newDesk(t)
			require.NoError(t, d.run(t), "before")
			follow := a.provoke(t, d)
			if d.patience == 0 && slices.Contains(waitedOut, a.kind) {
				d.patience = brief
			}
			err := d.run(t)
			require.ErrorIs(t, err, a.kind)
			require.ErrorContains(t, err, a.says)
			assert.NotContains(t, err.Error(), "\n")
			v := resolver.Check(t.Context(), d.vault(), []ref.Value{d.field}, resolver.CheckOptions{Host: d.host, Patience: brief})
			assert.Equal(t, a.kind, v.Fields[0].Kind, "%s", v)
			if strings.HasPrefix(a.says, "omit data/") || strings.HasPrefix(a.says, "omit metadata/") {
				assert.Contains(t, v.Fields[0].Fix, a.says, "the person who typed the path sees the UI alone")
			}
			t.Log(err)
			d.patience = 0
			follow()
			err = d.run(t)
			if a.next == "" {
				require.NoError(t, err, "after %s", a.says)
				return
			}
			require.ErrorIs(t, err, a.next)
			t.Log(err)
		})
	}
}

// withToken is a desk with a token that may read one secret of its own.
func withToken(server *vaulttest.Server) func(t *testing.T) *desk {
	return func(t *testing.T) *desk {
		t.Helper()
		kv := server.KV(t, 2)
		server.Put(t, kv, "app", map[string]any{"password": "right"})
		return &desk{
			Settings: auth.Settings{Address: server.Address},
			v: map[string]string{"VAULT_CACERT": server.CAFile,
				"VAULT_TOKEN": server.NewToken(t, map[string]any{"policies": []string{"default", server.Policy(t, `path "`+kv+`/data/app" { capabilities = ["read"] }`)}, "ttl": "999h"})},
			field: ref.Parse("vault:" + kv + "/app#password"),
			host:  "db-1",
		}
	}
}

// mount is that of the desk's field.
func (d *desk) mount() string {
	mount, _, _ := strings.Cut(d.field.Ref().Path(), "/")
	return mount
}

// lineIn is the policy line that an error suggests.
func lineIn(t *testing.T, err error) string {
	t.Helper()
	_, line, ok := strings.Cut(err.Error(), `path "`)
	require.True(t, ok, "%s", err)
	line, _, ok = strings.Cut(line, "}")
	require.True(t, ok)
	return `path "` + line + "}"
}

// inFront is a proxy in front of a server that changes requests.
func inFront(t *testing.T, server *vaulttest.Server, change func(r *http.Request)) (address string) {
	t.Helper()
	target, err := url.Parse(server.Address)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	proxy.Transport = transport
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.Close()
		transport.CloseIdleConnections()
	})
	return front.URL
}

// Not proven here: the version of a mount in a namespace, which this Vault does not have,
// and advice to repair the server (a cluster without a leader, a dead audit device, a
// mount being upgraded). For the latter see TestCluster, TestUnwell and package transport.
func TestAdviceAboutPaths(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	// The token's policies are by name, so a policy can be rewritten under it.
	granted := func(t *testing.T, d *desk, hcl string) (policy string) {
		policy = server.Policy(t, hcl)
		d.v["VAULT_TOKEN"] = server.NewToken(t, map[string]any{"policies": []string{"default", policy}, "ttl": "999h"})
		return policy
	}
	set := func(t *testing.T, policy, hcl string) {
		server.Must(t, http.MethodPut, "sys/policies/acl/"+policy, map[string]any{"policy": hcl})
	}
	reading := func(d *desk) string { return `path "` + d.mount() + `/data/*" { capabilities = ["read"] }` }
	typed := func(wrong, right func(d *desk) string) func(*testing.T, *desk) func() {
		return func(_ *testing.T, d *desk) func() {
			good := right(d)
			d.field = ref.Parse(wrong(d))
			return func() { d.field = ref.Parse(good) }
		}
	}
	field := func(format string) func(d *desk) string {
		return func(d *desk) string { return fmt.Sprintf(format, d.mount()) }
	}
	prove(t, withToken(server), []advice{
		{"denied", resolver.Denied, "; add to its policy: ", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "`+d.mount()+`/data/other" { capabilities = ["read"] }`)
			return func() { set(t, policy, lineIn(t, d.run(t))) }
		}, ""},
		{"denied by min_wrapping_ttl", resolver.Denied, "if a policy already has this line, it has wrapping or parameter conditions (min_wrapping_ttl", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "`+d.mount()+`/data/app" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "5m" }`)
			return func() { set(t, policy, lineIn(t, d.run(t))) }
		}, ""},
		{"denied by required_parameters", resolver.Denied, "if a policy already has this line, it has wrapping or parameter conditions", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "`+d.mount()+`/data/app" { capabilities = ["read"] required_parameters = ["reason"] }`)
			return func() { set(t, policy, lineIn(t, d.run(t))) }
		}, ""},
		{"denied by min_wrapping_ttl on a glob", resolver.Denied, "min_wrapping_ttl", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "`+d.mount()+`/*" { capabilities = ["read"] min_wrapping_ttl = "1s" }`)
			return func() { set(t, policy, strings.Replace(reading(d), `/data/*`, `/*`, 1)) }
		}, ""},
		{"denied by another policy", resolver.Denied, "or one of the token's policies denies the path", func(t *testing.T, d *desk) func() {
			denying := server.Policy(t, `path "`+d.mount()+`/data/app" { capabilities = ["deny"] }`)
			d.v["VAULT_TOKEN"] = server.NewToken(t, map[string]any{"policies": []string{"default", denying, server.Policy(t, reading(d))}, "ttl": "999h"})
			return func() { set(t, denying, `path "nothing" { capabilities = ["read"] }`) }
		}, ""},
		{"denied by the same policy", resolver.Denied, "or one of the token's policies denies the path", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, reading(d)+"\n"+`path "`+d.mount()+`/data/app" { capabilities = ["deny"] }`)
			return func() { set(t, policy, reading(d)) }
		}, ""},
		{"denied by the same policy, which shows no mount", resolver.Denied, "if a policy already has this line, one of the token's policies denies the path", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "nothing" { capabilities = ["read"] }`+"\n"+`path "`+d.mount()+`/data/app" { capabilities = ["read", "deny"] }`)
			return func() { set(t, policy, lineIn(t, d.run(t))) }
		}, ""},
		{"no mount to see", resolver.Denied, "no mount for", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "nothing" { capabilities = ["read"] }`)
			return func() { set(t, policy, lineIn(t, d.run(t))) }
		}, ""},
		{"no mount to see but another", resolver.Denied, "then add to its policy: ", func(t *testing.T, d *desk) func() {
			other := server.KV(t, 1)
			policy := granted(t, d, `path "`+other+`/x" { capabilities = ["read"] }`)
			return func() { set(t, policy, lineIn(t, d.run(t))) }
		}, ""},
		{"no mount, by a root token", resolver.Denied, "/app; check the path, and that its mount exists (vault secrets list -detailed)", func(t *testing.T, d *desk) func() {
			d.v["VAULT_TOKEN"] = server.Token
			return typed(field("vault:no-%s/app#password"), field("vault:%s/app#password"))(t, d)
		}, ""},
		{"data/ typed along, denied", resolver.Denied, "omit data/ from the path", typed(field("vault:%s/data/app#password"), field("vault:%s/app#password")), ""},
		{"data/ typed along, not found", resolver.NotFound, "omit data/ from the path", func(t *testing.T, d *desk) func() {
			granted(t, d, reading(d))
			return typed(field("vault:%s/data/app#password"), field("vault:%s/app#password"))(t, d)
		}, ""},
		{"data/ typed along, which shows no mount", resolver.Denied, "omit data/ from the path", func(t *testing.T, d *desk) func() {
			policy := granted(t, d, `path "nothing" { capabilities = ["read"] }`)
			follow := typed(field("vault:%s/data/app#password"), field("vault:%s/app#password"))(t, d)
			return func() { set(t, policy, reading(d)); follow() }
		}, ""},
		{"metadata/ typed along, denied", resolver.Denied, "omit metadata/ from the path", typed(field("vault:%s/metadata/app#password"), field("vault:%s/app#password")), ""},
		{"metadata/ typed along, not found", resolver.NotFound, "omit metadata/ from the path", func(t *testing.T, d *desk) func() {
			granted(t, d, reading(d))
			return typed(field("vault:%s/metadata/app#password"), field("vault:%s/app#password"))(t, d)
		}, ""},
		{"data/ typed along, pinned", resolver.NoVersion, "omit data/ from the path", func(t *testing.T, d *desk) func() {
			granted(t, d, reading(d))
			return typed(field("vault:%s/data/app?version=1#password"), field("vault:%s/app?version=1#password"))(t, d)
		}, ""},
		{"not found", resolver.NotFound, "vault has no secret at ", func(t *testing.T, d *desk) func() {
			granted(t, d, reading(d))
			return typed(field("vault:%s/ap#password"), field("vault:%s/app#password"))(t, d)
		}, ""},
		{"a mount", resolver.NotFound, "write the path of the secret below it", func(t *testing.T, d *desk) func() {
			nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
			server.Put(t, nested, "app", map[string]any{"password": "right"})
			granted(t, d, `path "`+nested+`/data/app" { capabilities = ["read"] }`)
			d.field = ref.Parse("vault:" + nested + "#password")
			return func() { d.field = ref.Parse("vault:" + nested + "/app#password") }
		}, ""},
		{"deleted", resolver.Deleted, "or restore it with vault kv undelete", func(t *testing.T, d *desk) func() {
			server.Delete(t, d.mount(), "app")
			return func() {
				server.Must(t, http.MethodPut, d.mount()+"/undelete/app", map[string]any{"versions": []int{1}})
			}
		}, ""},
		{"deleted, written again", resolver.Deleted, "write the secret again, or", func(t *testing.T, d *desk) func() {
			server.Delete(t, d.mount(), "app")
			return func() { server.Put(t, d.mount(), "app", map[string]any{"password": "right"}) }
		}, ""},
		{"destroyed", resolver.Deleted, "is destroyed; write the secret again", func(t *testing.T, d *desk) func() {
			server.Destroy(t, d.mount(), "app", 1)
			return func() { server.Put(t, d.mount(), "app", map[string]any{"password": "right"}) }
		}, ""},
		{"deleted, and pinned", resolver.Deleted, "; omit the version, or pin another one, or restore it with ", func(t *testing.T, d *desk) func() {
			server.Put(t, d.mount(), "app", map[string]any{"password": "right"})
			server.Must(t, http.MethodPut, d.mount()+"/delete/app", map[string]any{"versions": []int{1}})
			d.field = ref.Parse("vault:" + d.mount() + "/app?version=1#password")
			return func() { d.field = ref.Parse("vault:" + d.mount() + "/app#password") }
		}, ""},
		{"destroyed, and pinned", resolver.Deleted, "is destroyed; omit the version, or pin another one", func(t *testing.T, d *desk) func() {
			server.Put(t, d.mount(), "app", map[string]any{"password": "right"})
			server.Destroy(t, d.mount(), "app", 1)
			d.field = ref.Parse("vault:" + d.mount() + "/app?version=1#password")
			return func() { d.field = ref.Parse("vault:" + d.mount() + "/app?version=2#password") }
		}, ""},
		{"a version that is not there", resolver.NoVersion, "check the pinned version, or omit it", typed(field("vault:%s/app?version=7#password"), field("vault:%s/app#password")), ""},
		{"a version of KV v1", resolver.NoVersion, "omit the version, or upgrade the mount to KV v2", func(t *testing.T, d *desk) func() {
			v1 := server.KV(t, 1)
			server.Put(t, v1, "app", map[string]any{"password": "right"})
			granted(t, d, `path "`+v1+`/app" { capabilities = ["read"] }`)
			d.field = ref.Parse("vault:" + v1 + "/app?version=1#password")
			return func() { d.field = ref.Parse("vault:" + v1 + "/app#password") }
		}, ""},
		{"the other KV version, where the list is blocked", resolver.KVVersion, "correct kv_version in the settings, or let", func(t *testing.T, d *desk) func() {
			granted(t, d, `path "`+d.mount()+`/*" { capabilities = ["read"] }`)
			d.Address, d.KVVersion = behind(t, server, blocked), "v1"
			return func() { d.KVVersion = "v2" }
		}, ""},
		{"the other KV version, where the list is blocked, and passed", resolver.KVVersion, "or let every proxy and rate limit pass sys/internal/ui/mounts", func(t *testing.T, d *desk) func() {
			granted(t, d, `path "`+d.mount()+`/*" { capabilities = ["read"] }`)
			d.Address, d.KVVersion = behind(t, server, blocked), "v1"
			return func() { d.Address = server.Address }
		}, ""},
		{"the other KV version, where the list is blocked and the policy strict", resolver.Denied, "is not KV v1, correct kv_version in the settings", func(t *testing.T, d *desk) func() {
			d.Address, d.KVVersion = behind(t, server, blocked), "v1"
			return func() { d.KVVersion = "v2" }
		}, ""},
		{"data/ typed along, where the list is blocked and kv_version wrong", resolver.NoKey, "is not KV v1, correct kv_version in the settings, and omit data/ from the path", func(t *testing.T, d *desk) func() {
			d.Address, d.KVVersion, d.Mounts = behind(t, server, blocked), "v1", []string{d.mount()} // for OpenBao
			follow := typed(field("vault:%s/data/app#password"), field("vault:%s/app#password"))(t, d)
			return func() { d.KVVersion = "v2"; follow() }
		}, ""},
		{"the same, for a key that KV v2 adds", resolver.BadValue, "is not KV v1, correct kv_version in the settings, and omit data/ from the path", func(t *testing.T, d *desk) func() {
			d.Address, d.KVVersion, d.Mounts = behind(t, server, blocked), "v1", []string{d.mount()} // for OpenBao
			follow := typed(field("vault:%s/data/app#data"), field("vault:%s/app#password"))(t, d)
			return func() { d.KVVersion = "v2"; follow() }
		}, ""},
		{"KV v1 read as v2, where the list is blocked", resolver.NotFound, "check the path, and that the mount", func(t *testing.T, d *desk) func() {
			v1 := server.KV(t, 1)
			server.Put(t, v1, "app", map[string]any{"password": "right"})
			granted(t, d, `path "`+v1+`/*" { capabilities = ["read"] }`)
			d.Address, d.field = behind(t, server, blocked), ref.Parse("vault:"+v1+"/app#password")
			return func() { d.KVVersion = "v1" }
		}, ""},
		{"a nested mount, where the list is blocked", resolver.Denied, "is a guess: if it is wrong, name the mount in the settings", func(t *testing.T, d *desk) func() {
			nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
			server.Put(t, nested, "app", map[string]any{"password": "right"})
			granted(t, d, `path "`+nested+`/data/app" { capabilities = ["read"] }`)
			d.Address, d.field = behind(t, server, blocked), ref.Parse("vault:"+nested+"/app#password")
			return func() { d.Mounts = []string{nested} }
		}, ""},
		{"a nested mount, where the list is blocked and the policy is wide", resolver.NotFound, "name the mount in the settings", func(t *testing.T, d *desk) func() {
			nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
			server.Put(t, nested, "app", map[string]any{"password": "right"})
			granted(t, d, `path "team-*" { capabilities = ["read"] }`)
			d.Address, d.field = behind(t, server, blocked), ref.Parse("vault:"+nested+"/app#password")
			return func() { d.Mounts = []string{nested} }
		}, ""},
		{"not KV", resolver.NotKV, "name a secret in a KV mount", func(t *testing.T, d *desk) func() {
			transit := "transit-" + vaulttest.Name()
			server.Must(t, http.MethodPost, "sys/mounts/"+transit, map[string]any{"type": "transit"})
			good := d.field
			granted(t, d, reading(d)+"\n"+`path "`+transit+`/*" { capabilities = ["read"] }`)
			d.field = ref.Parse("vault:" + transit + "/keys/app#name")
			return func() { d.field = good }
		}, ""},
		{"not for this host", resolver.NotForHost, "or add a glob for the host to luumen_hosts in its custom metadata", func(t *testing.T, d *desk) func() {
			server.Metadata(t, d.mount(), "app", map[string]string{"luumen_hosts": "web-*"})
			return func() {
				server.Metadata(t, d.mount(), "app", map[string]string{"luumen_hosts": "web-*, db-*"})
			}
		}, ""},
		{"a key misspelt", resolver.NoKey, `did you mean "password"?`, typed(field("vault:%s/app#pasword"), field("vault:%s/app#password")), ""},
		{"a key of another secret", resolver.NoKey, "check the key in Vault", typed(field("vault:%s/app#certificate"), field("vault:%s/app#password")), ""},
		{"a key with a space behind it", resolver.NoKey, `did you mean "password "? no reference can name it: rename the key in Vault`, func(t *testing.T, d *desk) func() {
			server.Put(t, d.mount(), "app", map[string]any{"password ": "right"})
			return func() { server.Put(t, d.mount(), "app", map[string]any{"password": "right"}) }
		}, ""},
		{"a key with a no-break space before it", resolver.NoKey, `did you mean "\u00a0password"? no reference can name it: rename the key in Vault`, func(t *testing.T, d *desk) func() {
			server.Put(t, d.mount(), "app", map[string]any{"\u00a0password": "right"})
			return func() { server.Put(t, d.mount(), "app", map[string]any{"password": "right"}) }
		}, ""},
		{"a key with a zero-width space in it", resolver.NoKey, `did you mean "pass\u200bword"? no reference can name it: rename the key in Vault`, func(t *testing.T, d *desk) func() {
			server.Put(t, d.mount(), "app", map[string]any{"pass\u200bword": "right"})
			return func() { server.Put(t, d.mount(), "app", map[string]any{"password": "right"}) }
		}, ""},
		{"a key with a letter of another alphabet", resolver.NoKey, `did you mean "p\u0430ssword"?`, func(t *testing.T, d *desk) func() {
			server.Put(t, d.mount(), "app", map[string]any{"pаssword": "right"})
			return func() { d.field = ref.Parse("vault:" + d.mount() + "/app#p\u0430ssword") }
		}, ""},
		{"an empty value", resolver.BadValue, "is empty; store a non-empty string, a number or a boolean", stored(server, ""), ""},
		{"null", resolver.BadValue, "is null; store a non-empty string, a number or a boolean", stored(server, nil), ""},
		{"an object", resolver.BadValue, "is an object; store a non-empty string, a number or a boolean", stored(server, map[string]any{"a": "b"}), ""},
		{"a list", resolver.BadValue, "is a list; store a non-empty string, a number or a boolean", stored(server, []string{"a"}), ""},
		{"a path that Vault refuses", resolver.ServerError, "); check the path", refusedPath(server, "a..b"), ""},
		{"a path that Vault refuses, for its end", resolver.ServerError, "); check the path", refusedPath(server, "team/app.."), ""},
		{"a path that Vault refuses, for its beginning", resolver.ServerError, "); check the path", refusedPath(server, "...app"), ""},
		{"a version behind the key", resolver.BadReference, "a version goes before the #", typed(field("vault:%s/app#password#1"), field("vault:%s/app?version=1#password")), ""},
		{"a version behind the key, of two digits", resolver.BadReference, "a version goes before the #", typed(field("vault:%s/app#password#12"), field("vault:%s/app?version=1#password")), ""},
		{"no key", resolver.BadReference, "no # and key after the path", typed(field("vault:%s/app"), field("vault:%s/app#password")), ""},
		{"the mark in capitals", resolver.BadReference, "", typed(field("Vault:%s/app#password"), field("vault:%s/app#password")), ""},
		{"a slash too many", resolver.BadReference, "", typed(field("vault:%s//app#password"), field("vault:%s/app#password")), ""},
		{"a space behind the key", resolver.BadReference, "", typed(field("vault:%s/app#password "), field("vault:%s/app#password")), ""},
		{"an answer that is not wanted wrapped", resolver.BadResponse, "wraps its answers; remove wrapping from the proxy in front of Vault", func(t *testing.T, d *desk) func() {
			good := d.Address
			d.Address = inFront(t, server, func(r *http.Request) {
				if strings.Contains(r.URL.Path, "/data/") {
					r.Header.Set("X-Vault-Wrap-TTL", "60")
				}
			})
			return func() { d.Address = good }
		}, ""},
	})
}

// stored writes a value, and then a good one.
func stored(server *vaulttest.Server, value any) func(*testing.T, *desk) func() {
	return func(t *testing.T, d *desk) func() {
		server.Put(t, d.mount(), "app", map[string]any{"password": value})
		return func() { server.Put(t, d.mount(), "app", map[string]any{"password": "right"}) }
	}
}

// refusedPath is a path to which Vault itself answers 400.
func refusedPath(server *vaulttest.Server, path string) func(*testing.T, *desk) func() {
	return func(t *testing.T, d *desk) func() {
		v1 := server.KV(t, 1)
		server.Put(t, v1, "app", map[string]any{"password": "right"})
		d.v["VAULT_TOKEN"] = server.NewToken(t, map[string]any{"policies": []string{"default", server.Policy(t, `path "`+v1+`/*" { capabilities = ["read"] }`)}, "ttl": "999h"})
		d.field = ref.Parse("vault:" + v1 + "/" + path + "#password")
		return func() { d.field = ref.Parse("vault:" + v1 + "/app#password") }
	}
}
