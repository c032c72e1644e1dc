package resolver_test

import (
	"fmt"
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

// The first address of Vault's name is that of a node that accepts connections, and fails
// after so many requests. The second one serves every host.
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
	for _, test := range []struct {
		name  string
		after int32
		fails http.HandlerFunc
	}{
		{"sealed from the start", 0, sealed},
		{"sealed midway", 10, sealed},
		{"silent from the start", 0, silent},
		{"silent midway", 10, silent},
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
			var requests atomic.Int32
			bad := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1) > test.after {
					test.fails(w, r)
					return
				}
				well.ServeHTTP(w, r)
			}))
			bad.Listener.Close()
			bad.Listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.2", port))
			require.NoError(t, err)
			bad.Start()
			t.Cleanup(bad.Close)
			vault := auth.New(auth.Settings{Address: "http://" + net.JoinHostPort(twoAddressesName, port)}, environment(map[string]string{"VAULT_TOKEN": server.Token, "VAULT_CLIENT_TIMEOUT": "1"}))
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 10 * time.Second})
			for _, result := range run.Results() {
				assert.NoError(t, result.Err())
			}
			assert.Greater(t, requests.Load(), test.after)
		})
	}
}

// A path that fails for its own reasons sends nobody to the other address of the name.
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
