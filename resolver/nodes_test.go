package resolver_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// The first addresses of Vault's name are those of nodes that accept connections, and fail
// after so many requests. The last one serves every host.
func TestNodeThatFailsButAcceptsConnections(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	mount := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 50 {
		server.Put(t, mount, fmt.Sprint("app", i), map[string]any{"password": "right"})
		hosts = append(hosts, host(fmt.Sprint("h", i), "password", fmt.Sprintf("vault:%s/app%d#password", mount, i)))
	}
	sealed := always(503, `{"errors":["Vault is sealed"]}`)
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	internal := always(500, `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`)
	behind := always(412, `{"errors":["required index state not present"]}`)
	for _, test := range []struct {
		name  string
		bad   int
		after int32 // at each of the bad nodes
		fails http.HandlerFunc
	}{
		{"sealed from the start", 1, 0, sealed},
		{"sealed midway", 1, 10, sealed},
		{"silent from the start", 1, 0, silent},
		{"silent midway", 1, 10, silent},
		{"a balancer without nodes", 1, 0, page(502)},
		{"a balancer that loses its nodes", 1, 10, page(503)},
		{"internal errors", 1, 0, internal},
		{"behind its leader", 1, 0, behind},
		{"two are sealed", 2, 0, sealed},
		{"two are silent", 2, 0, silent},
		{"two without nodes", 2, 0, page(502)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			target, err := url.Parse(server.Address)
			require.NoError(t, err)
			well := httputil.NewSingleHostReverseProxy(target)
			good := httptest.NewServer(well)
			t.Cleanup(good.Close)
			_, port, err := net.SplitHostPort(good.Listener.Addr().String())
			require.NoError(t, err)
			requests := make([]atomic.Int32, test.bad)
			for i := range requests {
				bad := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if requests[i].Add(1) > test.after {
						test.fails(w, r)
						return
					}
					well.ServeHTTP(w, r)
				}))
				bad.Listener.Close()
				bad.Listener, err = net.Listen("tcp", net.JoinHostPort(fmt.Sprint("127.0.0.", 2+i), port))
				require.NoError(t, err)
				bad.Start()
				t.Cleanup(bad.Close)
			}
			name := []string{twoAddressesName, threeAddressesName}[test.bad-1]
			vault := auth.New(auth.Settings{Address: "http://" + net.JoinHostPort(name, port)}, environment(map[string]string{"VAULT_TOKEN": server.Token, "VAULT_CLIENT_TIMEOUT": "1"}))
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 10 * time.Second})
			for _, result := range run.Results() {
				assert.NoError(t, result.Err())
			}
		})
	}
}

// A path that fails for its own reasons sends no request to the other address of the name.
func TestPathThatFailsAtAGoodNode(t *testing.T) {
	t.Parallel()
	h := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, path string) {
		if strings.HasSuffix(path, "0") {
			always(500, `{"errors":["1 error occurred:\n\t* failed to read\n\n"]}`)(w, r)
			return
		}
		secretV2(w, `{"password":"x"}`, "null")
	}}
	good, err := url.Parse(h.start(t).Settings().Address)
	require.NoError(t, err)
	var requests atomic.Int32
	dead := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		<-r.Context().Done()
	}))
	dead.Listener.Close()
	dead.Listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.2", good.Port()))
	require.NoError(t, err)
	dead.Start()
	t.Cleanup(dead.Close)
	vault := auth.New(auth.Settings{Address: "http://" + net.JoinHostPort(twoAddressesName, good.Port())}, environment(map[string]string{"VAULT_TOKEN": "hvs.any", "VAULT_CLIENT_TIMEOUT": "1"}))
	run := resolver.Resolve(t.Context(), vault, ofPaths(500, "secret/%d"), resolver.Options{Patience: 10 * time.Second})
	for i, result := range run.Results() {
		assert.Equal(t, i%10 == 0, result.Err() != nil, "%d: %v", i, result.Err())
	}
	assert.Less(t, requests.Load(), int32(3), "the first address that the name has, until it fails once")
}

// The first address of the proxy's name is that of a proxy that accepts connections, but
// leads nowhere. The second one serves every host.
func TestProxyThatFailsButAcceptsConnections(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	mount := server.KV(t, 2)
	server.Put(t, mount, "app", map[string]any{"password": "right"})
	connects := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		behind, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer behind.Close()
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
		go io.Copy(behind, conn)
		io.Copy(conn, behind)
	})
	for name, fails := range map[string]http.HandlerFunc{
		"refuses": page(503),
		"closes":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := httptest.NewServer(connects)
			t.Cleanup(good.Close)
			_, port, err := net.SplitHostPort(good.Listener.Addr().String())
			require.NoError(t, err)
			bad := httptest.NewUnstartedServer(fails)
			bad.Listener.Close()
			bad.Listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.2", port))
			require.NoError(t, err)
			bad.Start()
			t.Cleanup(bad.Close)
			vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{
				"VAULT_TOKEN": server.Token, "VAULT_CLIENT_TIMEOUT": "1", "VAULT_CACERT": server.CAFile,
				"VAULT_PROXY_ADDR": "http://" + net.JoinHostPort(twoAddressesName, port)}))
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+mount+"/app#password")}, resolver.Options{Patience: 10 * time.Second})
			assert.NoError(t, collect(run)[0].Err())
		})
	}
}

// The whole Vault goes down when the last read of a run is under way: others that were sent
// before it are still answered then. It waits as long as Vault does not answer at all, and is
// read then even if a proxy blocks sys/health.
func TestVaultGoesDownAtTheLastRead(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "first", map[string]any{"password": "right"})
	server.Put(t, kv, "last", map[string]any{"password": "right"})
	for _, blocked := range []bool{false, true} {
		sent, failed := make(chan struct{}), make(chan struct{}) // the first read is sent; the last one has failed
		var tries, askedForHealth atomic.Int32
		address := behind(t, server, func(w http.ResponseWriter, path string) bool {
			isDown := true
			switch path {
			case kv + "/data/last":
				<-sent
				if tries.Add(1) == 2 {
					close(failed)
				}
				isDown = askedForHealth.Load() <= 3
			case kv + "/data/first":
				close(sent)
				<-failed
				isDown = false
			case "sys/health":
				isDown = askedForHealth.Add(1) <= 3 || blocked
			default:
				isDown = false
			}
			if isDown {
				page(http.StatusBadGateway)(w, nil)
			}
			return isDown
		})
		vault := auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": server.ReaderToken(t, kv+"/data/*")}))
		hosts := []resolver.Host{host("h1", "password", "vault:"+kv+"/first#password"), host("h2", "password", "vault:"+kv+"/last#password")}
		for _, result := range resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 6 * time.Second}).Results() {
			assert.NoError(t, result.Err())
		}
		assert.EqualValues(t, 4, askedForHealth.Load())
	}
}
