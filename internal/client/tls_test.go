package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// certify makes a certificate that is its own authority, for the name and a time.
func certify(t *testing.T, name string, from, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{name},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serveTLS answers every request like a Vault.
func serveTLS(t *testing.T, config *tls.Config) (*httptest.Server, *url.URL) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"request_id":"1","data":{"protocol":"`+r.Proto+`"}}`)
	}))
	server.TLS = config
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	return server, address
}

// Every message about TLS says which variable, or what else, helps. Trap 36.
func TestTLS(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good, trusted := certify(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))
	expired, trustedExpired := certify(t, "127.0.0.1", now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	early, trustedEarly := certify(t, "127.0.0.1", now.Add(24*time.Hour), now.Add(48*time.Hour))
	other, trustedOther := certify(t, "vault.example.com", now.Add(-time.Hour), now.Add(time.Hour))
	date := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

	for _, server := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		unsent bool // 0-RTT apart, TLS 1.3 lets a client speak before the server refuses it
		texts  []string
	}{
		{"unknown CA", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{}, true,
			[]string{"vault's certificate is not trusted (at ADDRESS)", "VAULT_CACERT"}},
		{"loopback is no exception", &tls.Config{Certificates: []tls.Certificate{good}}, nil, true,
			[]string{"not trusted"}},
		{"another host name", &tls.Config{Certificates: []tls.Certificate{other}}, &tls.Config{RootCAs: trustedOther}, true,
			[]string{"vault's certificate is for another host name (at ADDRESS)", "VAULT_TLS_SERVER_NAME"}},
		{"expired", &tls.Config{Certificates: []tls.Certificate{expired}}, &tls.Config{RootCAs: trustedExpired}, true,
			[]string{"expired or not valid yet (at ADDRESS, valid from " + date(now.Add(-48*time.Hour)) + " to " + date(now.Add(-24*time.Hour)) + ", it is " + date(now)[:10], "set the clock"}},
		{"not valid yet", &tls.Config{Certificates: []tls.Certificate{early}}, &tls.Config{RootCAs: trustedEarly}, true,
			[]string{"expired or not valid yet (at ADDRESS, valid from " + date(now.Add(24*time.Hour)) + " to "}},
		{"wants a client certificate", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, &tls.Config{RootCAs: trusted}, false,
			[]string{"vault refused the TLS connection (tls: certificate required at ADDRESS)", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"}},
		{"wants one, TLS 1.2", &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, &tls.Config{RootCAs: trusted}, true,
			[]string{"vault refused the TLS connection (tls: ", "VAULT_CLIENT_CERT"}},
		{"TLS 1.1 alone", &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}, true,
			[]string{"protocol version not supported", "TLS 1.2 or later"}},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			_, address := serveTLS(t, server.server)
			_, f := read(t, newClient(t, client.Config{Address: address, TLS: server.client}))
			require.NotNil(t, f)
			assert.Equal(t, fault.TLS, f.Kind, f.Error())
			assert.Equal(t, fault.Never, f.Retry)
			if server.unsent {
				assert.True(t, f.Unsent)
			}
			for _, text := range server.texts {
				assert.Contains(t, f.Error(), strings.ReplaceAll(text, "ADDRESS", address.String()))
			}
			assertSafe(t, f)
		})
	}

	t.Run("verification is the certificate's own error", func(t *testing.T) {
		t.Parallel()
		_, address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}})
		_, f := read(t, newClient(t, client.Config{Address: address}))
		_, ok := errors.AsType[x509.UnknownAuthorityError](f)
		assert.True(t, ok)
	})
	t.Run("HTTP/1.1 though the server offers HTTP/2", func(t *testing.T) {
		t.Parallel()
		_, address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}})
		var data struct {
			Protocol string `json:"protocol"`
		}
		_, f := readInto(t, newClient(t, client.Config{Address: address, TLS: &tls.Config{RootCAs: trusted}}), &data)
		require.Nil(t, f)
		assert.Equal(t, "HTTP/1.1", data.Protocol)
	})
}

func TestWrongScheme(t *testing.T) {
	t.Parallel()
	t.Run("https to a port of plain HTTP", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		defer server.Close()
		address, _ := url.Parse("https" + strings.TrimPrefix(server.URL, "http"))
		_, f := read(t, newClient(t, client.Config{Address: address}))
		require.NotNil(t, f)
		assert.Equal(t, fault.TLS, f.Kind)
		assert.Equal(t, fault.Never, f.Retry)
		assert.Contains(t, f.Error(), "expects http, not https; check the port in the address, and have Vault listen with TLS")
		assertSafe(t, f)
	})
	t.Run("http to a port of TLS", func(t *testing.T) {
		t.Parallel()
		good, _ := certify(t, "127.0.0.1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		_, address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}})
		address.Scheme = "http"
		_, f := read(t, newClient(t, client.Config{Address: address}))
		require.NotNil(t, f)
		assert.Equal(t, fault.TLS, f.Kind)
		assert.Contains(t, f.Error(), "expects https; write https in the address")
		assertSafe(t, f)
	})
	for _, banner := range []string{"SSH-2.0-" + bodyWords + "\r\n", strings.Repeat(bodyWords, 100)} {
		t.Run("https to something else", func(t *testing.T) {
			t.Parallel()
			address := serveConnections(t, func(conn net.Conn) { io.WriteString(conn, banner); io.Copy(io.Discard, conn) })
			address.Scheme = "https"
			_, f := read(t, newClient(t, client.Config{Address: address}))
			require.NotNil(t, f)
			assert.Equal(t, fault.TLS, f.Kind)
			assert.True(t, f.Unsent)
			assert.Contains(t, f.Error(), "does not speak TLS; check the port in the address")
			assertSafe(t, f)
		})
	}
}

// A handshake that is cut off, as by a balancer whose node is away, is no fault
// of the request: it was not sent.
func TestBrokenHandshake(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		name string
		cut  func(net.Conn)
		text string
	}{
		{"closed", func(net.Conn) {}, "connection "},
		{"closed after the first words", func(conn net.Conn) { io.ReadFull(conn, make([]byte, 100)) }, "connection "},
		{"reset", func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, "connection reset"},
		{"hangs", func(conn net.Conn) { io.Copy(io.Discard, conn) }, "no answer within 300ms"},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			address := serveConnections(t, server.cut)
			address.Scheme = "https"
			_, f := read(t, newClient(t, client.Config{Address: address, Timeout: 300 * time.Millisecond}))
			require.NotNil(t, f)
			assert.Equal(t, fault.Unreachable, f.Kind)
			assert.Equal(t, fault.Later, f.Retry)
			assert.True(t, f.Unsent)
			assert.Contains(t, f.Error(), server.text)
			assertSafe(t, f)
		})
	}
	// The first connection hangs in its handshake; its place is free again when
	// the attempt has ended.
	t.Run("the place of one that hangs is free again", func(t *testing.T) {
		t.Parallel()
		good, trusted := certify(t, "127.0.0.1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		_, behind := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}})
		first := make(chan struct{}, 1)
		first <- struct{}{}
		address := serveConnections(t, func(conn net.Conn) {
			select {
			case <-first:
				io.Copy(io.Discard, conn)
			default:
				forward(conn, behind.Host)
			}
		})
		address.Scheme = "https"
		c := newClient(t, client.Config{Address: address, TLS: &tls.Config{RootCAs: trusted}, Timeout: 300 * time.Millisecond, Connections: 1})
		_, f := read(t, c)
		require.NotNil(t, f)
		var answer *client.Answer
		for range 20 { // on a busy machine a time-out may repeat
			if answer, f = read(t, c); f == nil {
				break
			}
		}
		require.Nil(t, f)
		assert.Equal(t, 200, answer.Status)
	})
}
