package resolver_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/resolver"
)

const mountList = "sys/internal/ui/mounts"

// standIn is a server like a Vault with these KV v2 mounts and a secret at every path,
// except for what unwell answers. A real Vault cannot be made to fail for single paths.
func standIn(t *testing.T, unwell func(w http.ResponseWriter, path string) bool, mounts ...string) *auth.Vault {
	t.Helper()
	return pacedStandIn(t, "", unwell, mounts...)
}

// pacedStandIn is standIn for an agent with a VAULT_RATE_LIMIT.
func pacedStandIn(t *testing.T, rate string, unwell func(w http.ResponseWriter, path string) bool, mounts ...string) *auth.Vault {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		path := strings.TrimPrefix(r.URL.Path, "/v1/")
		switch {
		case unwell(w, path):
		case path == mountList:
			var listed []string
			for _, mount := range mounts {
				listed = append(listed, fmt.Sprintf(`"%s/":{"type":"kv","options":{"version":"2"}}`, mount))
			}
			fmt.Fprintf(w, `{"request_id":"1","data":{"secret":{%s}}}`, strings.Join(listed, ","))
		case strings.HasPrefix(path, "auth/"):
			fmt.Fprint(w, `{"request_id":"1","data":{}}`)
		default:
			fmt.Fprint(w, `{"request_id":"1","mount_type":"kv","data":{"data":{"password":"right"},"metadata":{"version":1}}}`)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return auth.New(auth.Settings{Address: server.URL}, environment(map[string]string{
		"VAULT_TOKEN": "stand-in", "VAULT_CACERT_BYTES": string(ca), "VAULT_RATE_LIMIT": rate,
	}))
}

func internalError(w http.ResponseWriter) {
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(w, `{"errors":["internal error"]}`)
}

// A failure shorter than patience costs no host, even in the one request that all hosts
// need.
func TestSpellInTheOnlyRequest(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"kv/data/default", mountList} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			over := sync.OnceValue(func() time.Time { return time.Now().Add(time.Second) })
			vault := standIn(t, func(w http.ResponseWriter, asked string) bool {
				unwell := asked == path && time.Now().Before(over())
				if unwell {
					internalError(w)
				}
				return unwell
			}, "kv")
			hosts := make([]resolver.Host, 1000)
			for i := range hosts {
				hosts[i] = host(fmt.Sprint("host", i), "password", "vault:kv/default#password")
			}
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 18 * time.Second})
			for range run.Results() {
			}
			report := run.Report()
			assert.Equal(t, len(hosts), report.Ready, "%s", report)
			assert.NotZero(t, report.Retries)
		})
	}
}

// A path whose connection the server always resets fails alone, although each retry uses a
// new connection. The others are paced, because a path fails alone only while others
// succeed.
func TestPathThatIsAlwaysReset(t *testing.T) {
	t.Parallel()
	vault := pacedStandIn(t, "200:1", func(_ http.ResponseWriter, path string) bool {
		if path == "kv/data/1" {
			panic(http.ErrAbortHandler)
		}
		return false
	}, "kv")
	run := resolver.Resolve(t.Context(), vault, fleetOf(300, "kv"), resolver.Options{})
	for i, result := range run.Results() {
		if i != 1 {
			assert.NoError(t, result.Err(), "host %d", i)
			continue
		}
		require.ErrorIs(t, result.Err(), resolver.Unreachable)
	}
	assert.Equal(t, 2, run.Report().Retries)
}

// A failing mount with more paths than workers costs only its own hosts.
func TestMountThatIsIll(t *testing.T) {
	t.Parallel()
	const ill, well = 40, 200
	var mu sync.Mutex
	asked := make(map[string]int)
	vault := standIn(t, func(w http.ResponseWriter, path string) bool {
		mu.Lock()
		defer mu.Unlock()
		asked[path]++
		isIll := strings.HasPrefix(path, "ill/")
		if isIll {
			internalError(w)
		}
		return isIll
	}, "ill", "well")
	var hosts []resolver.Host
	for i := range ill {
		hosts = append(hosts, host(fmt.Sprint("ill", i), "password", fmt.Sprintf("vault:ill/%d#password", i)))
	}
	for i := range well {
		hosts = append(hosts, host(fmt.Sprint("well", i), "password", fmt.Sprintf("vault:well/%d#password", i)))
	}
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 6 * time.Second})
	for i, result := range run.Results() {
		if i < ill {
			assert.ErrorIs(t, result.Err(), resolver.ServerError)
		} else {
			assert.NoError(t, result.Err())
		}
	}
	report := run.Report()
	assert.Equal(t, well, report.Ready, "%s", report)
	// Three tries each, and some in what looks like an outage as long as nothing
	// of the other mount has been read.
	assert.Less(t, report.Retries, 6*ill)
	for i := range well {
		assert.Equal(t, 1, asked[fmt.Sprint("well/data/", i)])
	}
}

// The type that a hostile server gives a mount is in no error.
func TestMountsTypeIsNoWayIntoALog(t *testing.T) {
	t.Parallel()
	vault := standIn(t, func(w http.ResponseWriter, path string) bool {
		if path == mountList {
			fmt.Fprint(w, `{"request_id":"1","data":{"secret":{"kv/":{"type":"hvs.CANARY\n\u001b[31m"}}}}`)
		}
		return path == mountList
	})
	result := resolver.One(t.Context(), vault, host("h", "password", "vault:kv/a#password"), resolver.Options{})
	require.ErrorIs(t, result.Err(), resolver.NotKV)
	assert.NotContains(t, result.Err().Error(), "CANARY")
	assert.Contains(t, result.Err().Error(), "the mount kv is not KV")
}
