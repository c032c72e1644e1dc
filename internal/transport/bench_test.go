package transport_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/transport"
)

// canned answers every request with the same bytes, so that a benchmark measures the
// client alone.
func canned(b *testing.B) *url.URL {
	const body = `{"request_id":"0b2d4c1e-1f7a-2f0c-8f4e-2c6a3f3b1d11","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"Xq7-w2Lf-00001-mK9z-T4vB","user":"luumen-00001"},"metadata":{"created_time":"2026-11-24T04:21:30.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\nDate: Tue, 24 Nov 2026 04:21:30 GMT\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return serveConnections(b, func(conn net.Conn) {
		for lines := bufio.NewReader(conn); ; {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				conn.Write(answer)
			}
		}
	})
}

// BenchmarkRead is what one read costs over a kept connection: by net/http alone,
// by net/http over an answerConn, and by a Retry over a Wire.
func BenchmarkRead(b *testing.B) {
	address := canned(b)
	get := func(b *testing.B, t http.RoundTripper) {
		b.ReportAllocs()
		for b.Loop() {
			request, _ := http.NewRequestWithContext(transport.WithAnswerConn(b.Context()), http.MethodGet, address.String()+"/v1/secret/data/luumen/host-00001", nil)
			request.Header.Set("X-Vault-Token", token)
			response, err := t.RoundTrip(request)
			require.NoError(b, err)
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}
	b.Run("net/http", func(b *testing.B) {
		bare := &http.Transport{}
		defer bare.CloseIdleConnections()
		get(b, bare)
	})
	b.Run("answerConn", func(b *testing.B) {
		bare := &http.Transport{ReadBufferSize: 128, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return transport.NewAnswerConn(conn), nil
		}}
		defer bare.CloseIdleConnections()
		get(b, bare)
	})
	b.Run("Retry", func(b *testing.B) {
		w := newWire(b, transport.Config{Address: address, Connections: 1, Timeout: 10 * time.Second})
		get(b, newRetry(b, w, time.Minute))
	})
}
