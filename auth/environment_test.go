package auth_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

// All problems are reported at once, with the names of the variables and without their
// values. An empty variable counts as unset.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	const canary = "Kq7canaryZ9"
	for _, test := range []struct {
		name     string
		method   string
		v        variables
		problems []string // none means that all is well
	}{
		{"token", "", variables{"VAULT_TOKEN": "t"}, nil},
		{"token file", "token", variables{"VAULT_TOKEN_FILE": "/f"}, nil},
		{"neither", "token", nil, []string{"neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set"}},
		{"both empty", "token", variables{"VAULT_TOKEN": "", "VAULT_TOKEN_FILE": ""}, []string{"neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set"}},
		{"white space alone", "token", variables{"VAULT_TOKEN": " \r\n\ufeff"}, []string{"neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set"}},
		{"both", "token", variables{"VAULT_TOKEN": canary, "VAULT_TOKEN_FILE": canary}, []string{"VAULT_TOKEN and VAULT_TOKEN_FILE are both set"}},
		{"one empty", "token", variables{"VAULT_TOKEN": "t", "VAULT_TOKEN_FILE": " "}, nil},
		{"control character", "token", variables{"VAULT_TOKEN": canary + "\n" + canary}, []string{"VAULT_TOKEN holds several lines"}},
		{"space in a token", "", variables{"VAULT_TOKEN": canary + " " + canary}, []string{"VAULT_TOKEN holds a character that no token has"}},
		{"non-ASCII character in a token", "", variables{"VAULT_TOKEN": canary + "é"}, []string{"VAULT_TOKEN holds a character that no token has"}},
		{"AppRole", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, nil},
		{"AppRole without secret id", "approle", variables{"VAULT_ROLE_ID": "r"}, nil},
		{"AppRole without role id", "approle", variables{"VAULT_SECRET_ID": canary}, []string{"neither VAULT_ROLE_ID nor VAULT_ROLE_ID_FILE is set"}},
		{"AppRole with two secret ids", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": canary, "VAULT_SECRET_ID_FILE": "/f"}, []string{"VAULT_SECRET_ID and VAULT_SECRET_ID_FILE are both set"}},
		{"AppRole, a token in addition is another method's", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_TOKEN": "t\nt", "VAULT_TOKEN_FILE": "/f", "VAULT_JWT_MOUNT": "//"}, nil},
		{"nothing falls through to the token", "approle", variables{"VAULT_TOKEN": "t"}, []string{"neither VAULT_ROLE_ID nor VAULT_ROLE_ID_FILE is set"}},
		{"Kubernetes", "kubernetes", variables{"VAULT_KUBERNETES_ROLE": "r"}, nil},
		{"Kubernetes without role", "kubernetes", nil, []string{"VAULT_KUBERNETES_ROLE is not set"}},
		{"JWT", "jwt", variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": "/f"}, nil},
		{"JWT without anything", "jwt", nil, []string{"VAULT_JWT_ROLE is not set", "VAULT_JWT_FILE is not set"}},
		{"certificate", "cert", variables{"VAULT_CLIENT_CERT": "/c", "VAULT_CLIENT_KEY": "/k"}, nil},
		{"certificate without anything", "cert", nil, []string{"neither VAULT_CLIENT_CERT nor VAULT_CLIENT_KEY is set"}},
		{"certificate without key", "cert", variables{"VAULT_CLIENT_CERT": "/c"}, []string{"VAULT_CLIENT_CERT is set without VAULT_CLIENT_KEY"}},
		{"key without certificate, with another method", "token", variables{"VAULT_TOKEN": "t", "VAULT_CLIENT_KEY": "/k"}, []string{"VAULT_CLIENT_KEY is set without VAULT_CLIENT_CERT"}},
		{"two sources of CAs", "token", variables{"VAULT_TOKEN": "t", "VAULT_CACERT": "/c", "VAULT_CAPATH": "/d"}, []string{"VAULT_CACERT and VAULT_CAPATH are both set"}},
		{"mount with auth/", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "auth/approle"}, []string{"VAULT_APPROLE_MOUNT is not the path of a login mount"}},
		{"mount with a slash before it", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "/approle"}, []string{"VAULT_APPROLE_MOUNT is not the path of a login mount"}},
		{"mount that leads upwards", "jwt", variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": "/f", "VAULT_JWT_MOUNT": "a/../sys"}, []string{"VAULT_JWT_MOUNT is not the path of a login mount"}},
		{"nested mount", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "team/approle/"}, nil},
		{"skip-verify", "", variables{"VAULT_TOKEN": "t", "VAULT_SKIP_VERIFY": "yes"}, []string{"VAULT_SKIP_VERIFY is not a boolean"}},
		{"skip-verify as vault/api reads it", "", variables{"VAULT_TOKEN": "t", "VAULT_SKIP_VERIFY": "F"}, nil},
		{"pinned address", "", variables{"VAULT_TOKEN": "t", "VAULT_ADDR": "vault.example"}, []string{"VAULT_ADDR is not an address: neither https:// nor http://"}},
		{"pinned namespace", "", variables{"VAULT_TOKEN": "t", "VAULT_NAMESPACE": "/team"}, []string{"VAULT_NAMESPACE is not a namespace"}},
		{"pinned paths", "", variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": "secret/a,,b"}, []string{"LUUMEN_VAULT_PATHS holds something that is not a path"}},
		{"pinned paths as of a reference", "", variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": "team/kv,Vault:secret/a"}, []string{"LUUMEN_VAULT_PATHS holds something that is not a path"}},
		{"pinned paths that hand out tokens", "", variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": "auth/token"}, []string{"LUUMEN_VAULT_PATHS holds something that is not a path"}},
		{"pinned paths in JSON", "", variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": `["secret/a"]`}, []string{"LUUMEN_VAULT_PATHS holds JSON; write the value alone"}},
		{"quotes, as docker passes them on", "jwt", variables{"VAULT_JWT_ROLE": `"r"`, "VAULT_JWT_FILE": `"/f"`, "VAULT_ADDR": `"https://vault.example"`, "VAULT_NAMESPACE": `'team'`, "LUUMEN_VAULT_PATHS": `"a/b","c"`,
			"VAULT_CACERT": `"/ca"`, "VAULT_SKIP_VERIFY": `"false"`, "VAULT_PROXY_ADDR": `"http://proxy"`, "VAULT_TLS_SERVER_NAME": `"vault"`}, []string{
			"VAULT_JWT_ROLE holds quotes; remove them", "VAULT_JWT_FILE holds quotes", "VAULT_ADDR holds quotes", "VAULT_NAMESPACE holds quotes", "LUUMEN_VAULT_PATHS holds quotes",
			"VAULT_CACERT holds quotes", "VAULT_SKIP_VERIFY holds quotes", "VAULT_PROXY_ADDR holds quotes", "VAULT_TLS_SERVER_NAME holds quotes"}},
		{"quotes around the token file's name", "", variables{"VAULT_TOKEN_FILE": `"/` + canary + `"`}, []string{"VAULT_TOKEN_FILE holds quotes; remove them"}},
		{"quotes around an id, which may be its own", "approle", variables{"VAULT_ROLE_ID": `"r"`, "VAULT_SECRET_ID": `'s'`}, nil},
		{"quotes around a proxy that is not for Vault", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": `"http://proxy"`, "NO_PROXY": ".example"}, nil},
		{"a CA in place of its file", "", variables{"VAULT_TOKEN": "t", "VAULT_CACERT": "-----BEGIN CERTIFICATE-----\n" + canary + "\n"}, []string{"VAULT_CACERT holds a PEM block in place of a file's name; write it to a file and name that, or use VAULT_CACERT_BYTES"}},
		{"a key in place of its file", "", variables{"VAULT_TOKEN": "t", "VAULT_CLIENT_CERT": "/c", "VAULT_CLIENT_KEY": `-----BEGIN PRIVATE KEY-----\n` + canary}, []string{"VAULT_CLIENT_KEY holds a PEM block in place of a file's name"}},
		{"server name with a password", "", variables{"VAULT_TOKEN": "t", "VAULT_TLS_SERVER_NAME": "https://u:" + canary + "@vault.example"}, []string{"VAULT_TLS_SERVER_NAME is not a host name; write it alone"}},
		{"secret id as the server name", "", variables{"VAULT_TOKEN": "t", "VAULT_TLS_SERVER_NAME": "5f1c7d3a-1111-4c5b-9a1e-2b8f0c6d4e11"}, []string{"VAULT_TLS_SERVER_NAME is not a host name"}},
		{"server name that is an IPv6 address", "", variables{"VAULT_TOKEN": "t", "VAULT_TLS_SERVER_NAME": "[2001:db8::1]"}, nil},
		{"mount that ends in /login", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "team/login"}, nil},
		{"mount with /login", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "approle/login/"}, []string{"VAULT_APPROLE_MOUNT is not the path of a login mount; write it without auth/ and /login, such as approle"}},
		{"mount that is named login", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "login"}, nil},
		{"proxy with % in the password", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://u:%" + canary + "@proxy.example:3128"}, []string{`such as / ? # % \ ^ and space in user and password as %2F %3F %23 %25 %5C %5E %20`}},
		{"standard proxy with a domain in the user", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": `http://DOM\u:` + canary + "@proxy.example:3128"}, []string{"%25 %5C %5E %20"}},
		{"proxy with codes in the password", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://DOM%5Cu:%25%5E%20p@proxy.example:3128"}, nil},
		{"pinned paths of nothing", "", variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": ","}, []string{"LUUMEN_VAULT_PATHS holds something that is not a path"}},
		{"proxy", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "proxy.example:3128"}, []string{"VAULT_PROXY_ADDR is not the URL of a proxy alone"}},
		{"proxy with credentials", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "ftp://u:" + canary + "@proxy.example"}, []string{"VAULT_PROXY_ADDR is not the URL of a proxy alone"}},
		{"SOCKS proxy", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "socks5://proxy.example:1080"}, nil},
		{"pinned namespace of nothing", "", variables{"VAULT_TOKEN": "t", "VAULT_NAMESPACE": "/"}, []string{"VAULT_NAMESPACE is not a namespace"}},
		{"pinned namespace with two slashes", "", variables{"VAULT_TOKEN": "t", "VAULT_NAMESPACE": "team//"}, []string{"VAULT_NAMESPACE is not a namespace"}},
		{"pinned path with two slashes", "", variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": "secret/a//"}, []string{"LUUMEN_VAULT_PATHS holds something that is not a path"}},
		{"mount with two slashes", "approle", variables{"VAULT_ROLE_ID": "r", "VAULT_APPROLE_MOUNT": "approle//"}, []string{"VAULT_APPROLE_MOUNT is not the path of a login mount"}},
		{"standard proxy", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": "http://u:" + canary + "@proxy.example:31x8"}, []string{"HTTPS_PROXY is not the URL of a proxy alone"}},
		{"standard proxy in lower case", "", variables{"VAULT_TOKEN": "t", "https_proxy": "ftp://" + canary}, []string{"https_proxy is not the URL of a proxy alone"}},
		{"standard proxy without scheme", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": " proxy.example:3128\n"}, nil},
		{"standard SOCKS proxy", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": "socks5h://proxy.example:1080"}, nil},
		{"standard proxy of the other scheme", "", variables{"VAULT_TOKEN": "t", "HTTP_PROXY": "ftp://" + canary}, nil},
		{"standard proxy that has no part", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://proxy.example", "HTTPS_PROXY": "ftp://" + canary}, nil},
		{"standard proxy, malformed, that is not for Vault", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": "socks4://" + canary, "NO_PROXY": ".example"}, nil},
		{"standard proxy, malformed, that is for nobody", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": "http://u:p%@" + canary, "no_proxy": "*"}, nil},
		{"proxy with # in the password", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://u:p@" + canary + "#@proxy.example:3128"}, []string{"in user and password as %2F %3F %23"}},
		{"proxy with # in the user", "", variables{"VAULT_TOKEN": "t", "HTTPS_PROXY": "http://" + canary + "#u:p@proxy.example:3128"}, []string{"HTTPS_PROXY is not the URL of a proxy alone"}},
		{"proxy with / in the password", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://u:12/" + canary + "@proxy.example:3128"}, []string{"VAULT_PROXY_ADDR is not the URL of a proxy alone"}},
		{"proxy with ? in the password", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://u:12?" + canary + "@proxy.example:3128"}, []string{"VAULT_PROXY_ADDR is not the URL of a proxy alone"}},
		{"proxy of no port", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://proxy.example:99999"}, []string{"VAULT_PROXY_ADDR is not the URL of a proxy alone"}},
		{"proxy with a slash behind it", "", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "http://u:p%23%2F@proxy.example:3128/"}, nil},
		{"all at once", "approle", variables{"VAULT_SKIP_VERIFY": "maybe", "VAULT_CLIENT_TIMEOUT": "soon", "VAULT_RATE_LIMIT": "many", "VAULT_ADDR": "?", "VAULT_CLIENT_CERT": "/c"}, []string{
			"VAULT_SKIP_VERIFY", "VAULT_CLIENT_TIMEOUT", "VAULT_RATE_LIMIT", "VAULT_ADDR", "VAULT_CLIENT_CERT", "neither VAULT_ROLE_ID nor"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := auth.New(auth.Settings{Address: "https://vault.example", AuthMethod: test.method}, test.v.options()).Validate()
			if test.problems == nil {
				assert.NoError(t, err)
				return
			}
			assertKind(t, err, fault.Environment, test.problems...)
			assert.NotContains(t, err.Error(), canary)
			for _, problem := range test.problems {
				assert.Equal(t, 1, strings.Count(err.Error(), problem), problem)
			}
		})
	}
}

func TestTimeoutAndRateForms(t *testing.T) {
	t.Parallel()
	validate := func(name, value string) error {
		return auth.New(auth.Settings{Address: "https://vault.example"}, variables{"VAULT_TOKEN": "t", name: value}.options()).Validate()
	}
	for _, value := range []string{"10", "10s", "1m30s", "500ms", " 10 ", "999999999", "2000000h"} {
		assert.NoError(t, validate("VAULT_CLIENT_TIMEOUT", value), value)
	}
	for _, value := range []string{"0", "0s", "-1", "-5s", "ten", "1.5", "10 s", "1e3", "99999999999"} {
		assertKind(t, validate("VAULT_CLIENT_TIMEOUT", value), fault.Environment, "VAULT_CLIENT_TIMEOUT is not a duration of a millisecond or more")
	}
	for _, value := range []string{"100", "0.5", "100:20", "1e3", "100.5:1"} {
		assert.NoError(t, validate("VAULT_RATE_LIMIT", value), value)
	}
	for _, value := range []string{"0", "-1", "1e-12", "many", "100:", "100:0", "100:-1", "100:1.5", ":5", "NaN", "Inf", "100:1:1"} {
		assertKind(t, validate("VAULT_RATE_LIMIT", value), fault.Environment, "VAULT_RATE_LIMIT is not a usable rate")
	}
}

// An attempt ends with VAULT_CLIENT_TIMEOUT, its body included.
func TestClientTimeout(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"request_id":`))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r", "VAULT_CLIENT_TIMEOUT": "500ms"}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{Patience: brief}, nil)
	assertKind(t, err, fault.Unreachable, "no answer within ")
	logins := slices.DeleteFunc(server.requests(), func(request string) bool { return request != "PUT auth/approle/login" })
	assert.Len(t, logins, 1, "the second waits until Vault answers anything")
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t", "VAULT_RATE_LIMIT": "50:1"}.options())
	began := time.Now()
	require.NoError(t, readOnce(t.Context(), vault, "a/1", "a/2", "a/3", "a/4", "a/5").err)
	assert.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond, "6 requests at 50 a second")
}

// VAULT_PROXY_ADDR applies to every address, loopback included. The standard variables
// exempt loopback and the names in NO_PROXY. Upper case comes first.
func TestProxies(t *testing.T) {
	t.Parallel()
	var proxied atomic.Int32
	var authorization atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Add(1)
		authorization.Store(r.Header.Get("Proxy-Authorization"))
		say(w, 200, `{"request_id":"1","data":{}}`)
	}))
	t.Cleanup(proxy.Close)
	loopback := newStandIn(t, nil)
	withUser, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	withUser.User = url.UserPassword("user", "Kq7canaryZ9")
	const dead = "http://127.0.0.1:1"
	for _, test := range []struct {
		name    string
		address string
		v       variables
		proxied bool
	}{
		{"VAULT_PROXY_ADDR", "http://vault.invalid", variables{"VAULT_PROXY_ADDR": withUser.String()}, true},
		{"VAULT_PROXY_ADDR before HTTP_PROXY", "http://vault.invalid", variables{"VAULT_PROXY_ADDR": proxy.URL, "HTTP_PROXY": dead}, true},
		{"VAULT_PROXY_ADDR at loopback", loopback.address, variables{"VAULT_PROXY_ADDR": proxy.URL, "NO_PROXY": "*"}, true},
		{"HTTP_PROXY", "http://vault.invalid", variables{"HTTP_PROXY": proxy.URL}, true},
		{"http_proxy", "http://vault.invalid", variables{"http_proxy": proxy.URL}, true},
		{"upper case first", "http://vault.invalid", variables{"HTTP_PROXY": proxy.URL, "http_proxy": dead}, true},
		{"HTTP_PROXY at loopback", loopback.address, variables{"HTTP_PROXY": proxy.URL}, false},
		{"VAULT_HTTP_PROXY is not read", loopback.address, variables{"VAULT_HTTP_PROXY": proxy.URL}, false},
	} {
		before, direct := proxied.Load(), len(loopback.requests())
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: test.address}, test.v.and(variables{"VAULT_TOKEN": "t"}).options()), "secret/app")
		assert.NoError(t, r.err, test.name)
		assert.Equal(t, test.proxied, proxied.Load() > before, test.name)
		assert.Equal(t, !test.proxied, len(loopback.requests()) > direct, test.name)
		if test.name == "VAULT_PROXY_ADDR" {
			assert.NotEmpty(t, authorization.Load())
		}
	}

	// What a dead proxy says about itself is without its password.
	withUser.Host = "127.0.0.1:1"
	vault := auth.New(auth.Settings{Address: "http://vault.invalid"}, variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": withUser.String()}.options())
	usage, err := do(t.Context(), vault, auth.DoOptions{Patience: brief}, nil)
	assertKind(t, err, fault.Unreachable, "connection refused", "the proxy 127.0.0.1:1 in front of http://vault.invalid")
	assert.NotContains(t, err.Error(), "canary")
	assert.NotEmpty(t, usage.Findings) // http beyond loopback
}

// A 401 to a login is never Vault's own, so the error names the proxy before it. Plugins
// do answer 401 to a method that was handed in.
func TestLoginThatAProxyRefuses(t *testing.T) {
	t.Parallel()
	for contentType, kind := range map[string]fault.Kind{"application/json": fault.Login, "application/problem+json": fault.BadResponse} {
		server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{"errors":["authentication required"]}`))
			return true
		})
		const address = "http://vault.invalid"
		proxy := variables{"VAULT_PROXY_ADDR": server.address}
		builtIn := auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, proxy.and(variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}).options())
		r := readOnce(t.Context(), builtIn)
		assertKind(t, r.err, fault.BadResponse, "status 401, "+contentType+" at "+address, "check the address, and VAULT_PROXY_ADDR on the Patch server with the credentials in it")
		r = readOnce(t.Context(), withMethod(address, userpass{"userpass", "agent", password}, proxy))
		assertKind(t, r.err, kind, "401")
		assert.Len(t, server.requests(), 2)
	}
}

// For an https address, a standard proxy opens a tunnel, unless NO_PROXY exempts the
// name. This proxy connects every name to the one server.
func TestProxiesOfHTTPS(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "999h"})
	target, err := url.Parse(server.Address)
	require.NoError(t, err)
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "no tunnel", http.StatusMethodNotAllowed)
			return
		}
		tunnels.Add(1)
		there, err := net.Dial("tcp", target.Host)
		if err != nil {
			http.Error(w, "no way", http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(there, buffered)
		io.Copy(here, there)
	}))
	t.Cleanup(proxy.Close)
	for _, test := range []struct {
		name    string
		v       variables
		tunnels bool
	}{
		{"HTTPS_PROXY", variables{"HTTPS_PROXY": proxy.URL}, true},
		{"without a scheme, and lower case", variables{"https_proxy": strings.TrimPrefix(proxy.URL, "http://") + " "}, true},
		{"NO_PROXY of another name", variables{"HTTPS_PROXY": proxy.URL, "NO_PROXY": "other.invalid"}, true},
		{"NO_PROXY", variables{"HTTPS_PROXY": proxy.URL, "NO_PROXY": "other.invalid, .invalid"}, false},
		{"no_proxy", variables{"HTTPS_PROXY": proxy.URL, "no_proxy": "vault.invalid"}, false},
		{"HTTP_PROXY", variables{"HTTP_PROXY": proxy.URL}, false},
	} {
		before := tunnels.Load()
		v := test.v.and(variables{"VAULT_TOKEN": token, "VAULT_CACERT": server.CAFile, "VAULT_TLS_SERVER_NAME": "localhost"})
		vault := auth.New(auth.Settings{Address: "https://vault.invalid:" + target.Port()}, v.options())
		patience := map[bool]time.Duration{true: 10 * brief, false: brief}[test.tunnels]
		_, err := do(t.Context(), vault, auth.DoOptions{Patience: patience}, func(ctx context.Context, client *api.Client) error {
			_, err := get(ctx, client, secret.path)
			return err
		})
		assert.Equal(t, test.tunnels, tunnels.Load() > before, test.name)
		if test.tunnels {
			assert.NoError(t, err, test.name)
		} else {
			assertKind(t, err, fault.Unreachable, "no address for vault.invalid")
		}
	}
}

func TestPlainHTTPIsAWarning(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options()))
	require.NoError(t, r.err)
	assert.Empty(t, r.warnings())
	for _, host := range []string{"vault.invalid", "192.0.2.1", "127.0.0.1.vault.invalid", "[2001:db8::1]"} {
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: "http://" + host}, variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": server.address}.options()))
		require.NoError(t, r.err)
		if assert.Len(t, r.warnings(), 1, host) {
			assert.Contains(t, r.warnings()[0], "use https")
		}
	}
}

