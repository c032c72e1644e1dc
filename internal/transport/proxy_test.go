package transport_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

const proxyPassword = "CANARYpassword"

func proxyAt(u *url.URL) *transport.Proxy {
	return &transport.Proxy{URL: u, Variable: "VAULT_PROXY_ADDR"}
}

// assertHidesProxyPassword checks that a failure does not show the password in any form.
func assertHidesProxyPassword(t testing.TB, f *patience.Failure) {
	t.Helper()
	text := fmt.Sprintf("%v %+v %s", f.Fault.Error(), f.Fault.Cause, canary.Sinks()["reflection"](f.Fault))
	assert.False(t, strings.Contains(text, proxyPassword), "the proxy's password is in a text")
	assert.False(t, strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("agent:" + proxyPassword))[:20]), "the proxy's password is in a text, in base64")
}

// The error of a proxy names the proxy and its variable.
func TestProxyFails(t *testing.T) {
	t.Parallel()
	echo := "Proxy-Authenticate: Basic realm=\"" + bodyWords + " agent:" + proxyPassword + "\""
	for _, proxy := range []struct {
		name   string
		answer func(net.Conn)
		scheme string // of the target
		retry  patience.When
		text   string
		kind   fault.Kind
	}{
		{"wants a password", answers(407, page, html, echo), "https", patience.Never, "the proxy does not connect the agent to vault (the proxy answers 407 at the proxy PROXY in front of https://vault.example.com); check VAULT_PROXY_ADDR on the Patch server, the credentials in it", fault.Unreachable},
		{"wants a password, plain", answers(407, page, html, echo), "http", patience.Never, "the proxy does not connect the agent to vault (the proxy answers 407 at the proxy PROXY in front of http://vault.example.com); check VAULT_PROXY_ADDR", fault.Unreachable},
		{"wants Windows credentials", answers(407, page, html, "Proxy-Authenticate: Negotiate", "Proxy-Authenticate: NTLM"), "https", patience.Never, "(the proxy answers 407 and asks for Negotiate, NTLM at the proxy PROXY in front of https://vault.example.com); let the proxy accept Basic credentials from VAULT_PROXY_ADDR on the Patch server, or none: the agent sends no other kind", fault.Unreachable},
		{"wants Digest, plain", answers(407, page, html, `Proxy-Authenticate: Digest realm="`+bodyWords+`"`), "http", patience.Never, "(the proxy answers 407 and asks for Digest at the proxy PROXY in front", fault.Unreachable},
		{"wants its own password as a scheme", answers(407, page, html, "Proxy-Authenticate: "+proxyPassword), "https", patience.Never, "(the proxy answers 407 and asks for [masked] at the proxy PROXY in front", fault.Unreachable},
		{"wants Basic among others", answers(407, page, html, `Proxy-Authenticate: Negotiate, basic realm="x"`), "https", patience.Never, "(the proxy answers 407 at the proxy PROXY in front", fault.Unreachable},
		{"forbids it", answers(403, page, html), "https", patience.Never, "the proxy answers 403", fault.Unreachable},
		{"does not reach Vault", answers(503, page, html), "https", patience.Later, "(the proxy answers 503 at the proxy PROXY in front of https://vault.example.com); check the address, that Vault runs there, that the proxy reaches it and lets the agent through, and VAULT_PROXY_ADDR on the Patch server", fault.Unreachable},
		{"does not reach Vault, plain", answers(503, page, html), "http", patience.Later, "(status 503, text/html at http://vault.example.com); check the address, that Vault runs, and VAULT_PROXY_ADDR on the Patch server", fault.BadResponse},
		{"closes", says(), "https", patience.Later, "connection closed", fault.Unreachable},
		{"closes, plain", says(), "http", patience.Later, "VAULT_PROXY_ADDR on the Patch server, and the network", fault.Unreachable},
		{"limits its clients", answers(429, page, html), "https", patience.Paced, "the proxy in front of vault is rate limiting the agent (the proxy answers 429", fault.RateLimited},
		{"header without end", func(conn net.Conn) {
			for _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n"); err == nil; _, err = io.WriteString(conn, "X: "+strings.Repeat("0", 4096)+"\r\n") {
			}
		}, "https", patience.Never, "does not speak HTTP/1.1", fault.BadResponse},
		{"garbage", says(bodyWords + "\r\n\r\n"), "https", patience.Never, "the server at the proxy PROXY in front of https://vault.example.com does not speak HTTP/1.1", fault.BadResponse},
		{"garbage, plain", says(bodyWords + "\r\n\r\n"), "http", patience.Never, "the server there may not be a proxy", fault.BadResponse},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, proxy.answer)
			at := *s.address
			at.User = url.UserPassword("agent", proxyPassword)
			f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: proxy.scheme, Host: "vault.example.com"}, Proxy: proxyAt(&at)}))
			assert.Equal(t, proxy.retry, f.Retry)
			assert.Contains(t, f.Fault.Error(), strings.ReplaceAll(proxy.text, " PROXY ", " "+s.address.Host+" "))
			assert.Equal(t, proxy.kind, f.Fault.Kind)
			if proxy.kind != fault.RateLimited {
				assert.Contains(t, f.Fault.Error(), "VAULT_PROXY_ADDR")
			}
			assert.Equal(t, f.Unsent, proxy.scheme == "https" || strings.HasPrefix(proxy.name, "wants"))
			assertSafe(t, f)
			assertHidesProxyPassword(t, f)
		})
	}
	for _, target := range []string{"http", "https"} {
		for _, scheme := range []string{"http", "https", "socks5", "socks5h"} {
			t.Run(scheme+" proxy is down, target "+target, func(t *testing.T) {
				t.Parallel()
				at := &url.URL{Scheme: scheme, Host: vaulttest.ClosedPort(t), User: url.UserPassword("agent", proxyPassword)}
				f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: target, Host: "vault.example.com"}, Proxy: proxyAt(at)}))
				assertUnreachable(t, f, "the proxy in front of vault is unreachable (connection refused at the proxy "+at.Host+" in front of "+target+"://vault.example.com); check VAULT_PROXY_ADDR on the Patch server, that the proxy runs there")
				assert.NotContains(t, f.Fault.Error(), "that Vault runs there")
				assertHidesProxyPassword(t, f)
			})
		}
		t.Run("a name that nobody knows, target "+target, func(t *testing.T) {
			t.Parallel()
			at := &url.URL{Scheme: "http", Host: "proxy.invalid:3128"}
			f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: target, Host: "vault.example.com"}, Proxy: proxyAt(at)}))
			assertUnreachable(t, f, "check the name in VAULT_PROXY_ADDR on the Patch server, and its DNS")
			assert.Contains(t, f.Fault.Error(), "no address for proxy.invalid: ")
		})
	}
}

