package resolver_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
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

// Answers that anyone may get prove no token.
func TestAnswersThatProveNothing(t *testing.T) {
	t.Parallel()
	for _, body := range []struct {
		status int
		text   string
	}{
		{404, `{"errors":[]}`}, {404, `{"errors":["no handler for route \"x\""]}`}, {404, `{"errors":["unknown endpoint"]}`},
		{200, `{"errors":[]}`}, {200, `{"errors":[],"data":{"k":"x"}}`}, {200, `{"server_time_utc":0}`}, {200, `{"request_id":"x","data":{}}`}, {200, `{"request_id":"x","data":null}`},
		{200, `{"request_id":"x","data":{"secret":{},"auth":{}}}`}, {200, `{"request_id":"x","data":{"secret": {}}}`}, {200, `{"request_id":"x","data":{"secret":null}}`},
		{200, `{"request_id":"x","data":{"auth":{},"secret":{"open/":{"description":"","options":{"version":"2"},"type":"kv"}}}}`}, // listing_visibility=unauth
		{403, `{"errors":["Access denied by gateway"]}`}, {403, `{"errors":[]}`},
	} {
		v := resolver.Check(t.Context(), vaultAt(wrongServer(t, always(body.status, body.text)), "hvs.garbage-token-xxxx"), nil, resolver.CheckOptions{})
		assert.False(t, v.Connection.LoggedIn, "%d %s", body.status, body.text)
		assert.NotEqual(t, resolver.OK, v.Connection.Kind, "%d %s", body.status, body.text)
		if strings.Contains(body.text, "secret") {
			continue // a reference may be there
		}
		v = resolver.Check(t.Context(), vaultAt(wrongServer(t, always(body.status, body.text)), "hvs.garbage-token-xxxx"), fieldsOf("vault:secret/a#k"), resolver.CheckOptions{})
		assert.False(t, v.Connection.LoggedIn, "%d %s", body.status, body.text)
	}
}

// Until Vault has accepted the token, an answer to a read that is not Vault's is one to every
// read.
func TestPageInPlaceOfTheFirstSecret(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	address := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/secret/") {
			reads.Add(1)
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>")
			return
		}
		always(404, `{"errors":[]}`)(w, r)
	})
	run := resolver.Resolve(t.Context(), vaultAt(address, "hvs.garbage-token-xxxx"), ofPaths(40, "secret/%d"), resolver.Options{Workers: 1})
	for _, result := range collect(run) {
		assert.ErrorIs(t, result.Err(), resolver.BadResponse)
	}
	assert.EqualValues(t, 1, reads.Load())
	assert.Len(t, run.Report().Causes, 1)
}

// If a mount can be listed without a token, a proxy that drops the token is still found out.
func TestDroppedTokenBesideAVisibleMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv, open := server.KV(t, 2), server.KV(t, 2)
	server.Must(t, "POST", "sys/mounts/"+open+"/tune", map[string]any{"listing_visibility": "unauth"})
	t.Cleanup(func() {
		server.Must(t, "POST", "sys/mounts/"+open+"/tune", map[string]any{"listing_visibility": "hidden"})
	})
	for _, mount := range []string{kv, open} {
		server.Put(t, mount, "app", map[string]any{"password": "right"})
	}
	mount, id := appRole(t, server, map[string]any{"token_policies": server.Policy(t, fmt.Sprintf(`path "%s/data/app" { capabilities = ["read"] } path "%s/data/app" { capabilities = ["read"] }`, kv, open))})
	dropped := inFront(t, server, func(r *http.Request) { r.Header.Del("X-Vault-Token") })
	for _, path := range []string{kv, open} {
		vault := auth.New(auth.Settings{Address: dropped, AuthMethod: "approle"}, environment(map[string]string{"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": id}))
		run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+path+"/app#password")}, resolver.Options{})
		err := collect(run)[0].Err()
		require.ErrorIs(t, err, resolver.Token)
		assert.ErrorContains(t, err, "no proxy in front of Vault drops the header X-Vault-Token")
		assert.NotContains(t, err.Error(), "for the second time")
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
		{"without a request id", 200, strings.Replace(answer, `"5"`, `""`, 1), "(status 200, application/json at "},
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
