package resolver_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/resolver"
)

// Answers of real proxies and balancers, exact except for dates and ids.
const (
	tinyproxy401 = "HTTP/1.0 401 Unauthorized\r\nServer: tinyproxy/1.11.1\r\nContent-Type: text/html\r\nWWW-Authenticate: Basic realm=\"Tinyproxy\"\r\nConnection: close\r\n\r\n" +
		"<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.1//EN\" \"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd\">\n<html>\n<head><title>401 Unauthorized</title></head>\n<body>\n<h1>Unauthorized</h1>\n"
	tinyproxy500 = "HTTP/1.1 500 Unable to connect\r\nServer: tinyproxy/1.11.1\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" +
		"<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.1//EN\" \"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd\">\n<html>\n<head><title>500 Unable to connect</title></head>\n<body>\n<h1>Unable to connect</h1>\n<p>Tinyproxy was unable to connect to the remote web server.</p>\n"
	haproxy503 = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 107\r\ncache-control: no-cache\r\ncontent-type: text/html\r\n\r\n" +
		"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
)

// rawServer answers each request with the bytes and closes the connection. If there are
// none, it stays silent, as tinyproxy does after the start of a TLS handshake.
func rawServer(t *testing.T, answer string) (host string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			group.Go(func() {
				defer conn.Close()
				if answer == "" {
					io.Copy(io.Discard, conn)
				} else if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, strings.TrimPrefix(answer, "close"))
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return listener.Addr().String()
}

// The error names who answered or did not: the proxy, with its variable, or the server at
// the address.
func TestWhoAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer string
		// The server is the proxy; empty means that it is at the address.
		proxy  string
		scheme string // of the address
		kind   resolver.Kind
		text   []string
	}{
		{"tinyproxy, wrong password, http", tinyproxy401, "http", "http", resolver.BadResponse, []string{"status 401, text/html", "VAULT_PROXY_ADDR on the Patch server with the credentials in it"}},
		{"tinyproxy, wrong password, https", tinyproxy401, "http", "https", resolver.Unreachable, []string{"the proxy answers 401", "check VAULT_PROXY_ADDR on the Patch server, the credentials in it"}},
		{"tinyproxy, Vault is away", tinyproxy500, "http", "http", resolver.BadResponse, []string{"status 500, text/html", "check the address, that Vault runs, and VAULT_PROXY_ADDR on the Patch server"}},
		{"https:// of tinyproxy", "", "https", "https", resolver.Unreachable, []string{"vault unreachable through the proxy (no answer within", "check VAULT_PROXY_ADDR on the Patch server, that the proxy runs there (http:// or https://, and its port)"}},
		{"https:// of tinyproxy, http", "", "https", "http", resolver.Unreachable, []string{"vault unreachable through the proxy (no answer within", "check VAULT_PROXY_ADDR"}},
		{"a proxy that hangs", "", "http", "https", resolver.Unreachable, []string{"vault unreachable through the proxy", "check VAULT_PROXY_ADDR"}},
		{"HAProxy without a server", haproxy503, "", "http", resolver.BadResponse, []string{"status 503, text/html", "that Vault runs, and that the proxy or balancer in front of it reaches it"}},
		{"HAProxy without a server, behind a proxy", haproxy503, "http", "http", resolver.BadResponse, []string{"status 503, text/html", "VAULT_PROXY_ADDR"}},
		{"HAProxy's https", "close", "", "http", resolver.Unreachable, []string{"connection closed", "if the server expects https, use https in the address"}},
		{"a Vault that hangs", "", "", "http", resolver.Unreachable, []string{"vault unreachable (no answer within", "check the address, that Vault runs there"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := rawServer(t, test.answer)
			variables := map[string]string{"VAULT_TOKEN": "s.token", "VAULT_CLIENT_TIMEOUT": "3"}
			address := test.scheme + "://" + server
			if test.proxy != "" {
				address = test.scheme + "://vault.example:8200"
				variables["VAULT_PROXY_ADDR"] = test.proxy + "://user:password@" + server
			}
			vault := auth.New(auth.Settings{Address: address}, environment(variables))
			v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{Patience: brief})
			assert.Equal(t, test.kind, v.Connection.Kind, "%s", v)
			for _, text := range test.text {
				assert.Contains(t, v.Connection.Text, text)
			}
			if test.proxy == "" {
				assert.NotContains(t, v.Connection.Text, "VAULT_PROXY_ADDR")
			}
			assert.NotContains(t, v.String(), "password")
		})
	}
}

// The UI is told who limits the rate: raising Vault's own quota would not help.
func TestUISeesThatAProxyLimitsTheRate(t *testing.T) {
	t.Parallel()
	server := rawServer(t, "HTTP/1.1 429 Too Many Requests\r\nServer: nginx\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html></html>")
	vault := auth.New(auth.Settings{Address: "http://" + server}, environment(map[string]string{"VAULT_TOKEN": "s.token"}))
	v := resolver.Check(t.Context(), vault, nil, resolver.CheckOptions{Patience: brief}).Connection
	assert.Equal(t, resolver.RateLimited, v.Kind)
	assert.Equal(t, "a proxy in front of Vault is rate limiting the agent now; a run waits up to 60 s for it to pass", v.Reason)
	assert.Equal(t, "raise its limit, or set VAULT_RATE_LIMIT on the Patch server", v.Fix)
}