// Most proxies that expect another scheme in their URL do not say so.
func TestProxyWithAnotherScheme(t *testing.T) {
	t.Parallel()
	nginx := serveRaw(t, answers(400, html, "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n")).address.Host
	alert := serveRaw(t, says("\x15\x03\x01\x00\x02\x02\x46")).address.Host // as OpenSSL answers to plain HTTP
	closes := serveRaw(t, says()).address.Host
	for _, proxy := range []struct{ name, host, scheme, target, text string }{
		{"expects TLS", nginx, "http", "https", "(the proxy answers 400 at the proxy PROXY in front of https://vault.example.com); check VAULT_PROXY_ADDR on the Patch server, the credentials in it, its scheme"},
		{"expects TLS, plain", nginx, "http", "http", "the server at http://vault.example.com expects https, or the proxy in front of it does; use https in the address, or https:// in VAULT_PROXY_ADDR on the Patch server"},
		{"expects TLS and sends an alert", alert, "http", "https", "or may expect https://"},
		{"expects TLS and closes", closes, "http", "https", "check VAULT_PROXY_ADDR on the Patch server, that the proxy runs there (http:// or https://, and its port)"},
		{"speaks no SOCKS", serveConnections(t, func(conn net.Conn) {
			io.ReadFull(conn, make([]byte, 3))
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}).Host, "socks5", "https", "the credentials in it, its scheme (http, https or socks5) and port"},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			t.Parallel()
			at := &url.URL{Scheme: proxy.scheme, Host: proxy.host}
			f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: proxy.target, Host: "vault.example.com"}, Proxy: proxyAt(at)}))
			assert.Contains(t, f.Fault.Error(), strings.ReplaceAll(proxy.text, "PROXY ", proxy.host+" "))
			assertSafe(t, f)
		})
	}
}

// If a proxy echoes its request, the password does not show.
func TestProxyEchoesItsPassword(t *testing.T) {
	t.Parallel()
	basic := base64.StdEncoding.EncodeToString([]byte("agent:" + proxyPassword))
	for _, echo := range []string{proxyPassword, "agent:" + proxyPassword, basic, url.QueryEscape("agent:" + proxyPassword), strings.ToUpper(proxyPassword)} {
		t.Run(echo[:4], func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, vault(500, `{"errors":["the proxy saw `+echo+`."]}`))
			at := *s.address
			at.User = url.UserPassword("agent", proxyPassword)
			f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: "vault.example.com"}, Proxy: proxyAt(&at)}))
			assert.Contains(t, f.Fault.Error(), "[masked]")
			assert.NotContains(t, strings.ToLower(f.Fault.Error()), strings.ToLower(echo))
			assertHidesProxyPassword(t, f)
		})
	}
}

