//go:build unix

package client_test

import (
	"net"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
)

func TestBlackHole(t *testing.T) {
	t.Parallel()
	host := blackHole(t)
	_, f := read(t, newClient(t, client.Config{Address: &url.URL{Scheme: "http", Host: host}, Timeout: 200 * time.Millisecond}))
	require.NotNil(t, f)
	assertUnreachable(t, f, "vault unreachable (no answer within 200ms at http://"+host+")")
}

// blackHole is an address on loopback that answers no connection: a listener
// whose queue is full.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}
	for range 8 {
		dialer := net.Dialer{Timeout: 100 * time.Millisecond}
		conn, err := dialer.Dial("tcp", address.String())
		if err != nil {
			return address.String()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("a full queue refuses nobody here")
	return ""
}
