package transport_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

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

// stray is what is sent after an answer.
const stray = "CANARYstray-rest-of-a-secret-whose-length-is-wrong"

// captureStderr keeps what is written to stderr until the test ends. The test must
// not be parallel.
func captureStderr(t *testing.T) *canary.Stderr {
	t.Helper()
	stderr, err := canary.CaptureStderr()
	require.NoError(t, err)
	t.Cleanup(func() { stderr.Release() })
	return stderr
}

const (
	strayHeader = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	strayWhole  = `{"request_id":"1"}`
)

var (
	strayLength  = fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(strayWhole), strayWhole)
	strayChunked = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(strayWhole), strayWhole)
)

// inTurn answers in parts. All but the first arrive while the connection is idle.
func inTurn(parts ...string) func(net.Conn, int) {
	return func(conn net.Conn, _ int) {
		for i, part := range parts {
			if i > 0 {
				time.Sleep(20 * time.Millisecond)
			}
			io.WriteString(conn, part)
		}
	}
}

// way is how a server is reached.
type way struct {
	name           string
	tls            bool
	proxy, withTLS bool // through a proxy, which speaks TLS itself
}

var ways = []way{
	{"http", false, false, false},
	{"https", true, false, false},
	{"http through an http proxy", false, true, false},
	{"https through an http proxy", true, true, false},
	{"http through an https proxy", false, true, true},
	{"https through an https proxy", true, true, true},
}

// serve serves the answers that way, until the test ends.
func (w way) serve(t *testing.T, leaf *vaulttest.Certificate, answer func(conn net.Conn, before int)) transport.Config {
	listen := func(isTLS bool) (scheme string, listen func(net.Listener) net.Listener) {
		if !isTLS {
			return "http", nil
		}
		return "https", func(l net.Listener) net.Listener {
			return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}})
		}
	}
	trusting := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: leaf.Pool()}
	scheme, listener := listen(w.tls)
	config := transport.Config{Address: &url.URL{Scheme: scheme, Host: serveEach(t, listener, answer)}, TLS: trusting, ProxyTLS: trusting, Connections: 2}
	if w.proxy {
		scheme, listener := listen(w.withTLS)
		config.Proxy = &transport.Proxy{URL: &url.URL{Scheme: scheme, Host: serveProxy(t, nil, listener).host}, Variable: "VAULT_PROXY_ADDR"}
	}
	return config
}