// If the password is too short to be masked alone, it is masked beside the user name.
func TestProxyEchoesAShortPassword(t *testing.T) {
	t.Parallel()
	for _, echo := range []string{"agent:pass1", base64.StdEncoding.EncodeToString([]byte("agent:pass1"))} {
		s := serveRaw(t, vault(500, `{"errors":["the proxy saw `+echo+`"]}`))
		at := *s.address
		at.User = url.UserPassword("agent", "pass1")
		f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: "vault.example.com"}, Proxy: proxyAt(&at)}))
		assert.ErrorContains(t, f.Fault, "the proxy saw [masked]")
		assert.NotContains(t, f.Fault.Error(), "pass1")
	}
}

// The user name at a proxy is part of its credentials.
func TestProxyEchoesItsUser(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, vault(500, `{"errors":["the proxy does not know CANARYuser."]}`))
	at := *s.address
	at.User = url.UserPassword("CANARYuser", proxyPassword)
	f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: "vault.example.com"}, Proxy: proxyAt(&at)}))
	assert.ErrorContains(t, f.Fault, "the proxy does not know [masked].")
	assertHidesProxyPassword(t, f)
}

// An https proxy gets neither Vault's server name nor the client certificate.
func TestHTTPSProxy(t *testing.T) {
	t.Parallel()
	root := vaulttest.NewCertificate(t, nil, certificates{CA: true, CommonName: "Root"})
	named := vaulttest.NewCertificate(t, root, certificates{DNSNames: []string{"vault.corp.example"}})
	local := vaulttest.NewCertificate(t, root, certificates{})
	client := vaulttest.NewCertificate(t, root, certificates{Client: true})
	var sawName atomic.Pointer[string]
	var sawCertificate atomic.Bool
	listen := func(leaf *vaulttest.Certificate) func(net.Listener) net.Listener {
		return func(l net.Listener) net.Listener {
			return tls.NewListener(l, &tls.Config{
				Certificates: []tls.Certificate{leaf.TLS()},
				ClientAuth:   tls.RequestClientCert,
				GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					sawName.Store(&hello.ServerName)
					return nil, nil
				},
				VerifyConnection: func(state tls.ConnectionState) error {
					if len(state.PeerCertificates) > 0 {
						sawCertificate.Store(true)
					}
					return nil
				},
			})
		}
	}
	vaultTLS := serveEach(t, func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{named.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool()})
	}, func(conn net.Conn, _ int) { vault(200, `{"request_id":"1"}`)(conn) })
	pair := client.TLS()
	config := func(proxy *url.URL) transport.Config {
		return transport.Config{
			Address:  &url.URL{Scheme: "https", Host: vaultTLS},
			TLS:      &tls.Config{RootCAs: root.Pool(), ServerName: "vault.corp.example", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }},
			ProxyTLS: &tls.Config{RootCAs: root.Pool()},
			Proxy:    proxyAt(proxy),
		}
	}
	t.Run("well", func(t *testing.T) {
		p := serveProxy(t, url.UserPassword("agent", proxyPassword), listen(local))
		w := newWire(t, config(&url.URL{Scheme: "https", Host: p.host, User: url.UserPassword("agent", proxyPassword)}))
		assert.Equal(t, 200, read(t, w, nil).Status)
		assert.Empty(t, *sawName.Load(), "the proxy is asked for the name in its URL, which is an address")
		assert.False(t, sawCertificate.Load(), "the proxy saw Vault's client certificate")
	})
	t.Run("its certificate is for Vault's name", func(t *testing.T) {
		p := serveProxy(t, nil, listen(named))
		f := fails(t, newWire(t, config(&url.URL{Scheme: "https", Host: p.host})))
		assert.Equal(t, fault.TLS, f.Fault.Kind)
		assert.Contains(t, f.Fault.Error(), "the proxy's certificate is for another host name (")
		assert.Contains(t, f.Fault.Error(), " at the proxy "+p.host+" in front of https://"+vaultTLS+"); use a name of the certificate in VAULT_PROXY_ADDR on the Patch server")
		assert.NotContains(t, f.Fault.Error(), "VAULT_TLS_SERVER_NAME")
		assertSafe(t, f)
	})
	t.Run("its certificate has no names", func(t *testing.T) {
		p := serveProxy(t, nil, listen(vaulttest.NewCertificate(t, root, certificates{NoSAN: true})))
		f := fails(t, newWire(t, config(&url.URL{Scheme: "https", Host: p.host})))
		assert.Contains(t, f.Fault.Error(), "the proxy's certificate has no subject alternative name (")
		assert.Contains(t, f.Fault.Error(), "reissue it")
	})
	t.Run("its certificate is not trusted", func(t *testing.T) {
		p := serveProxy(t, nil, listen(vaulttest.NewCertificate(t, nil, certificates{})))
		f := fails(t, newWire(t, config(&url.URL{Scheme: "https", Host: p.host})))
		assert.Equal(t, fault.TLS, f.Fault.Kind)
		assert.Contains(t, f.Fault.Error(), "the proxy's certificate is not trusted (")
		assert.Contains(t, f.Fault.Error(), "VAULT_CACERT")
		assert.True(t, f.Unsent)
	})
	t.Run("it demands a client certificate", func(t *testing.T) {
		p := serveProxy(t, nil, func(l net.Listener) net.Listener {
			return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{local.TLS()}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
		})
		f := fails(t, newWire(t, config(&url.URL{Scheme: "https", Host: p.host})))
		assert.Equal(t, fault.TLS, f.Fault.Kind)
		assert.Contains(t, f.Fault.Error(), "the proxy refused the TLS connection (")
		assert.Contains(t, f.Fault.Error(), "VAULT_PROXY_ADDR")
		assert.NotContains(t, f.Fault.Error(), "set VAULT_CLIENT_CERT")
	})
	for _, target := range []string{"http", "https"} {
		t.Run("it speaks plain HTTP, target "+target, func(t *testing.T) {
			s := serveConnections(t, func(conn net.Conn) {
				io.ReadFull(conn, make([]byte, 100))
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"+html)
			})
			c := config(&url.URL{Scheme: "https", Host: s.Host})
			c.Address.Scheme = target
			f := fails(t, newWire(t, c))
			assert.Equal(t, fault.TLS, f.Fault.Kind)
			assert.Contains(t, f.Fault.Error(), "the proxy in VAULT_PROXY_ADDR does not speak TLS; check the port in VAULT_PROXY_ADDR on the Patch server, and use http:// in it if the proxy speaks plain HTTP to its clients")
			assert.NotContains(t, f.Fault.Error(), "Vault's listener")
			assertSafe(t, f)
		})
	}
}