// With a proxy on another machine, the token for a local Vault leaves in clear.
func TestPlainHTTPToAProxyIsAWarning(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, address string
		v             variables
		warns         string
	}{
		{"a proxy elsewhere", "http://127.0.0.1:8200", variables{"VAULT_PROXY_ADDR": "http://proxy.invalid:3128"}, "VAULT_PROXY_ADDR is set: the token and every secret go to the proxy in clear"},
		{"a proxy elsewhere, by its address", "http://localhost:8200", variables{"VAULT_PROXY_ADDR": "http://192.0.2.1:3128"}, "VAULT_PROXY_ADDR is set"},
		{"SOCKS elsewhere", "http://[::1]:8200", variables{"VAULT_PROXY_ADDR": "socks5://proxy.invalid:1080"}, "VAULT_PROXY_ADDR is set"},
		{"beyond loopback", "http://vault.invalid:8200", variables{"HTTP_PROXY": "http://proxy.invalid:3128"}, "the address begins with http: anyone on the network"},
		{"a proxy on this machine", "http://127.0.0.1:8200", variables{"VAULT_PROXY_ADDR": "http://127.0.0.1:1"}, ""},
		{"HTTP_PROXY, which exempts loopback", "http://127.0.0.1:1", variables{"HTTP_PROXY": "http://proxy.invalid:3128"}, ""},
		{"https", "https://127.0.0.1:1", variables{"VAULT_PROXY_ADDR": "http://127.0.0.1:1"}, ""},
	} {
		vault := auth.New(auth.Settings{Address: test.address}, test.v.and(variables{"VAULT_TOKEN": "t", "VAULT_CLIENT_TIMEOUT": "50ms"}).options())
		usage, _ := do(t.Context(), vault, auth.DoOptions{Patience: 50 * time.Millisecond}, nil) // an error, unless the machine is too busy
		var texts []string
		for _, f := range usage.Findings {
			texts = append(texts, f.Text)
		}
		all := strings.Join(texts, "|")
		assert.Equal(t, test.warns != "", len(texts) == 1, "%s: %s", test.name, all)
		assert.Contains(t, all, test.warns, test.name)
	}
}

