package resolver_test

import (
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// A check reports OK only if an answer proves the token. If its look-up is blocked, an
// invalid token must not pass.
func TestCheckOfATokenThatNothingProves(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	const look, list = "auth/token/lookup-self", "sys/internal/ui/mounts"
	for _, test := range []struct {
		name        string
		blocked     []string
		status      int
		contentType string
		body        string
		token       string
		kind        resolver.Kind // of a check without fields
	}{
		{"500, none", []string{look}, 500, "application/json", `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`, "garbage", resolver.Token},
		{"page, none", []string{look}, 403, "text/html", "<html>no", "garbage", resolver.Token},
		{"404, none", []string{look}, 404, "application/json", `{"errors":[]}`, "garbage", resolver.Token},
		{"both pages, none", []string{look, list}, 403, "text/html", "<html>no", "garbage", resolver.BadResponse},
		{"both 500, none", []string{look, list}, 500, "application/json", `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`, "garbage", resolver.ServerError},
		{"500, a good one", []string{look}, 500, "application/json", `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`, server.Token, resolver.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := behind(t, server, func(w http.ResponseWriter, path string) bool {
				if slices.Contains(test.blocked, path) {
					w.Header().Set("Content-Type", test.contentType)
					w.WriteHeader(test.status)
					io.WriteString(w, test.body)
					return true
				}
				return false
			})
			for _, fields := range [][]ref.Value{nil, fieldsOf("vault:" + kv + "/app#password")} {
				v := resolver.Check(t.Context(), vaultAt(address, test.token), fields, resolver.CheckOptions{Patience: brief})
				good := test.token == server.Token
				assert.Equal(t, good, v.Connection.LoggedIn, "%s", v)
				assert.Equal(t, good, v.Connection.Kind == resolver.OK, "%s", v)
				if fields == nil {
					assert.Equal(t, test.kind, v.Connection.Kind, "%s", v)
				}
				for _, field := range v.Fields {
					assert.Equal(t, good, field.Kind == resolver.OK, "%s", v)
				}
			}
		})
	}
}

// A proxy that answers a read in its own way is named for what it did, though its answer
// looks like one of Vault's.
func TestReadThatAProxyAnswers(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	token := server.ReaderToken(t, kv+"/data/app")
	const answer = `{"request_id":"5","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"wrong"},"metadata":{"created_time":"2026-01-01T00:00:00Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	for _, test := range []struct {
		name   string
		status int
		body   string
		says   string
	}{
		{"201", 201, answer, "(status 201 to a read)"},
		{"203", 203, answer, "(status 203 to a read)"},
		{"206", 206, answer[:100] + "}}", "(status 206"},
		{"cut off", 200, answer[:len(answer)-30], "(status 200, not the JSON of an answer)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := behind(t, server, func(w http.ResponseWriter, path string) bool {
				if path != kv+"/data/app" {
					return false
				}
				always(test.status, test.body)(w, nil)
				return true
			})
			err := resolver.One(t.Context(), vaultAt(address, token), host("h", "password", "vault:"+kv+"/app#password"), resolver.Options{}).Err()
			assert.ErrorIs(t, err, resolver.BadResponse)
			assert.ErrorContains(t, err, "the server is not Vault, or a proxy interferes "+test.says)
			assert.NotContains(t, err.Error(), "wrong")
		})
	}
}
