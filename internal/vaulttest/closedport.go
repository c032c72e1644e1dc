package vaulttest

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// ClosedPort returns a loopback address that refuses connections until the test ends. The
// port is the client's end of a connection, so no server of another test gets it meanwhile.
func ClosedPort(t testing.TB) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client.LocalAddr().String()
}
