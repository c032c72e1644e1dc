package client_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		host := closedPort(t)
		_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "http", Host: host}}))
		require.NotNil(t, f)
		assertUnreachable(t, f, "vault unreachable (connection refused at http://"+host+")")
		assert.ErrorIs(t, f, syscall.ECONNREFUSED)
	})
	t.Run("a name without an address", func(t *testing.T) {
		t.Parallel()
		_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "https", Host: "vault.invalid:8200"}, Timeout: 5 * time.Second}))
		require.NotNil(t, f)
		assertUnreachable(t, f, "vault unreachable (no address for vault.invalid: ")
		assert.Contains(t, f.Error(), "the Patch server's DNS")
	})
	t.Run("the limit of the caller is shorter", func(t *testing.T) {
		t.Parallel()
		s := serveRaw(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		c := newClient(t, client.Config{Address: s.address})
		_, f := c.Send(t.Context(), client.Request{Method: "GET", Path: "a", Header: c.Header("", "")}, 150*time.Millisecond)
		require.NotNil(t, f)
		assert.Contains(t, f.Error(), "no answer within 150ms")
	})
}

func TestProxy(t *testing.T) {
	t.Parallel()
	const password = "CANARYpassword"
	for _, proxy := range []struct {
		name   string
		answer func(net.Conn)
		retry  fault.Retry
		text   string
	}{
		{"wants a password", answers(407, page, html, `Proxy-Authenticate: Basic realm="`+bodyWords+`"`), fault.Never, "vault unreachable (the proxy answers 407 at the proxy before https://vault.example.com); check VAULT_PROXY_ADDR"},
		{"forbids it", answers(403, page, html), fault.Never, "the proxy answers 403"},
		{"does not reach Vault", answers(503, page, html), fault.Later, "the proxy answers 503"},
		{"closes", says(), fault.Later, "connection closed before the request was sent"},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, proxy.answer)
			at := *s.address
			at.User = url.UserPassword("agent", password)
			_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "https", Host: "vault.example.com"}, Proxy: http.ProxyURL(&at)}))
			require.NotNil(t, f)
			assert.Equal(t, fault.Unreachable, f.Kind)
			assert.Equal(t, proxy.retry, f.Retry)
			assert.True(t, f.Unsent)
			assert.Contains(t, f.Error(), proxy.text)
			assertSafe(t, f)
			assert.False(t, strings.Contains(f.Error()+f.Unwrap()[len(f.Unwrap())-1].Error(), password), "the proxy's password is in a text")
		})
	}
	t.Run("has a name that nobody knows", func(t *testing.T) {
		t.Parallel()
		at := &url.URL{Scheme: "http", Host: "proxy.invalid:3128"}
		_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "https", Host: "vault.example.com"}, Proxy: http.ProxyURL(at)}))
		require.NotNil(t, f)
		assertUnreachable(t, f, "at the proxy before https://vault.example.com); check the name in VAULT_PROXY_ADDR")
	})
	t.Run("has a certificate that is not trusted", func(t *testing.T) {
		t.Parallel()
		good, _ := certify(t, "127.0.0.1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		_, at := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}})
		_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "https", Host: "vault.example.com"}, Proxy: http.ProxyURL(at)}))
		require.NotNil(t, f)
		assert.Equal(t, fault.TLS, f.Kind)
		assert.Contains(t, f.Error(), "the proxy's certificate is not trusted (at the proxy before https://vault.example.com); name the CA that signed it")
	})
	t.Run("refuses connections", func(t *testing.T) {
		t.Parallel()
		at := &url.URL{Scheme: "http", Host: closedPort(t), User: url.UserPassword("agent", password)}
		_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "https", Host: "vault.example.com"}, Proxy: http.ProxyURL(at)}))
		require.NotNil(t, f)
		assertUnreachable(t, f, "vault unreachable (connection refused at the proxy before https://vault.example.com)")
		assert.False(t, strings.Contains(f.Error()+f.Cause.Error(), password), "the proxy's password is in a text")
	})
}

func assertUnreachable(t *testing.T, f *fault.Error, text string) {
	t.Helper()
	assert.Equal(t, fault.Unreachable, f.Kind)
	assert.Equal(t, fault.Later, f.Retry)
	assert.True(t, f.Unsent)
	assert.Contains(t, f.Error(), text)
	assertSafe(t, f)
}
