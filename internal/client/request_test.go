package client_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// serve answers every request like a Vault, after the function has seen it.
func serve(t *testing.T, listener net.Listener, see func(*http.Request)) *url.URL {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		see(r)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"request_id":"1"}`)
	}))
	if listener != nil {
		server.Listener.Close()
		server.Listener = listener
	}
	server.Start()
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	return address
}

// Every path reaches Vault as it is meant, below the path of the address.
// Traps 21 and 27.
func TestPaths(t *testing.T) {
	t.Parallel()
	type seen struct{ uri, path, query string }
	var mu sync.Mutex
	var last seen
	address := serve(t, nil, func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		last = seen{r.RequestURI, r.URL.EscapedPath(), r.URL.RawQuery}
	})
	for _, request := range []struct{ base, path, query, uri string }{
		{"", "secret/data/app", "", "/v1/secret/data/app"},
		{"/", "secret/data/app", "", "/v1/secret/data/app"},
		{"/vault", "secret/data/app", "", "/vault/v1/secret/data/app"},
		{"/vault/", "secret/data/app", "version=3", "/vault/v1/secret/data/app?version=3"},
		{"/a b/c", "s/x", "", "/a%20b/c/v1/s/x"},
		{"", "secret/data/a b", "", "/v1/secret/data/a%20b"},
		{"", "secret/data/a#b", "", "/v1/secret/data/a%23b"},
		{"", "secret/data/a?version=2", "", "/v1/secret/data/a%3Fversion=2"},
		{"", "secret/data/a%2Fb", "", "/v1/secret/data/a%252Fb"},
		{"", "secret/data/100%", "version=1", "/v1/secret/data/100%25?version=1"},
		{"", "secret/data/a+b", "", "/v1/secret/data/a+b"},
		{"", "secret/data/a:b@c", "", "/v1/secret/data/a:b@c"},
		{"", "secret/data/a;b=c&d", "", "/v1/secret/data/a;b=c&d"},
		{"", "secret/data/größe/日本", "", "/v1/secret/data/gr%C3%B6%C3%9Fe/%E6%97%A5%E6%9C%AC"},
		{"", `secret/data/"quoted"\`, "", "/v1/secret/data/%22quoted%22%5C"},
		{"", "secret/data/{{x}}*", "", "/v1/secret/data/%7B%7Bx%7D%7D%2A"},
		{"", "secret/data/~a", "", "/v1/secret/data/~a"},
	} {
		t.Run(request.base+" "+request.path, func(t *testing.T) {
			at := *address
			at.Path = request.base
			c := newClient(t, client.Config{Address: &at})
			_, f := c.Send(t.Context(), client.Request{Method: http.MethodGet, Path: request.path, Query: request.query, Header: c.Header(token, "")}, generous)
			require.Nil(t, f)
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, request.uri, last.uri)
			assert.Equal(t, request.query, last.query)
			decoded, err := url.PathUnescape(last.path)
			require.NoError(t, err)
			assert.Regexp(t, `/v1/`, decoded)
			assert.Equal(t, request.path, decoded[len(decoded)-len(request.path):])
		})
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 loopback here")
	}
	address := serve(t, listener, func(r *http.Request) { assert.Equal(t, listener.Addr().String(), r.Host) })
	answer, f := read(t, newClient(t, client.Config{Address: address}))
	require.Nil(t, f)
	assert.Equal(t, 200, answer.Status)
}

// Each header is sent exactly once. Trap 28.
func TestHeaders(t *testing.T) {
	t.Parallel()
	var last atomic.Pointer[http.Request]
	address := serve(t, nil, func(r *http.Request) { last.Store(r) })
	c := newClient(t, client.Config{Address: address})
	for _, with := range []struct{ token, namespace string }{{token, "team/a"}, {token, ""}, {"", "team/a"}, {"", ""}} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := client.Request{Method: method, Path: "sys/x", Header: c.Header(with.token, with.namespace)}
			if method == http.MethodPost {
				r.Body = []byte(`{"a":1}`)
			}
			_, f := c.Send(t.Context(), r, generous)
			require.Nil(t, f)
			got := last.Load().Header
			values := func(value string) []string {
				if value == "" {
					return nil
				}
				return []string{value}
			}
			assert.Equal(t, values(with.namespace), got.Values("X-Vault-Namespace"))
			assert.True(t, len(got.Values("X-Vault-Token")) == len(values(with.token)) && got.Get("X-Vault-Token") == with.token)
			assert.Equal(t, []string{"true"}, got.Values("X-Vault-Request"))
			assert.Equal(t, []string{"test"}, got.Values("User-Agent"))
			for _, name := range []string{"Authorization", "Accept-Encoding", "X-Vault-Wrap-Ttl", "Cookie"} {
				assert.Empty(t, got.Values(name), name)
			}
			assert.EqualValues(t, len(r.Body), last.Load().ContentLength)
		}
	}
}

// At most so many connections as configured, kept from one request to the next,
// and none is left when the client has been closed.
func TestConnections(t *testing.T) {
	t.Parallel()
	const most = 4
	var open, peak, opened atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"request_id":"1"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
			peak.Store(max(peak.Load(), open.Add(1)))
		case http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	address, _ := url.Parse(server.URL)
	c := newClient(t, client.Config{Address: address, Connections: most})
	var group sync.WaitGroup
	for range 4 * most {
		group.Go(func() {
			for range 50 {
				_, f := read(t, c)
				assert.Nil(t, f)
			}
		})
	}
	group.Wait()
	assert.LessOrEqual(t, peak.Load(), int64(most))
	assert.LessOrEqual(t, opened.Load(), int64(most))
	assert.Equal(t, int(opened.Load()), c.Dials())
	assert.Equal(t, 4*most*50, c.Requests())
	c.Close()
	assert.Eventually(t, func() bool { return open.Load() == 0 }, generous, time.Millisecond)
}

// The retry of what failed goes over a fresh connection: behind a balancer, a
// kept one leads to the same node for ever.
func TestFreshConnectionAfterAFault(t *testing.T) {
	t.Parallel()
	var status atomic.Int64
	status.Store(503)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, `{"request_id":"1","errors":["Vault is sealed"]}`)
	}))
	defer server.Close()
	address, _ := url.Parse(server.URL)
	c := newClient(t, client.Config{Address: address})
	for range 3 {
		_, f := read(t, c)
		require.NotNil(t, f)
		assert.Equal(t, fault.Sealed, f.Kind)
	}
	assert.Equal(t, 3, c.Dials())
	status.Store(403) // an answer
	for range 3 {
		read(t, c)
	}
	assert.Equal(t, 4, c.Dials())
}

// Close ends what nobody waits for any more: a dial, a handshake and a body
// that hang.
func TestCloseEndsWhatHangs(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 1)
	hang := func(conn net.Conn) {
		io.Copy(io.Discard, conn)
		closed <- struct{}{}
	}
	address := serveConnections(t, hang)
	address.Scheme = "https"
	c := newClient(t, client.Config{Address: address})
	_, f := c.Send(t.Context(), client.Request{Method: http.MethodGet, Path: "a", Header: c.Header("", "")}, 100*time.Millisecond)
	require.NotNil(t, f)
	c.Close()
	select {
	case <-closed:
	case <-time.After(generous / 2):
		assert.Fail(t, "the connection is still open")
	}
}

// A login method of the caller's cannot be made to hold more than an answer may
// be large.
func TestTransportBoundsAnswers(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, says("HTTP/1.1 200 OK", "Content-Type: application/json", "", string(make([]byte, 4<<20+1))))
	c := newClient(t, client.Config{Address: s.address})
	var noted *fault.Error
	transport := c.Transport(func(_ *client.Answer, f *fault.Error) { noted = f })
	response, err := (&http.Client{Transport: transport}).Get(s.address.String())
	require.NoError(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	var tooLarge *http.MaxBytesError
	assert.ErrorAs(t, err, &tooLarge)
	assert.ErrorIs(t, noted, fault.BadResponse)
	assert.Equal(t, 1, c.Requests())
}
