package client_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// A new connection that ends before any answer may have nobody behind it; one
// that brought an answer before had.
func TestUnheard(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/end" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	c := client.New(client.Config{Address: address, Connections: 1, Timeout: time.Minute})
	defer c.Close()
	send := func(method, path string) *fault.Error {
		_, f := c.Send(t.Context(), client.Request{Method: method, Path: path, Header: c.Header("", "")}, time.Minute)
		return f
	}

	f := send(http.MethodGet, "end")
	require.NotNil(t, f)
	assert.True(t, f.Unheard)
	assert.False(t, f.Unsent, "Vault may have acted on it")

	require.Nil(t, send(http.MethodGet, "well"))
	// net/http itself sends a GET again over a new connection, but no POST.
	f = send(http.MethodPost, "end")
	require.NotNil(t, f)
	assert.False(t, f.Unheard)
}