// Behind a proxy, Vault's certificate is verified as usual.
func TestVaultsTLSBehindAProxy(t *testing.T) {
	t.Parallel()
	leaf := vaulttest.NewCertificate(t, nil, certificates{})
	address := parseURL(t, vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, likeVault))
	p := serveProxy(t, nil, nil)
	f := fails(t, newWire(t, transport.Config{Address: address, Proxy: proxyAt(&url.URL{Scheme: "http", Host: p.host})}))
	assert.Equal(t, fault.TLS, f.Fault.Kind)
	assert.Contains(t, f.Fault.Error(), "vault's certificate is not trusted (")
	assert.Contains(t, f.Fault.Error(), " at "+address.String()+")")
}

// serveSOCKS serves a SOCKS5 proxy that requires the user and password, if they are not
// empty. reply is its answer to each request to connect; 0 means success.
func serveSOCKS(t testing.TB, user, password string, reply byte) (host string) {
	t.Helper()
	return serveConnections(t, func(conn net.Conn) {
		lines := bufio.NewReader(conn)
		next := func(n int) []byte {
			b := make([]byte, n)
			io.ReadFull(lines, b)
			return b
		}
		methods := next(int(next(2)[1]))
		if user == "" {
			conn.Write([]byte{5, 0})
		} else {
			if !strings.Contains(string(methods), "\x02") {
				conn.Write([]byte{5, 0xff})
				return
			}
			conn.Write([]byte{5, 2})
			gotUser := string(next(int(next(2)[1])))
			gotPassword := string(next(int(next(1)[0])))
			if gotUser != user || gotPassword != password {
				conn.Write([]byte{1, 1})
				return
			}
			conn.Write([]byte{1, 0})
		}
		head := next(4)
		var target string
		switch head[3] {
		case 1:
			target = net.IP(next(4)).String()
		case 3:
			target = string(next(int(next(1)[0])))
		}
		port := next(2)
		conn.Write([]byte{5, reply, 0, 1, 127, 0, 0, 1, 0, 0})
		if reply == 0 {
			forward(conn, fmt.Sprintf("%s:%d", target, int(port[0])<<8|int(port[1])))
		}
	}).Host
}

