package vaulttest_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestKV(t *testing.T) {
	t.Parallel()
	s := vaulttest.SharedTLS(t)
	for _, test := range []struct {
		name    string
		mount   string
		version int
	}{
		{"v1", s.KV(t, 1), 1},
		{"v2", s.KV(t, 2), 2},
		{"v1 nested", s.KVAt(t, "team-"+vaulttest.Name()+"/kv", 1), 1},
		{"v2 nested", s.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2), 2},
		{"the dev server's own", "secret", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := vaulttest.Name() + "/odd #?%41 näme"
			app := test.mount + "/data/" + path
			if test.version == 1 {
				app = test.mount + "/" + path
			}
			read := func(version string) int {
				status, _, err := s.Do("GET", app, url.Values{"version": {version}})
				require.NoError(t, err)
				return status
			}
			first := s.Put(t, test.mount, path, map[string]any{"k": "one"})
			second := s.Put(t, test.mount, path, map[string]any{"k": "two"})
			assert.Equal(t, http.StatusOK, read("0"))
			if test.version == 1 {
				assert.Zero(t, second)
				s.Delete(t, test.mount, path)
				assert.Equal(t, http.StatusNotFound, read("0"))
				return
			}
			assert.Equal(t, []int{1, 2}, []int{first, second})
			s.Metadata(t, test.mount, path, map[string]string{"luumen_hosts": "web-*"})
			answer := s.Must(t, "GET", app, nil)
			assert.Equal(t, "web-*", vaulttest.Text(answer, "data", "metadata", "custom_metadata", "luumen_hosts"))
			assert.Equal(t, "two", vaulttest.Text(answer, "data", "data", "k"))
			s.Delete(t, test.mount, path)
			assert.Equal(t, http.StatusNotFound, read("0"))
			assert.Equal(t, http.StatusOK, read("1"))
			s.Destroy(t, test.mount, path, 1)
			assert.Equal(t, http.StatusNotFound, read("1"))
		})
	}
}

func TestReaderToken(t *testing.T) {
	t.Parallel()
	s := vaulttest.Shared(t)
	kv := s.KV(t, 1)
	s.Put(t, kv, "app", map[string]any{"k": "v"})
	token := s.ReaderToken(t, kv+"/app")
	for path, want := range map[string]int{
		kv + "/app":              http.StatusOK,
		kv + "/other":            http.StatusForbidden,
		"auth/token/lookup-self": http.StatusForbidden,
	} {
		status, _, err := s.DoAs(token, "GET", path, nil)
		require.NoError(t, err)
		assert.Equal(t, want, status, path)
	}
}

func TestAccessors(t *testing.T) {
	t.Parallel()
	s := vaulttest.New(t, vaulttest.Config{})
	before := s.Accessors(t)
	token := s.NewToken(t, map[string]any{"policies": []string{"default"}, "num_uses": 1})
	assert.Equal(t, before+1, s.Accessors(t))
	status, _, err := s.DoAs(token, "POST", "auth/token/revoke-self", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, status)
	// Vault clears a token away in the background that has had its last use.
	assert.Eventually(t, func() bool { return s.Accessors(t) == before }, 20*time.Second, 10*time.Millisecond)
}

func TestPluginsBuiltIn(t *testing.T) {
	t.Parallel()
	s := vaulttest.Shared(t)
	for _, method := range []string{"approle", "kubernetes", "jwt", "cert", "userpass"} {
		s.Must(t, "POST", "sys/auth/"+method+"-"+vaulttest.Name(), map[string]any{"type": method})
	}
	for _, engine := range []string{"pki", "ssh", "transit", "database"} {
		s.Must(t, "POST", "sys/mounts/"+engine+"-"+vaulttest.Name(), map[string]any{"type": engine})
	}
}
