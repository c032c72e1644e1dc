//go:build unix

package transport_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/transport"
)

func TestBlackHole(t *testing.T) {
	t.Parallel()
	host := blackHole(t, "127.0.0.1:0")
	f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: host}, Timeout: 200 * time.Millisecond}))
	assertUnreachable(t, f, "vault unreachable (no answer within 200ms (VAULT_CLIENT_TIMEOUT) at http://"+host+")")
}

// If a name has several addresses, dead ones cost only part of the attempt.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	alive, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, _ := net.SplitHostPort(alive.Addr().String())
	connected := make(chan net.Conn, 10)
	serveOn(t, alive, func(conn net.Conn) {
		connected <- conn
		conn.Read(make([]byte, 1))
	})
	hole, _, _ := net.SplitHostPort(blackHole(t, "127.0.0.2:"+port))
	const dead = "127.0.0.3" // refuses

	for _, name := range []struct {
		name  string
		hosts []string
		least time.Duration
	}{
		{"alive", []string{"127.0.0.1"}, 0},
		{"alive, black hole", []string{"127.0.0.1", hole}, 0},
		{"black hole, alive", []string{hole, "127.0.0.1"}, time.Second},
		{"two black holes, alive", []string{hole, hole, "127.0.0.1"}, 2 * time.Second},
		{"refuses, alive", []string{dead, "127.0.0.1"}, 0},
		{"black hole, refuses, alive", []string{hole, dead, "127.0.0.1"}, time.Second},
		{"the same twice", []string{"127.0.0.1", "127.0.0.1"}, 0},
	} {
		t.Run(name.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), generous)
			defer cancel()
			began := time.Now()
			conn, err := transport.DialFirst(ctx, name.hosts, port)
			took := time.Since(began)
			require.NoError(t, err)
			assert.Equal(t, "127.0.0.1:"+port, conn.RemoteAddr().String())
			assert.GreaterOrEqual(t, took, name.least)
			assert.Less(t, took, name.least+2*time.Second)
			conn.Close()
			(<-connected).Close()
			if took < name.least+250*time.Millisecond { // a busy machine tries the next address, too
				assert.Empty(t, connected, "one connection was made")
			}
			for len(connected) > 0 {
				(<-connected).Close()
			}
		})
	}
	t.Run("none answers", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		_, err := transport.DialFirst(ctx, []string{hole, hole, hole}, port)
		var network net.Error
		require.ErrorAs(t, err, &network)
		assert.True(t, network.Timeout())
	})
	t.Run("the time is short", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		conn, err := transport.DialFirst(ctx, []string{hole, hole, "127.0.0.1"}, port)
		require.NoError(t, err)
		conn.Close()
		(<-connected).Close()
	})
	t.Run("all refuse", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), generous)
		defer cancel()
		began := time.Now()
		var all []string
		for i := range 40 {
			all = append(all, fmt.Sprint("127.0.0.", 3+i))
		}
		_, err := transport.DialFirst(ctx, all, port)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.Less(t, time.Since(began), 5*time.Second, "the next is tried at once")
	})
}

// blackHole is an address that answers no connection: a listener whose queue is
// full.
func blackHole(t *testing.T, at string) string {
	t.Helper()
	host, text, _ := net.SplitHostPort(at)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	ip := net.ParseIP(host).To4()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte(ip), Port: port}); err != nil {
		t.Skip("this system has one loopback address only: ", err)
	}
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := &net.TCPAddr{IP: ip, Port: name.(*syscall.SockaddrInet4).Port}
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
