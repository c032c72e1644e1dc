package resolver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// What a server says of itself or of a denial is told in the error. Run and check agree.
func TestWordsOfOtherServers(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	token := server.ReaderToken(t, kv+"/data/app")
	for _, answer := range []struct {
		name, below string // the paths that are answered so
		status      int
		words       string
		kind        resolver.Kind
		text        string
	}{
		{"a listener that trusts a balancer alone", "", 400, "missing x-forwarded-for header and configured to reject when not present", resolver.Settings, "set the address of the balancer in the settings"},
		{"a listener that skips more hops than there are", "", 400, "malformed x-forwarded-for configuration or request, hops to skip (2) would skip before earliest chain link (chain length 1)", resolver.ServerError, "compare what the proxy sends in X-Forwarded-For"},
		{"a proxy that does not know its client", "", 400, "malformed x-forwarded-for IP address unknown", resolver.ServerError, "with the options x_forwarded_for_… of Vault's listener"},
		{"a proxy without a client's certificate", "", 400, "failed to base64 decode the client certificate: illegal base64 data at input byte 0", resolver.ServerError, "or as the client's certificate"},
		{"a proxy with a certificate that is escaped otherwise", "", 400, `failed to url unescape the client certificate: invalid URL escape \"%zz\"`, resolver.ServerError, "x_forwarded_for_…"},
		{"a proxy with a certificate in another form", "", 400, "failed to parse the client certificate: x509: malformed certificate", resolver.ServerError, "x_forwarded_for_…"},
		{"an Agent without a Vault", "", 500, `failed to get the response: Get "https://127.0.0.1:1/v1/x": dial tcp 127.0.0.1:1: connect: connection refused`, resolver.Unreachable, "see its log, check the vault stanza of its configuration"},
		{"a Sentinel policy", kv, 403, "2 errors occurred:\n\t* egp standard policy \"root/business-hrs\" evaluation resulted in denial.\n\t* permission denied\n\n", resolver.Denied, "vault says: 2 errors occurred: * egp standard policy"},
	} {
		t.Run(answer.name, func(t *testing.T) {
			t.Parallel()
			address := behind(t, server, func(w http.ResponseWriter, path string) bool {
				isBelow := strings.HasPrefix(path, answer.below)
				if isBelow {
					whole(w, answer.status, fmt.Sprintf(`{"errors":[%q]}`, answer.words))
				}
				return isBelow
			})
			run := resolver.Resolve(t.Context(), vaultAt(address, token), []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{Patience: patienceFor(answer.kind)})
			err := collect(run)[0].Err()
			require.ErrorIs(t, err, answer.kind)
			assert.ErrorContains(t, err, answer.text)
			v := resolver.Check(t.Context(), vaultAt(address, token), fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{})
			assert.Equal(t, answer.kind, v.Fields[0].Kind, "%s", v)
			assert.NotContains(t, v.Fields[0].Reason+v.Fields[0].Fix, "errors occurred")
		})
	}
}

// A token of the root namespace reads in the UI's namespace: a policy of the root namespace
// names the path with the namespace before it. A Vault without namespaces ignores it.
func TestRootTokenInANamespace(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	namespace := "team" + vaulttest.Name()
	real := newNamespace(t, server, "", namespace)
	kv, at := "kv-"+vaulttest.Name(), ""
	if real {
		at = namespace + "/"
	}
	writeIn(t, server, at, kv)
	address := server.Address
	vault := func(policy string) *auth.Vault {
		token := server.NewToken(t, map[string]any{"policies": []string{"default", server.Policy(t, policy)}, "ttl": "999h"})
		return auth.New(auth.Settings{Address: address, Namespace: namespace}, environment(map[string]string{"VAULT_TOKEN": token}))
	}
	hosts := []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}
	line := func(prefix string) string {
		return fmt.Sprintf(`path "%s%s/data/app" { capabilities = ["read"] }`, prefix, kv)
	}
	err := collect(resolver.Resolve(t.Context(), vault(`path "no/matter" { capabilities = ["read"] }`), hosts, resolver.Options{}))[0].Err()
	require.ErrorIs(t, err, resolver.Denied)
	assert.ErrorContains(t, err, line(namespace+"/"))
	assert.ErrorContains(t, err, "if this Vault has no namespaces, omit "+namespace+"/ from the line")

	served := vault(line(at))
	assert.NoError(t, collect(resolver.Resolve(t.Context(), served, hosts, resolver.Options{}))[0].Err())
	v := resolver.Check(t.Context(), served, []ref.Value{ref.Parse("vault:" + kv + "/app#password")}, resolver.CheckOptions{})
	policy, err := resolver.Policy(references(t, kv+"/app"), v.Mounts)
	require.NoError(t, err)
	assert.Equal(t, line(at)+"\n", policy)
}

// A list of hosts in another form matches no host, and a finding says so. Names that are not
// UTF-8 match nothing.
func TestHostsInOtherForms(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	vault := connect(server, server.ReaderToken(t, kv+"/data/app"))
	for _, list := range []string{`["db-1"]`, "db-1;db-2", "db-1，db-2", "db-1、db-2", "{db-1}", `"db-1"`, "'db-1'", "`db-1`", "“db-1”", "!web-*", "^db-1$", "db-.*$", "- db-1"} {
		server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": list})
		run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("db-1", "password", "vault:"+kv+"/app#password"), host("d", "password", "vault:"+kv+"/app#password")}, resolver.Options{})
		for _, result := range collect(run) {
			assert.ErrorIs(t, result.Err(), resolver.NotForHost, list)
		}
		assert.Contains(t, codes(run.Report().Findings), resolver.HostsMalformed, list)
		assertPlaced(t, run, kv+"/app: ", list)
		v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{})
		assert.Equal(t, resolver.NotForHost, v.Fields[0].Kind, list)
		assert.Equal(t, []string{resolver.HostsMalformed}, codes(v.Fields[0].Findings), list)
	}
	for _, name := range []string{"WIN01$", `corp\win01$`, "o'brien-pc"} {
		server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": name})
		assert.NoError(t, resolver.One(t.Context(), vault, host(name, "password", "vault:"+kv+"/app#password"), resolver.Options{}).Err(), name)
	}
	// A name may hold a space, but a list of names that are separated by spaces is one glob.
	server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": "db-1 db-2"})
	assert.NoError(t, resolver.One(t.Context(), vault, host("db-1 db-2", "password", "vault:"+kv+"/app#password"), resolver.Options{}).Err())
	assert.ErrorContains(t, resolver.One(t.Context(), vault, host("db-1", "password", "vault:"+kv+"/app#password"), resolver.Options{}).Err(), "where commas separate globs")
	assert.Contains(t, texts(resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{}).Fields[0].Findings)[0], "where commas separate globs")
	server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": "web-\ufffd"})
	assert.ErrorIs(t, resolver.One(t.Context(), vault, host("web-\xfe", "password", "vault:"+kv+"/app#password"), resolver.Options{}).Err(), resolver.NotForHost)
}

func TestPolicyOfAMountWithALineBreak(t *testing.T) {
	t.Parallel()
	hcl, err := resolver.Policy(references(t, "kv/app"), []resolver.Mount{{Path: "kv", Version: 2, Namespace: "team\nx"}})
	assert.ErrorContains(t, err, "its mount holds a character that cannot be printed")
	assert.Empty(t, hcl)
}
