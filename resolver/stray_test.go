package resolver_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/resolver"
)

// An answer whose length is too short leaves the rest of a secret on
// the connection, at once or late. Nothing of it is in the process's log. Only every third
// answer is so: a path may fail that meets three such connections in turn.
func TestRestOfASecretIsNotLogged(t *testing.T) {
	stderr, err := canary.CaptureStderr()
	require.NoError(t, err)
	defer stderr.Release()
	for _, late := range []bool{false, true} {
		var reads atomic.Int64
		server := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, _ string) {
			if reads.Add(1)%3 != 0 {
				secretV2(w, `{"password":"x"}`, "null")
				return
			}
			conn, _, err := w.(http.Hijacker).Hijack()
			if !assert.NoError(t, err) {
				return
			}
			defer conn.Close()
			const body = `{"request_id":"5a9f","data":{"data":{"password":"x"},"metadata":{"version":1}},"mount_type":"kv"}`
			answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			if !late {
				answer += canary.Secret
			}
			fmt.Fprint(conn, answer)
			if late {
				time.Sleep(20 * time.Millisecond) // while the connection is idle
				fmt.Fprint(conn, canary.Secret)
			}
			conn.Read(make([]byte, 1)) // until the client has closed it
		}}
		run := resolver.Resolve(t.Context(), server.start(t), ofPaths(20, "secret/%d"), resolver.Options{})
		for _, result := range collect(run) {
			assert.NoError(t, result.Err())
		}
	}
	assert.Empty(t, stderr.String())
}
