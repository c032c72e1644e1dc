package transport_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
)

// After 101, net/http leaves the connection to its caller. A server that then says nothing
// holds nobody up.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(conn net.Conn) {
		says("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: Upgrade", "", "")(conn)
		io.Copy(io.Discard, conn) // until the client closes it
	})
	began := time.Now()
	f := fails(t, wireTo(t, s.address))
	assert.Equal(t, fault.BadResponse, f.Fault.Kind)
	assert.Equal(t, patience.Never, f.Retry)
	assert.Contains(t, f.Fault.Error(), "status 101")
	assert.Less(t, time.Since(began), generous/2)
}

// A proxy answers so if it did not pass the request on, or for 408 if Vault took too long.
func TestStatusesOfAProxyThatARetryMayCure(t *testing.T) {
	t.Parallel()
	for _, status := range []int{408, 421, 425} {
		f := fails(t, wireTo(t, serveRaw(t, answers(status, page, html)).address))
		assert.Equal(t, fault.BadResponse, f.Fault.Kind, status)
		assert.Equal(t, patience.Later, f.Retry, status)
		assert.Equal(t, status != 408, f.Unsent, status)
		assertSafe(t, f)
	}
}

// What a caller requests by itself can have any form, such as a certificate. But what is
// no success is told as ever, and so is everything that the library requests.
func TestAnswersOfAnyForm(t *testing.T) {
	t.Parallel()
	get := func(status int, own bool) (*http.Response, *patience.Failure) {
		w := wireTo(t, serveRaw(t, answers(status, "application/pem-certificate-chain", "-----BEGIN")).address)
		r := request(t, w, http.MethodGet, "pki/ca/pem")
		if !own {
			r = r.WithContext(t.Context())
		}
		return transport.SendOnce(w, r, generous)
	}
	response, f := get(200, false)
	require.Nil(t, f)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "-----BEGIN", string(text))
	for _, c := range []struct {
		status int
		own    bool
	}{{200, true}, {404, false}, {503, false}} {
		_, f := get(c.status, c.own)
		require.NotNil(t, f, c)
		assert.Equal(t, fault.BadResponse, f.Fault.Kind, c)
	}
}

// A proxy may say something before its answer to CONNECT, and any 2xx is success.
func TestAnswersToCONNECT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before string
		status int
		ok     bool
	}{
		{"", 200, true},
		{"", 201, true},
		{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 200, true},
		{"HTTP/1.1 100 Continue\r\n\r\n", 200, true},
		{"HTTP/1.1 100 Continue\r\n\r\n", 403, false},
		{"", 101, false},
	} {
		proxy := serveRaw(t, func(conn net.Conn) {
			fmt.Fprintf(conn, "%sHTTP/1.1 %d X\r\n\r\n", c.before, c.status)
			io.Copy(io.Discard, conn)
		})
		w := newWire(t, transport.Config{Address: &url.URL{Scheme: "https", Host: "vault.example"}, Proxy: proxyAt(proxy.address), Timeout: 500 * time.Millisecond})
		f := fails(t, w)
		refused := fmt.Sprintf("the proxy answers %d", c.status)
		if c.ok {
			assert.NotContains(t, f.Fault.Error(), refused, "TLS begins")
			assert.NotContains(t, f.Fault.Error(), "the proxy answers")
		} else {
			assert.Contains(t, f.Fault.Error(), refused)
		}
	}
}
