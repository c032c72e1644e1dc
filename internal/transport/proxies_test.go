package transport_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// httpProxy is a proxy that forwards plain requests and connects for others.
type httpProxy struct {
	host     string
	requests atomic.Int64
}

// serveProxy serves an HTTP proxy that requires the user info, if it is not nil. listen
// may turn its TCP listener into a TLS listener.
func serveProxy(t testing.TB, user *url.Userinfo, listen func(net.Listener) net.Listener) *httpProxy {
	t.Helper()
	p := &httpProxy{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.host = listener.Addr().String()
	if listen != nil {
		listener = listen(listener)
	}
	serveOn(t, listener, func(conn net.Conn) {
		lines := bufio.NewReader(conn)
		request, err := http.ReadRequest(lines)
		if err != nil {
			return
		}
		p.requests.Add(1)
		if user != nil && request.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(user.String())) {
			answers(407, page, html+request.Header.Get("Proxy-Authorization"), `Proxy-Authenticate: Basic realm="`+bodyWords+`"`)(conn)
			return
		}
		if request.Method == http.MethodConnect {
			io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			forward(conn, request.Host)
			return
		}
		behind, err := net.Dial("tcp", request.URL.Host)
		if err != nil {
			answers(502, page, html)(conn)
			return
		}
		defer behind.Close()
		request.Header.Del("Proxy-Authorization")
		request.Write(behind)
		go io.Copy(conn, behind) // ends when the test closes one of them
		for {
			request, err := http.ReadRequest(lines)
			if err != nil {
				return
			}
			p.requests.Add(1)
			request.Header.Del("Proxy-Authorization")
			request.Write(behind)
		}
	})
	return p
}

// Others may use up the rate that a proxy allows. Refusals within a second are one then,
// so they do not make a request fail before the rate is known.
func TestProxyRefusesForASecond(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/refused") && time.Since(began) < 800*time.Millisecond {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		<-time.After(5 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"request_id":"1","data":{}}`)
	}))
	t.Cleanup(s.Close)
	address, err := url.Parse(s.URL)
	require.NoError(t, err)
	r := newRetry(t, wireTo(t, address), generous)
	var working sync.WaitGroup
	for i := range 4 {
		working.Go(func() {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/secret/data/%d/refused", s.URL, i), nil)
			_, err := r.RoundTrip(request)
			assert.NoError(t, err)
		})
		working.Go(func() {
			for j := range 200 {
				request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/secret/data/%d/%d", s.URL, i, j), nil)
				_, err := r.RoundTrip(request)
				assert.NoError(t, err)
			}
		})
	}
	working.Wait()
}
