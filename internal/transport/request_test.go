package transport_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// newRetry makes a Retry over the Wire, for a run that ends with the test.
func newRetry(t testing.TB, w *transport.Wire, budget time.Duration) *transport.Retry {
	return &transport.Retry{Patience: patience.New(budget, patience.Limits{}), Wire: w, Run: t.Context()}
}

// newClient makes a client of vault/api over the chain, as package auth does.
func newClient(t testing.TB, w *transport.Wire, chain http.RoundTripper) *api.Client {
	t.Helper()
	client, err := api.NewClient(&api.Config{
		Address: w.Address(),
		HttpClient: &http.Client{
			Transport:     chain,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		DisableRedirects: true,
		CheckRetry:       func(context.Context, *http.Response, error) (bool, error) { return false, nil },
	})
	require.NoError(t, err)
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}, api.NamespaceHeaderName: {"team"}})
	client.SetToken(token)
	return client
}

// serve answers every request like Vault, after calling see.
func serve(t testing.TB, listener net.Listener, see func(*http.Request)) *url.URL {
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
	return parseURL(t, server.URL)
}

// Every path reaches Vault unchanged, below the path of the address: from vault/api's
// client, and from a plain request.
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
	for _, path := range []struct{ base, path, query, uri string }{
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
		t.Run(path.base+" "+path.path, func(t *testing.T) {
			at := *address
			at.Path = path.base
			w := wireTo(t, &at)
			check := func() {
				mu.Lock()
				defer mu.Unlock()
				decoded, err := url.PathUnescape(last.path)
				require.NoError(t, err)
				assert.Equal(t, strings.TrimSuffix(path.base, "/")+"/v1/"+path.path, decoded)
				assert.Equal(t, path.query, last.query)
			}
			query, err := url.ParseQuery(path.query)
			require.NoError(t, err)
			_, err = reply.Read(t.Context(), newClient(t, w, newRetry(t, w, time.Minute)), path.path, query, nil)
			require.NoError(t, err)
			check()

			u := at
			u.Path = strings.TrimSuffix(path.base, "/") + "/v1/" + path.path
			u.RawQuery = path.query
			plain := (&http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: http.Header{}}).WithContext(t.Context())
			_, f := transport.SendOnce(w, plain, generous)
			require.Nil(t, f)
			check()
			assert.Equal(t, path.uri, last.uri)
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
	assert.Equal(t, 200, read(t, wireTo(t, address), nil).Status)
}

// Each header is sent exactly once.
func TestHeaders(t *testing.T) {
	t.Parallel()
	var last atomic.Pointer[http.Request]
	address := serve(t, nil, func(r *http.Request) { last.Store(r) })
	w := wireTo(t, address)
	retry := newRetry(t, w, time.Minute)
	for _, with := range []struct{ token, namespace string }{{token, "team/a"}, {token, ""}, {"", "team/a"}, {"", ""}} {
		for _, body := range []map[string]int{nil, {"a": 1}} {
			client := newClient(t, w, retry)
			client.SetToken(with.token)
			header := http.Header{api.RequestHeaderName: {"true"}}
			if with.namespace != "" {
				header.Set(api.NamespaceHeaderName, with.namespace)
			}
			client.SetHeaders(header)
			var err error
			length := 0
			if body == nil {
				_, err = reply.Read(t.Context(), client, "sys/x", nil, nil)
			} else {
				length = len(`{"a":1}`)
				_, err = reply.Write(t.Context(), client, "sys/x", body, nil)
			}
			require.NoError(t, err)
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
			assert.EqualValues(t, length, last.Load().ContentLength)
		}
	}
}

// A RoundTripper does not change the request.
func TestRoundTripLeavesTheRequestAlone(t *testing.T) {
	t.Parallel()
	address := serve(t, nil, func(*http.Request) {})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address.String()+"/v1/sys/x", nil)
	require.NoError(t, err)
	request.Header.Set("X-Vault-Namespace", "team")
	before := request.Header.Clone()
	retry := newRetry(t, wireTo(t, address), time.Minute)
	_, err = retry.RoundTrip(request)
	require.NoError(t, err)
	assert.Equal(t, before, request.Header)
	response, err := retry.Send(request, http.Header{api.AuthHeaderName: {token}})
	require.NoError(t, err)
	assert.True(t, response.Request == request, "it has no token, unlike the one that was sent")
}

