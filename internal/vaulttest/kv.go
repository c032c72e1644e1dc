package vaulttest

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// KV mounts a KV secrets engine of version 1 or 2 at a random path and returns
// the path, without a slash at either end.
func (s *Server) KV(t testing.TB, version int) string {
	t.Helper()
	return s.KVAt(t, "kv-"+Name(), version)
}

// KVAt is KV at a given path, such as "team-" + Name() + "/kv". It returns the path.
func (s *Server) KVAt(t testing.TB, path string, version int) string {
	t.Helper()
	s.Must(t, "POST", "sys/mounts/"+path, map[string]any{
		"type":    "kv",
		"options": map[string]string{"version": strconv.Itoa(version)},
		// The audit file shows versions in clear.
		"config": map[string]any{"audit_non_hmac_request_keys": []string{"version"}},
	})
	s.mounts.Store(path, version)
	if version == 2 {
		// A mount of version 2 is not there at once: it is upgraded from 1.
		s.await(t, func() bool {
			status, _, err := s.Do("GET", path+"/config", nil)
			return err == nil && status == http.StatusOK
		})
	}
	return path
}

// Put writes a secret and returns its version; 0 on a mount of KV version 1.
func (s *Server) Put(t testing.TB, mount, path string, secret map[string]any) (version int) {
	t.Helper()
	if s.kvVersion(t, mount) == 1 {
		s.Must(t, "PUT", mount+"/"+path, secret)
		return 0
	}
	answer := s.Must(t, "PUT", mount+"/data/"+path, map[string]any{"data": secret})
	data, _ := answer["data"].(map[string]any)
	number, ok := data["version"].(float64)
	require.True(t, ok, "PUT %s/data/%s: no version in the answer", mount, path)
	return int(number)
}

// Delete deletes a secret. In KV version 2 it deletes the newest version and keeps the
// metadata.
func (s *Server) Delete(t testing.TB, mount, path string) {
	t.Helper()
	if s.kvVersion(t, mount) == 1 {
		s.Must(t, "DELETE", mount+"/"+path, nil)
		return
	}
	s.Must(t, "DELETE", mount+"/data/"+path, nil)
}

// Destroy destroys versions of a secret (KV version 2).
func (s *Server) Destroy(t testing.TB, mount, path string, versions ...int) {
	t.Helper()
	s.Must(t, "PUT", mount+"/destroy/"+path, map[string]any{"versions": versions})
}

// Metadata replaces a secret's custom metadata (KV version 2).
func (s *Server) Metadata(t testing.TB, mount, path string, custom map[string]string) {
	t.Helper()
	s.Must(t, "PUT", mount+"/metadata/"+path, map[string]any{"custom_metadata": custom})
}

// Must is Do, but ends the test unless the server answers with 2xx. Its message holds
// Vault's errors, never a body.
func (s *Server) Must(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	answer, err := s.call(context.Background(), method, path, body) // t.Context is over in a Cleanup
	require.NoError(t, err)
	return answer
}

// Name returns a random name, in lower case and digits, as mount paths and
// policies allow.
func Name() string {
	return strings.ToLower(rand.Text()[:12])
}

// kvVersion returns the version of a mount that KV did not make.
func (s *Server) kvVersion(t testing.TB, mount string) int {
	t.Helper()
	if version, ok := s.mounts.Load(mount); ok {
		return version.(int)
	}
	answer := s.Must(t, "GET", "sys/internal/ui/mounts/"+mount, nil)
	version := 1
	if Text(answer, "data", "options", "version") == "2" {
		version = 2
	}
	s.mounts.Store(mount, version)
	return version
}

// await polls until the server has done something in the background.
func (s *Server) await(t testing.TB, done func() bool) {
	t.Helper()
	require.Eventually(t, done, startTimeout, 5*time.Millisecond)
}
