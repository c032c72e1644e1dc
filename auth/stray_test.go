package auth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
)

// Data after the answer to a login does not reach the process's log.
func TestRestOfALoginIsNotLogged(t *testing.T) {
	stderr, err := canary.CaptureStderr()
	require.NoError(t, err)
	defer stderr.Release()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/login") {
			return false
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return true
		}
		defer conn.Close()
		const body = `{"request_id":"1","auth":{"client_token":"` + standInToken + `","accessor":"a","token_type":"service","lease_duration":3600}}`
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s%s", len(body), body, canary.Secret)
		conn.Read(make([]byte, 1)) // until the client has closed it
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "agent", "VAULT_SECRET_ID": "of no matter"}.options())
	for range 10 {
		require.NoError(t, readOnce(t.Context(), vault, "secret/app").err)
	}
	assert.Empty(t, stderr.String())
}
