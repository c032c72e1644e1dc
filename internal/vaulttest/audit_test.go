package vaulttest_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	s := vaulttest.Shared(t)
	kv := s.KV(t, 2)
	s.Put(t, kv, "app", map[string]any{"password": "s3cret"})
	token := s.ReaderToken(t, kv+"/data/app")
	run := "run-" + vaulttest.Name()

	assert.Equal(t, http.StatusOK, get(t, s.Address+"/v1/"+kv+"/data/app?version=1", token, run))
	assert.Equal(t, http.StatusForbidden, get(t, s.Address+"/v1/"+kv+"/data/other", token, run))
	assert.Equal(t, http.StatusForbidden, get(t, s.Address+"/v1/"+kv+"/data/app", "no-such-token", run))

	requests := s.RequestsBy(t, run)
	require.Len(t, requests, 3)
	read, denied, unknown := requests[0], requests[1], requests[2]

	assert.Equal(t, kv+"/data/app", read.Path)
	assert.Equal(t, "read", read.Operation)
	assert.Equal(t, "127.0.0.1", read.RemoteAddr)
	assert.Equal(t, map[string]any{"version": "1"}, read.Data, "a version is in clear")
	assert.Contains(t, read.UserAgent, run)
	assert.Empty(t, read.Error)
	assert.NotEmpty(t, read.ID)
	assert.False(t, read.Time.IsZero())
	assert.NotContains(t, read.Accessor, "hmac")

	assert.Equal(t, kv+"/data/other", denied.Path)
	assert.Contains(t, denied.Error, "permission denied")
	assert.Equal(t, read.Accessor, denied.Accessor, "one token, one accessor")

	assert.Contains(t, unknown.Error, "invalid token")
	assert.Empty(t, unknown.Accessor)

	assert.Greater(t, len(s.RequestsBy(t, "")), 3)
	assert.Empty(t, s.RequestsBy(t, "nobody-"+vaulttest.Name()))
}

func TestRawAudit(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		s := vaulttest.New(t, vaulttest.Config{RawAudit: raw})
		s.Must(t, "PUT", "secret/data/app", map[string]any{"data": map[string]any{"password": "s3cret"}})
		var found bool
		for _, r := range s.RequestsBy(t, "vaulttest") {
			if r.Path == "secret/data/app" {
				found = true
				data, _ := r.Data["data"].(map[string]any)
				assert.Equal(t, raw, data["password"] == "s3cret")
			}
		}
		assert.True(t, found, "the write is not in the audit file")
	}
}

func TestNoAudit(t *testing.T) {
	t.Parallel()
	s := vaulttest.New(t, vaulttest.Config{NoAudit: true})
	_, err := s.Requests("")
	require.ErrorContains(t, err, "without an audit file")
}

func get(t *testing.T, url, token, userAgent string) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	require.NoError(t, err)
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("X-Vault-Token", token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}
