package delay_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/delay"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m)) }

// echo returns the address of a server that echoes, and closes a connection when the client
// has.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				io.Copy(connection, connection)
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(time.Minute)))
	return connection.(*net.TCPConn)
}

func start(t *testing.T, target string, roundTrip time.Duration) *delay.Proxy {
	t.Helper()
	proxy, err := delay.Start(target, roundTrip)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	return proxy
}

func TestRoundTripTakesAsLongAsAsked(t *testing.T) {
	t.Parallel()
	const roundTrip, trips = 20 * time.Millisecond, 5
	connection := dial(t, start(t, echo(t), roundTrip).Address)
	began := time.Now()
	for range trips {
		_, err := connection.Write([]byte("ping"))
		require.NoError(t, err)
		_, err = io.ReadFull(connection, make([]byte, 4))
		require.NoError(t, err)
	}
	assert.GreaterOrEqual(t, time.Since(began), trips*roundTrip)
}

// A stream arrives whole and in order, ends when its sender does, and takes one round trip,
// not one for each part.
func TestStreamArrivesWhole(t *testing.T) {
	t.Parallel()
	const roundTrip = 200 * time.Millisecond
	connection := dial(t, start(t, echo(t), roundTrip).Address)
	sent := make([]byte, 8<<20)
	rand.Read(sent)
	began := time.Now()
	go func() {
		connection.Write(sent)
		connection.CloseWrite()
	}()
	got, err := io.ReadAll(connection)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got), "sent %d bytes, got %d", len(sent), len(got))
	assert.Less(t, time.Since(began), 256*roundTrip, "one for each 32 KiB")
}

func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	proxy := start(t, echo(t), time.Millisecond)
	connection := dial(t, proxy.Address)
	_, err := connection.Write([]byte("ping"))
	require.NoError(t, err)
	_, err = io.ReadFull(connection, make([]byte, 4))
	require.NoError(t, err)

	proxy.Close()
	_, err = connection.Read(make([]byte, 1))
	assert.Error(t, err)
	_, err = net.Dial("tcp", proxy.Address)
	assert.Error(t, err)
}

// If the target is gone, the connection ends before an answer, as without the proxy.
func TestNoTarget(t *testing.T) {
	t.Parallel()
	connection := dial(t, start(t, vaulttest.ClosedPort(t), time.Millisecond).Address)
	_, err := connection.Read(make([]byte, 1))
	assert.Error(t, err)
}
