package transport_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// logged is what was written to the process's log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// captureLog captures the process's log until the test ends. The test must not be
// parallel.
func captureLog(t *testing.T) *logged {
	t.Helper()
	l := &logged{}
	log.SetOutput(l)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return l
}

// serveEach answers every request of a connection with the func, which gets the number of
// earlier requests on it.
func serveEach(t testing.TB, listen func(net.Listener) net.Listener, answer func(conn net.Conn, before int)) (host string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host = listener.Addr().String()
	if listen != nil {
		listener = listen(listener)
	}
	serveOn(t, listener, func(conn net.Conn) {
		lines := bufio.NewReader(conn)
		for before := 0; ; before++ {
			r, err := http.ReadRequest(lines)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			answer(conn, before)
		}
	})
	return host
}

// Data after an answer from a server or proxy is not logged, as net/http would, and does
// not affect later requests.
func TestStrayBytes(t *testing.T) {
	const secret = "CANARYstray-rest-of-a-secret-whose-length-is-wrong"
	wrote := captureLog(t)
	leaf := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	withTLS := func(l net.Listener) net.Listener {
		return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}})
	}
	trusting := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: leaf.Pool()}

	const header, whole = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", `{"request_id":"1"}`
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(whole), whole)
	chunked := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(whole), whole)
	late := func(parts ...string) func(net.Conn, int) {
		return func(conn net.Conn, _ int) {
			for i, part := range parts {
				if i > 0 {
					time.Sleep(20 * time.Millisecond) // while the connection is idle
				}
				io.WriteString(conn, part)
			}
		}
	}
	sent := make(chan struct{}, 1000) // an answer, and what is behind it
	for _, server := range []struct {
		name   string
		answer func(net.Conn, int)
	}{
		{"a length that is too short", late(header + length + secret)},
		{"a lot", late(header + length + strings.Repeat(secret, 1000))},
		{"in a later segment", late(header+length, secret)},
		{"one byte, and the rest later", late(header+length+secret[:1], secret[1:])},
		{"behind chunks", late(header + chunked + secret)},
		{"behind chunks, later", late(header+chunked, secret)},
		{"a header that ends in bare line feeds", late(strings.ReplaceAll(header+length+secret, "\r\n", "\n"))},
		{"a header of mixed line ends", late(header + strings.Replace(length, "\r\n\r\n", "\n\r\n", 1) + secret)},
		{"a header of mixed line ends, the other way", late(header + strings.Replace(length, "\r\n\r\n", "\r\n\n", 1) + secret + "\r\n\r\n")},
		{"behind 204", late("HTTP/1.1 204 No Content\r\n\r\n" + secret)},
		{"behind a 1xx answer and another", late("HTTP/1.1 103 Early Hints\r\n\r\n" + header + length + secret)},
		{"another answer", late(header + length + header + strings.Replace(length, "request_id", secret[:10], 1))},
		{"an answer, while the connection is idle", late(header+length, header+length)},
	} {
		for _, way := range []struct {
			name   string
			server func(net.Listener) net.Listener
			proxy  func() *url.URL
		}{
			{"http", nil, nil},
			{"https", withTLS, nil},
			{"http through an http proxy", nil, func() *url.URL { return &url.URL{Scheme: "http", Host: serveProxy(t, nil, nil).host} }},
			{"https through an http proxy", withTLS, func() *url.URL { return &url.URL{Scheme: "http", Host: serveProxy(t, nil, nil).host} }},
			{"http through an https proxy", nil, func() *url.URL { return &url.URL{Scheme: "https", Host: serveProxy(t, nil, withTLS).host} }},
			{"https through an https proxy", withTLS, func() *url.URL { return &url.URL{Scheme: "https", Host: serveProxy(t, nil, withTLS).host} }},
		} {
			t.Run(server.name+", "+way.name, func(t *testing.T) {
				host := serveEach(t, way.server, func(conn net.Conn, before int) {
					server.answer(conn, before)
					sent <- struct{}{}
				})
				config := transport.Config{Address: &url.URL{Scheme: "http", Host: host}, TLS: trusting, ProxyTLS: trusting, Connections: 2}
				if way.server != nil {
					config.Address.Scheme = "https"
				}
				if way.proxy != nil {
					config.Proxy = &transport.Proxy{URL: way.proxy(), Variable: "VAULT_PROXY_ADDR"}
				}
				w := newWire(t, config)
				retry := newRetry(t, w, generous)
				method := http.MethodGet
				if strings.Contains(server.name, "204") {
					method = http.MethodPut // Vault answers no read so
				}
				for range 4 {
					_, err := retry.RoundTrip(request(t, w, method, "secret/data/app"))
					require.NoError(t, err)
					<-sent
				}
				w.Close()
			})
		}
	}
	assert.Empty(t, wrote.String())
}

