package vaulttest

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// ServeTLS serves https on a free loopback port until the test ends, over HTTP/2, too, and
// returns the address as a URL. The config must have a certificate. At the end the server
// closes its connections, even while handlers run.
func ServeTLS(t testing.TB, config *tls.Config, handler http.Handler) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{
		Handler:   handler,
		TLSConfig: config,
		// Handshakes that fail are what many tests are about.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ServeTLS(listener, "", "") // always ends in an error: by Close
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return "https://" + listener.Addr().String()
}