// A body without GetBody, as of a caller's own http.Client, could not be sent again.
func TestBodyWithoutGetBody(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, says())
	w := wireTo(t, s.address)
	once := request(t, w, http.MethodPut, "a")
	once.Body = io.NopCloser(strings.NewReader(`{"a":1}`))
	_, err := newRetry(t, w, time.Minute).RoundTrip(once)
	assert.EqualError(t, err, "vault: a request with a body and without GetBody is not sent")
	assert.Zero(t, s.requests.Load())
}

// There are at most as many connections as configured. They are kept between requests,
// and closed with the Wire.
func TestConnections(t *testing.T) {
	t.Parallel()
	const most, workers, requests = 4, 16, 300
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
	w := newWire(t, transport.Config{Address: parseURL(t, server.URL), Connections: most})
	var group sync.WaitGroup
	var next atomic.Int64
	for range workers {
		group.Go(func() {
			for next.Add(1) <= requests {
				_, f := send(t, w)
				assert.Nil(t, f)
			}
		})
	}
	group.Wait()
	// On a busy machine net/http gives up a connection or two whose request was
	// answered before its write is known to be done, and the server notices late.
	assert.LessOrEqual(t, peak.Load(), int64(2*most))
	assert.LessOrEqual(t, opened.Load(), int64(2*most))
	assert.Equal(t, int(opened.Load()), w.Dials())
	assert.Equal(t, requests, w.Requests())

	// They are kept even if none is in use for a moment.
	const rounds = 20
	for range rounds {
		for range most {
			group.Go(func() { send(t, w) })
		}
		group.Wait()
	}
	assert.LessOrEqual(t, opened.Load(), int64(2*most+rounds/2))
	assert.LessOrEqual(t, peak.Load(), int64(2*most))
	w.Close()
	assert.Eventually(t, func() bool { return open.Load() == 0 }, generous, time.Millisecond)
}

// A retry uses a fresh connection: behind a balancer, a kept one always leads to the same
// node.
func TestFreshConnectionAfterAFailure(t *testing.T) {
	t.Parallel()
	var status atomic.Int64
	status.Store(503)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, `{"request_id":"1","errors":["Vault is sealed"]}`)
	}))
	defer server.Close()
	w := wireTo(t, parseURL(t, server.URL))
	for range 3 {
		assert.Equal(t, fault.Sealed, fails(t, w).Fault.Kind)
	}
	assert.Equal(t, 3, w.Dials())
	status.Store(404) // an answer
	for range 3 {
		assert.Equal(t, 404, read(t, w, nil).Status)
	}
	assert.Equal(t, 4, w.Dials())
}

// Close ends a connection that nothing waits for any more, and whose other end says nothing.
func TestCloseEndsWhatHangs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a handshake", "a proxy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan struct{}, 1)
			address := serveConnections(t, func(conn net.Conn) {
				io.Copy(io.Discard, conn)
				closed <- struct{}{}
			})
			config := transport.Config{Address: &url.URL{Scheme: "https", Host: address.Host}}
			if name == "a proxy" {
				config.Address.Host, config.Proxy = "vault.example.com", proxyAt(address)
			}
			w := newWire(t, config)
			_, f := transport.SendOnce(w, request(t, w, http.MethodGet, "a"), 100*time.Millisecond)
			require.NotNil(t, f)
			w.Close()
			select {
			case <-closed:
			case <-time.After(generous / 2):
				assert.Fail(t, "the connection is still open")
			}
		})
	}
}

// A trace in the caller's context would see the token.
func TestCallersTraceSeesNothing(t *testing.T) {
	t.Parallel()
	w := wireTo(t, serve(t, nil, func(*http.Request) {}))
	var calls atomic.Int64
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn:          func(string) { calls.Add(1) },
		WroteHeaderField: func(string, []string) { calls.Add(1) },
		WroteHeaders:     func() { calls.Add(1) },
	})
	_, err := newRetry(t, w, time.Minute).RoundTrip(request(t, w, http.MethodGet, "a").WithContext(ctx))
	require.NoError(t, err)
	assert.Zero(t, calls.Load())
}
