package client_test

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

	"github.com/luumen/patch-vault/internal/client"
)

// canned answers every request of a connection with the same bytes, so that a
// benchmark sees the client and nothing else.
func canned(b *testing.B, body string) *url.URL {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { listener.Close() })
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\nDate: Tue, 24 Nov 2026 04:21:30 GMT\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				for lines := bufio.NewReader(connection); ; {
					line, err := lines.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 {
						connection.Write(answer)
					}
				}
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}
}

// BenchmarkSend is what one read costs over a kept connection, beside net/http
// without anything around it.
func BenchmarkSend(b *testing.B) {
	address := canned(b, `{"request_id":"0b2d4c1e-1f7a-2f0c-8f4e-2c6a3f3b1d11","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":{"password":"Xq7-w2Lf-00001-mK9z-T4vB","user":"luumen-00001"},"metadata":{"created_time":"2026-11-24T04:21:30.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`)
	b.Run("net/http", func(b *testing.B) {
		bare := &http.Client{Transport: &http.Transport{}}
		defer bare.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			request, _ := http.NewRequest(http.MethodGet, address.String()+"/v1/secret/data/luumen/host-00001", nil)
			request.Header.Set("X-Vault-Token", token)
			response, err := bare.Do(request)
			require.NoError(b, err)
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	})
	b.Run("client", func(b *testing.B) {
		c := client.New(client.Config{Address: address, Connections: 1, Timeout: 10 * time.Second, UserAgent: "bench"})
		defer c.Close()
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		header := c.Header(token, "")
		b.ReportAllocs()
		for b.Loop() {
			var data struct {
				Data     map[string]string `json:"data"`
				Metadata struct {
					Version int `json:"version"`
				} `json:"metadata"`
			}
			_, f := c.Send(ctx, client.Request{Method: http.MethodGet, Path: "secret/data/luumen/host-00001", Header: header, Data: &data}, time.Minute)
			require.Nil(b, f)
		}
	})
}