// What is set for Vault's certificate makes no other certificate of an https proxy valid.
func TestVaultsTLSIsNotForTheProxy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		certificate vaulttest.CertificateConfig // of the proxy
		v           variables
		trusted     bool
		says        string
	}{
		{"VAULT_SKIP_VERIFY", vaulttest.CertificateConfig{}, variables{"VAULT_SKIP_VERIFY": "true"}, false, "the proxy's certificate is not trusted"},
		{"VAULT_TLS_SERVER_NAME", vaulttest.CertificateConfig{DNSNames: []string{"vault.example"}}, variables{"VAULT_TLS_SERVER_NAME": "vault.example"}, true, "the proxy's certificate is for another host name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			certificate := vaulttest.NewCertificate(t, nil, test.certificate)
			proxy := vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate.TLS()}}, http.NotFoundHandler())
			v := test.v.and(variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": proxy})
			if test.trusted {
				v["VAULT_CACERT_BYTES"] = certificate.PEM()
			}
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: "https://vault.example:8200"}, v.options()))
			assertKind(t, r.err, fault.TLS, test.says)
		})
	}
}

// An https proxy that asks for a client certificate does not get Vault's, and must speak TLS 1.2
// like Vault.
func TestClientCertificateIsNotForTheProxy(t *testing.T) {
	t.Parallel()
	certificate := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{})
	pair, key := vaulttest.Pair(t, "agent")
	run := func(t *testing.T, config *tls.Config, answer http.HandlerFunc) error {
		config.Certificates = []tls.Certificate{certificate.TLS()}
		return readOnce(t.Context(), auth.New(auth.Settings{Address: "https://vault.example:8200"}, variables{
			"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": vaulttest.ServeTLS(t, config, answer), "VAULT_CACERT_BYTES": certificate.PEM(),
			"VAULT_CLIENT_CERT": inFile(t, pair), "VAULT_CLIENT_KEY": inFile(t, key),
		}.options()), "secret/app").err
	}
	t.Run("it asks for one", func(t *testing.T) {
		t.Parallel()
		var asked, got atomic.Int32
		err := run(t, &tls.Config{ClientAuth: tls.RequestClientCert}, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			got.Add(int32(len(r.TLS.PeerCertificates)))
			w.WriteHeader(http.StatusForbidden)
		})
		assertKind(t, err, fault.Unreachable, "the proxy answers 403")
		assert.NotZero(t, asked.Load())
		assert.Zero(t, got.Load(), "certificates")
	})
	t.Run("it speaks TLS 1.1", func(t *testing.T) {
		t.Parallel()
		err := run(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, http.NotFound)
		assertKind(t, err, fault.TLS, "the proxy refused the TLS connection")
	})
}

