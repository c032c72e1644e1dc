package resolver_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/resolver"
)

const mountList = "sys/internal/ui/mounts"

// standIn serves as a Vault with the mounts, each KV v2 with a secret at every
// path. It answers 500 to what is unwell: a real one does not for single paths
// at a test's wish.
func standIn(t *testing.T, unwell func(path string) bool, mounts ...string) *auth.Vault {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		path := strings.TrimPrefix(r.URL.Path, "/v1/")
		switch {
		case unwell(path):
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, `{"errors":["internal error"]}`)
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
	t.Cleanup(server.Close)
	return auth.New(auth.Settings{Address: server.URL}, environment(map[string]string{"VAULT_TOKEN": "stand-in"}))
}

// A spell shorter than patience costs no host, be it in the one request that
// all hosts need.
func TestSpellInTheOnlyRequest(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"kv/data/default", mountList} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			over := sync.OnceValue(func() time.Time { return time.Now().Add(time.Second) })
			vault := standIn(t, func(asked string) bool { return asked == path && time.Now().Before(over()) }, "kv")
			hosts := make([]resolver.Host, 1000)
			for i := range hosts {
				hosts[i] = host(fmt.Sprint("host", i), "password", "vault:kv/default#password")
			}
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 6 * time.Second})
			for range run.Results() {
			}
			report := run.Report()
			assert.Equal(t, len(hosts), report.Ready, "%s", report)
			assert.NotZero(t, report.Vault.Retries)
		})
	}
}
