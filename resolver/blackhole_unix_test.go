//go:build unix

package resolver_test

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// blackHole is an address that answers no connection: a listener whose queue is full.
func blackHole(t *testing.T) (address string) {
	t.Helper()
	return blackHoleAt(t, "127.0.0.1:0")
}

// blackHoleAt is blackHole at an IPv4 address.
func blackHoleAt(t *testing.T, address string) string {
	t.Helper()
	at, err := netip.ParseAddrPort(address)
	require.NoError(t, err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address = fmt.Sprintf("%s:%d", at.Addr(), name.(*syscall.SockaddrInet4).Port)
	for range 100 {
		connection, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return "http://" + address
		}
		t.Cleanup(func() { connection.Close() })
	}
	t.Skip("the queue of this system's listeners has no end")
	return ""
}