// The Patch server may be set up for a method that nobody chose in the UI.
func TestEnvironmentOfAnotherMethod(t *testing.T) {
	t.Parallel()
	for method, v := range map[string]variables{
		"": {"VAULT_ROLE_ID_FILE": "/f", "VAULT_SECRET_ID_FILE": "/g"}, "jwt": {"VAULT_TOKEN": "t"}, "cert": {"VAULT_TOKEN": "t"},
	} {
		err := auth.New(auth.Settings{Address: "https://vault.example", AuthMethod: method}, v.options()).Validate()
		assertKind(t, err, fault.Environment, "on the Patch server, or choose another auth_method in the UI")
	}
}

// systemd copies a credential's file once, when the service starts.
func TestTokenInSystemdsCopyOfAFile(t *testing.T) {
	t.Parallel()
	do := auth.Renewal(auth.New(auth.Settings{Address: "https://vault.example"}, variables{"VAULT_TOKEN_FILE": "/run/credentials/luumen-patch.service/token"}.options()))
	assert.Contains(t, do, "LoadCredential=")
	assert.Contains(t, do, "restart the service")
}

// A changed variable needs a restart of the agent, and so does a file that systemd copied.
func TestRestartAfterAChange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method string
		v      variables
		want   string
	}{
		{"approle", variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, "restart the agent after a change of VAULT_ROLE_ID or VAULT_SECRET_ID"},
		{"approle", variables{"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID_FILE": "/etc/luumen/secret_id"}, "restart the agent after a change of VAULT_ROLE_ID"},
		{"approle", variables{"VAULT_ROLE_ID": "r"}, "restart the agent after a change of VAULT_ROLE_ID"},
		{"approle", variables{"VAULT_ROLE_ID_FILE": "/etc/luumen/role_id", "VAULT_SECRET_ID_FILE": "/etc/luumen/secret_id"}, ""},
		{"approle", variables{"VAULT_ROLE_ID_FILE": "/run/credentials/x.service/r", "VAULT_SECRET_ID_FILE": "/run/credentials/x.service/s"}, "restart the service after a change of the file that LoadCredential= names for VAULT_ROLE_ID_FILE or VAULT_SECRET_ID_FILE, which systemd copied when the service started"},
		{"jwt", variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": "/run/credentials/x.service/jwt"}, "names for VAULT_JWT_FILE, which systemd copied"},
		{"jwt", variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": "/var/run/jwt"}, ""},
		{"cert", variables{"VAULT_CLIENT_CERT": "/c", "VAULT_CLIENT_KEY": "/k"}, ""},
	} {
		do := auth.Restart(auth.New(auth.Settings{Address: "https://vault.example", AuthMethod: test.method}, test.v.options()))
		if test.want == "" {
			assert.Empty(t, do, "%v", test.v)
			continue
		}
		assert.Contains(t, do, test.want)
	}
}

// A renewed certificate does not fit the copy that systemd made of the key before it.
func TestPairOfWhichSystemdCopiedOne(t *testing.T) {
	t.Parallel()
	const key = "/run/credentials/luumen-patch.service/key"
	assertKind(t, auth.NoPair("/etc/luumen/agent.pem", key), fault.Environment, "if the pair was renewed, restart the service")
	assertKind(t, auth.NoPair(key, "/etc/luumen/agent.key"), fault.Environment, "if the pair was renewed, restart the service")
	assert.NotContains(t, auth.NoPair("/etc/luumen/agent.pem", "/etc/luumen/agent.key").Error(), "restart")
}
