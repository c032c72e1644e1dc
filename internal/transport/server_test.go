package transport_test

import (
	"bufio"
	"bytes"
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
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// Marked texts that no message may hold: the token of every request, and the bodies of
// wrong servers.
const (
	token     = "hvs.CANARYtoken0123456789"
	bodyWords = "CANARYbody"
)

// generous is longer than any attempt needs.
const generous = 30 * time.Second

const (
	html = "<html><body>" + bodyWords + "</body></html>"
	page = "text/html; charset=utf-8"
	json = "application/json"
)

// raw serves each connection with a func, after reading a request. It counts the requests.
type raw struct {
	address  *url.URL
	requests atomic.Int64
}

func serveRaw(t testing.TB, answer func(net.Conn)) *raw {
	t.Helper()
	r := &raw{}
	r.address = serveConnections(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			r.requests.Add(1)
			answer(conn)
		}
	})
	return r
}

// says writes an answer as it is, with HTTP's line ends.
func says(lines ...string) func(net.Conn) {
	return func(conn net.Conn) { io.WriteString(conn, strings.Join(lines, "\r\n")) }
}

// answers makes an answer with the right length.
func answers(status int, contentType, body string, header ...string) func(net.Conn) {
	lines := []string{fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), fmt.Sprintf("Content-Length: %d", len(body))}
	if contentType != "" {
		lines = append(lines, "Content-Type: "+contentType)
	}
	return says(append(append(lines, header...), "", body)...)
}

// vault makes an answer like Vault's.
func vault(status int, body string, header ...string) func(net.Conn) {
	return answers(status, json, body, header...)
}

// newWire makes a Wire that is closed when the test ends. Its zero config trusts
// no CA.
func newWire(t testing.TB, config transport.Config) *transport.Wire {
	t.Helper()
	if config.TLS == nil {
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ProxyTLS == nil {
		config.ProxyTLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.Timeout == 0 {
		config.Timeout = generous
	}
	if config.Connections == 0 {
		config.Connections = 4
	}
	config.UserAgent = "test"
	w := transport.NewWire(config)
	w.Sent.Learn(token)
	t.Cleanup(w.Close)
	return w
}

// wireTo makes a Wire with the address and no other config.
func wireTo(t testing.TB, address *url.URL) *transport.Wire {
	t.Helper()
	return newWire(t, transport.Config{Address: address})
}

// request makes a request for a path of the API, with the token.
func request(t testing.TB, w *transport.Wire, method, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(transport.WithOwn(t.Context(), transport.Own{}), method, w.Address()+"/v1/"+path, nil)
	require.NoError(t, err)
	r.Header.Set("X-Vault-Token", token)
	return r
}

// send sends one read once.
func send(t testing.TB, w *transport.Wire) (*http.Response, *patience.Failure) {
	t.Helper()
	return transport.SendOnce(w, request(t, w, http.MethodGet, "secret/data/app"), generous)
}

// read sends one read once and parses the answer.
func read(t testing.TB, w *transport.Wire, data any) *reply.Answer {
	t.Helper()
	response, f := send(t, w)
	require.Nil(t, f)
	answer, err := reply.Parse(response, data)
	require.NoError(t, err)
	return answer
}

// fails sends one read once and returns why it failed.
func fails(t testing.TB, w *transport.Wire) *patience.Failure {
	t.Helper()
	response, f := send(t, w)
	require.Nil(t, response)
	require.NotNil(t, f)
	return f
}

// assertSafe checks what holds for every failure: its text is one line, and
// nothing marked shows under any verb, the cause included.
func assertSafe(t testing.TB, failure *patience.Failure) {
	t.Helper()
	f := failure.Fault
	var all bytes.Buffer
	reason, fix := f.ForUI()
	fmt.Fprintf(&all, "%v %+v %q %s %s %s", f, f, f, reason, fix, f.Kind)
	if f.Cause != nil {
		fmt.Fprintf(&all, " %v %+v", f.Cause, f.Cause)
	}
	all.WriteString(canary.Sinks()["reflection"](f))
	assert.False(t, strings.Contains(strings.ToLower(all.String()), strings.ToLower(token)), "the token is in a text")
	assert.False(t, strings.Contains(all.String(), bodyWords), "the body is in a text")
	assert.NotContains(t, f.Error(), "\n")
	assert.Less(t, len(f.Error()), 800)
	assert.NotEmpty(t, f.Do, "it says what to do")
}

// serveConnections serves each connection with the func.
func serveConnections(t testing.TB, serve func(net.Conn)) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveOn(t, listener, serve)
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}
}

func serveOn(t testing.TB, listener net.Listener, serve func(net.Conn)) {
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
				serve(conn)
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
}

// forward passes everything on to another server and back.
func forward(conn net.Conn, host string) {
	behind, err := net.Dial("tcp", host)
	if err != nil {
		return
	}
	defer behind.Close()
	var group sync.WaitGroup
	group.Go(func() { io.Copy(conn, behind); conn.Close() })
	io.Copy(behind, conn)
	behind.Close()
	group.Wait()
}

func parseURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

func assertUnreachable(t testing.TB, f *patience.Failure, text string) {
	t.Helper()
	assert.Equal(t, fault.Unreachable, f.Fault.Kind)
	assert.Equal(t, patience.Later, f.Retry)
	assert.True(t, f.Unsent)
	assert.Contains(t, f.Fault.Error(), text)
	assertSafe(t, f)
}