func TestSOCKS(t *testing.T) {
	t.Parallel()
	root := vaulttest.NewCertificate(t, nil, certificates{CA: true})
	leaf := vaulttest.NewCertificate(t, root, certificates{})
	https := parseURL(t, vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, likeVault))
	http := serve(t, nil, func(*http.Request) {})
	login := url.UserPassword("agent", proxyPassword)
	for _, proxy := range []struct {
		name           string
		user, password string // that it wants
		reply          byte
		given          *url.Userinfo
		retry          patience.When
		text           string // empty for an answer
	}{
		{"open", "", "", 0, nil, 0, ""},
		{"open, given a password", "", "", 0, login, 0, ""},
		{"wants a password", "agent", proxyPassword, 0, login, 0, ""},
		{"given no password", "agent", "another", 0, nil, patience.Never, "the proxy answers: no acceptable authentication methods"},
		{"given a wrong password", "agent", "another", 0, login, patience.Never, "the proxy answers: username/password authentication failed"},
		{"forbids it", "", "", 2, nil, patience.Later, "the proxy answers: connection not allowed by ruleset"},
		{"does not reach Vault", "", "", 5, nil, patience.Later, "the proxy answers: connection refused"},
	} {
		for _, address := range []*url.URL{http, https} {
			t.Run(proxy.name+", "+address.Scheme, func(t *testing.T) {
				t.Parallel()
				host := serveSOCKS(t, proxy.user, proxy.password, proxy.reply)
				w := newWire(t, transport.Config{Address: address, TLS: &tls.Config{RootCAs: root.Pool()}, Proxy: proxyAt(&url.URL{Scheme: "socks5", Host: host, User: proxy.given})})
				if proxy.text == "" {
					assert.Equal(t, 200, read(t, w, nil).Status)
					return
				}
				f := fails(t, w)
				assert.Equal(t, fault.Unreachable, f.Fault.Kind)
				assert.Equal(t, proxy.retry, f.Retry)
				assert.True(t, f.Unsent)
				do := "check VAULT_PROXY_ADDR on the Patch server, the credentials in it"
				if proxy.retry == patience.Later {
					do = "check the address, that Vault runs there, that the proxy reaches it and lets the agent through, and VAULT_PROXY_ADDR on the Patch server"
				}
				assert.Contains(t, f.Fault.Error(), "the proxy does not connect the agent to vault ("+proxy.text+" at the proxy "+host+" in front of "+address.String()+"); "+do)
				assertSafe(t, f)
				assertHidesProxyPassword(t, f)
			})
		}
	}
	t.Run("it is none", func(t *testing.T) {
		t.Parallel()
		s := serveConnections(t, func(conn net.Conn) {
			io.ReadFull(conn, make([]byte, 3))
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		})
		f := fails(t, newWire(t, transport.Config{Address: http, Proxy: proxyAt(&url.URL{Scheme: "socks5", Host: s.Host})}))
		assert.Contains(t, f.Fault.Error(), "the proxy does not connect the agent to vault (")
		assert.Contains(t, f.Fault.Error(), "VAULT_PROXY_ADDR")
	})
	t.Run("it hangs", func(t *testing.T) {
		t.Parallel()
		s := serveConnections(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		f := fails(t, newWire(t, transport.Config{Address: http, Timeout: 200 * time.Millisecond, Proxy: proxyAt(&url.URL{Scheme: "socks5", Host: s.Host})}))
		assertUnreachable(t, f, "vault unreachable through the proxy (no answer within 200ms (VAULT_CLIENT_TIMEOUT) at the proxy "+s.Host+" in front of "+http.String()+"); check VAULT_PROXY_ADDR")
	})
}

// A tunnel ends with its request, even if the proxy is silent.
func TestProxyHangs(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"http", "https"} {
		s := serveRaw(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		began := time.Now()
		f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: target, Host: "vault.example.com"}, Timeout: 200 * time.Millisecond, Proxy: proxyAt(s.address)}))
		require.Less(t, time.Since(began), 10*time.Second)
		assert.Contains(t, f.Fault.Error(), "no answer within 200ms (VAULT_CLIENT_TIMEOUT)")
		assert.Contains(t, f.Fault.Error(), "VAULT_PROXY_ADDR on the Patch server")
		assertSafe(t, f)
	}
}