// An answerConn delivers every answer whole, however it is split.
func TestAnswersInPieces(t *testing.T) {
	t.Parallel()
	const whole = `{"request_id":"1","lease_id":"0123456789012345678901234567890123456789012345678901234567890123456789"}`
	header := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Long: " + strings.Repeat("0", 200) + "\r\n"
	length := header + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(whole), whole)
	var tiny strings.Builder
	for _, b := range []byte(whole) {
		fmt.Fprintf(&tiny, "1\r\n%c\r\n", b)
	}
	chunked := header + "Transfer-Encoding: chunked\r\n\r\n" + tiny.String() + "0\r\n\r\n"
	trailer := header + "Trailer: X-Trailer\r\nTransfer-Encoding: chunked\r\n\r\n" + tiny.String() + "0\r\nX-Trailer: 1\r\n\r\n"
	early := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n", 3) + length
	inPieces := func(text string, size int) func(net.Conn, int) {
		return func(conn net.Conn, _ int) {
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				if _, err := io.WriteString(conn, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}
	}
	for _, answer := range []struct{ name, text string }{
		{"with its length", length},
		{"in chunks of one byte", chunked},
		{"with a trailer", trailer},
		{"behind three 1xx answers", early},
		{"in bare line feeds", strings.ReplaceAll(length, "\r\n", "\n")},
	} {
		for _, size := range []int{1, 2, 3, 7, 63, 64, 65, 100_000} {
			t.Run(fmt.Sprintf("%s, by %d", answer.name, size), func(t *testing.T) {
				t.Parallel()
				host := serveEach(t, nil, inPieces(answer.text, size))
				w := newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: host}, Connections: 1})
				for range 3 {
					assert.Len(t, read(t, w, nil).LeaseID, 70)
				}
				assert.Equal(t, 1, w.Dials())
			})
		}
	}
	t.Run("20,000 chunks", func(t *testing.T) {
		t.Parallel()
		text := header + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\n \r\n", 20_000) + tiny.String() + "0\r\n\r\n"
		host := serveEach(t, nil, inPieces(text, 100_000))
		assert.Len(t, read(t, wireTo(t, &url.URL{Scheme: "http", Host: host}), nil).LeaseID, 70)
	})
}

// Data in a connection's buffer after an answer is never the answer to another request.
func TestStrayAnswerServesNoOtherRequest(t *testing.T) {
	t.Parallel()
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	good, stray := `{"request_id":"good"}`, `{"request_id":"1","lease_id":"stray"}`
	text := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s%sContent-Length: %d\r\n\r\n%s", header, len(good), good, header, len(stray), stray)
	host := serveEach(t, nil, func(conn net.Conn, _ int) { io.WriteString(conn, text) })
	w := newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: host}, Connections: 2})
	var group sync.WaitGroup
	var strays atomic.Int64
	for range 8 {
		group.Go(func() {
			for range 25 {
				response, f := send(t, w)
				if !assert.Nil(t, f) {
					return
				}
				body, _ := io.ReadAll(response.Body)
				if strings.Contains(string(body), "stray") {
					strays.Add(1)
				}
			}
		})
	}
	group.Wait()
	assert.Zero(t, strays.Load())
}
