package resolver_test

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/resolver"
)

// Of a list of a million mounts, a run keeps those of its references.
func TestListOfAMillionMounts(t *testing.T) {
	list := `{"auth":{},"secret":` + members(1_000_000, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, `"%x/":{}`, i) }) + `}`
	list = strings.Replace(list, `"secret":{`, `"secret":{"old/":{"accessor":"kv_1","type":"kv","options":{"version":"1"}},`, 1)
	h := &hostileVault{mounts: list, read: func(w http.ResponseWriter, r *http.Request, path string) {
		whole(w, 200, `{"request_id":"5a9f","lease_id":"","renewable":false,"lease_duration":2764800,"data":{"password":"right"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`)
	}}
	vault := h.start(t)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:old/a#password")}, resolver.Options{})
	assert.NoError(t, collect(run)[0].Err())
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(4<<20), "bytes kept by a run of one host")
	runtime.KeepAlive(run)
}

// What a look-up says about the token's namespace is shown only if it can be one.
func TestNamespaceOfAHostileLookUp(t *testing.T) {
	t.Parallel()
	const token = "hvs.CANARYcanary0123456789"
	for _, namespace := range []string{token + "/", strings.Repeat("n", 1<<20), "team\\n/", "a//b/"} {
		address := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
			switch strings.TrimPrefix(r.URL.Path, "/v1/") {
			case "auth/token/lookup-self":
				whole(w, 200, strings.Replace(lookupSelf, `"type":"service"`, `"type":"service","namespace_path":"`+namespace+`"`, 1))
			default:
				always(403, denial)(w, r)
			}
		})
		vault := auth.New(auth.Settings{Address: address, Namespace: "team"}, environment(map[string]string{"VAULT_TOKEN": token}))
		run := resolver.Resolve(t.Context(), vault, ofPaths(1, "secret/a%d"), resolver.Options{})
		text := collect(run)[0].Err().Error()
		assert.NotContains(t, text, token)
		assert.NotContains(t, text, "the token belongs to the namespace")
		assert.Less(t, len(text), 2000)
	}
}