func ownCertificate(t *testing.T) *vaulttest.Certificate {
	return vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

// Data after an answer from a server or proxy is not logged, as net/http would, and does
// not affect later requests.
func TestStrayBytes(t *testing.T) {
	stderr := captureStderr(t)
	leaf := ownCertificate(t)
	sent := make(chan struct{}, 1000) // an answer, and what is behind it
	for _, server := range []struct {
		name   string
		answer func(net.Conn, int)
	}{
		{"a length that is too short", inTurn(strayHeader + strayLength + stray)},
		{"a lot", inTurn(strayHeader + strayLength + strings.Repeat(stray, 1000))},
		{"in a later segment", inTurn(strayHeader+strayLength, stray)},
		{"one byte, and the rest later", inTurn(strayHeader+strayLength+stray[:1], stray[1:])},
		{"behind chunks", inTurn(strayHeader + strayChunked + stray)},
		{"behind chunks, later", inTurn(strayHeader+strayChunked, stray)},
		{"a header that ends in bare line feeds", inTurn(strings.ReplaceAll(strayHeader+strayLength+stray, "\r\n", "\n"))},
		{"a header of mixed line ends", inTurn(strayHeader + strings.Replace(strayLength, "\r\n\r\n", "\n\r\n", 1) + stray)},
		{"a header of mixed line ends, the other way", inTurn(strayHeader + strings.Replace(strayLength, "\r\n\r\n", "\r\n\n", 1) + stray + "\r\n\r\n")},
		{"behind 204", inTurn("HTTP/1.1 204 No Content\r\n\r\n" + stray)},
		{"behind a 1xx answer and another", inTurn("HTTP/1.1 103 Early Hints\r\n\r\n" + strayHeader + strayLength + stray)},
		{"another answer", inTurn(strayHeader + strayLength + strayHeader + strings.Replace(strayLength, "request_id", stray[:10], 1))},
		{"an answer, while the connection is idle", inTurn(strayHeader+strayLength, strayHeader+strayLength)},
	} {
		for _, way := range ways {
			t.Run(server.name+", "+way.name, func(t *testing.T) {
				w := newWire(t, way.serve(t, leaf, func(conn net.Conn, before int) {
					server.answer(conn, before)
					sent <- struct{}{}
				}))
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
	assert.Empty(t, stderr.String())
}

// Data that arrives when a request has got the connection, but is not written yet, is stray, too:
// net/http does not expect an answer then.
func TestStrayBytesBeforeTheRequest(t *testing.T) {
	for _, written := range []bool{false, true} {
		here, there := net.Pipe()
		conn := transport.NewAnswerConn(here)
		transport.TakeOn(conn)
		var server sync.WaitGroup
		server.Go(func() {
			defer there.Close()
			if written {
				io.ReadFull(there, make([]byte, len("request")))
			}
			io.WriteString(there, stray)
		})
		if written {
			_, err := io.WriteString(conn, "request")
			require.NoError(t, err)
		}
		n, err := conn.Read(make([]byte, 100))
		if written {
			assert.NoError(t, err)
			assert.NotZero(t, n)
		} else {
			assert.Error(t, err)
			assert.Zero(t, n)
		}
		conn.Close()
		server.Wait()
	}
}

// The capture hears what net/http alone logs, on each way: so TestStrayBytes, and
// the tests of all packages, would not pass without the care that a Wire takes.
func TestNetHTTPLogsStrayBytes(t *testing.T) {
	leaf := ownCertificate(t)
	for _, server := range []struct {
		name   string
		answer func(net.Conn, int)
	}{
		{"in the last segment", inTurn(strayHeader + strayLength + stray)},
		{"late", inTurn(strayHeader+strayLength, stray)},
		{"behind chunks", inTurn(strayHeader + strayChunked + stray)},
	} {
		for _, way := range ways {
			t.Run(server.name+", "+way.name, func(t *testing.T) {
				stderr := captureStderr(t)
				config := way.serve(t, leaf, server.answer)
				plain := &http.Transport{TLSClientConfig: config.TLS}
				if config.Proxy != nil {
					plain.Proxy = http.ProxyURL(config.Proxy.URL)
				}
				defer plain.CloseIdleConnections()
				response, err := (&http.Client{Transport: plain}).Get(config.Address.String() + "/v1/secret/data/app")
				require.NoError(t, err)
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				assert.Eventually(t, func() bool { return strings.Contains(stderr.String(), stray) }, 10*time.Second, time.Millisecond)
			})
		}
	}
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
		for _, size := range []int{1, 2, 3, 7, 127, 128, 129, 100_000} {
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

// The same, for each moment at which net/http can give the connection to the next request.
func TestStrayAnswerWhenTheNextRequestBegins(t *testing.T) {
	t.Parallel()
	for _, order := range []struct {
		name string
		next func(net.Conn)
	}{
		{"after the end of the first", func(conn net.Conn) { transport.EndOn(conn); transport.BeginOn(conn) }},
		{"before the end of the first", func(conn net.Conn) { transport.BeginOn(conn); transport.EndOn(conn) }},
	} {
		t.Run(order.name, func(t *testing.T) {
			t.Parallel()
			client, server := net.Pipe()
			defer server.Close()
			go io.WriteString(server, strayHeader+strayLength+strayHeader+strayLength)
			conn := transport.NewAnswerConn(client)
			transport.BeginOn(conn)
			response, err := http.ReadResponse(bufio.NewReaderSize(conn, 64), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, strayWhole, string(body))

			order.next(conn)
			n, err := conn.Read(make([]byte, 64))
			assert.Zero(t, n)
			assert.Error(t, err)
		})
	}
}
