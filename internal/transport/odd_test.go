package transport_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/internal/vaulttest"
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

// A proxy sends these if it did not pass the request on, or 408 if Vault took too long.
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

// What a caller requests by itself can have any form, such as a certificate. The pages of a
// proxy are told as ever, and so is everything that the library requests.
func TestAnswersOfAnyForm(t *testing.T) {
	t.Parallel()
	const (
		pem     = "application/pem-certificate-chain"
		ocsp    = "application/ocsp-response"
		problem = "application/problem+json"
		health  = `{"initialized":true,"sealed":false,"standby":true,"server_time_utc":1}`
	)
	for _, c := range []struct {
		method            string
		status            int
		contentType, body string
		kind              fault.Kind // empty for an answer
	}{
		{"GET", 200, pem, "-----BEGIN", ""},
		{"GET", 202, json, `{"accepted":true}`, ""},
		{"PUT", 400, ocsp, "0\x03\n\x01\x01", fault.BadResponse},
		{"GET", 404, problem, `{"detail":"` + token + `"}`, fault.BadResponse},
		{"GET", 401, json, `{"errors":["a plugin's own"]}`, ""},
		{"GET", 404, json, `{"message":"no such page"}`, fault.BadResponse},
		{"GET", 404, page, html, fault.BadResponse},
		{"GET", 429, problem, "{}", fault.RateLimited},
		{"GET", 503, pem, "-----BEGIN", fault.BadResponse},
		{"GET", 429, json, health, ""},
		{"GET", 503, json, health, ""},
		{"GET", 503, json, `{"errors":["Vault is sealed"]}`, fault.Sealed},
		{"GET", 400, json, `{"errors":["path disabled in replication DR secondary mode"]}`, fault.NoActiveNode},
		{"HEAD", 200, json, `{"request_id":"1"}`, ""},
		{"HEAD", 200, pem, strings.Repeat("-", 5<<20), ""}, // more than an answer may have
	} {
		for _, own := range []bool{false, true} {
			t.Run(fmt.Sprint(c.method, c.status, c.contentType, c.body[:1], own), func(t *testing.T) {
				t.Parallel()
				w := wireTo(t, serveRaw(t, answers(c.status, c.contentType, c.body)).address)
				r := request(t, w, c.method, "a")
				if !own {
					r = r.WithContext(t.Context())
				}
				response, f := transport.SendOnce(w, r, generous)
				if own || c.kind != "" {
					require.NotNil(t, f)
					assert.True(t, own || f.Fault.Kind == c.kind, f.Fault.Error())
					assertSafe(t, f)
					return
				}
				require.Nil(t, f)
				text, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				if c.method != http.MethodHead {
					assert.Equal(t, c.body, string(text))
				}
			})
		}
	}
}

// Vault tells a standby's health with the status of a quota. An answer to HEAD has the length of the one to GET.
func TestVaultsOtherForms(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	w := wireTo(t, parseURL(t, server.Address))
	retry := newRetry(t, w, time.Minute)
	client := newClient(t, w, retry)
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.SetToken(server.Token)
	_, err := client.Auth().Token().LookupSelfWithContext(t.Context()) // which shows that this is Vault
	require.NoError(t, err)

	health, err := client.Logical().ReadRawWithDataWithContext(t.Context(), "sys/health", url.Values{"activecode": {"429"}})
	assert.Equal(t, 429, health.StatusCode, "%v", err)

	response, err := retry.RoundTrip(request(t, w, http.MethodHead, "sys/health").WithContext(t.Context()))
	require.NoError(t, err)
	assert.Equal(t, 200, response.StatusCode)
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
