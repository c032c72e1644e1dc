package transport_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestUnreachable(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		host := vaulttest.ClosedPort(t)
		w := wireTo(t, &url.URL{Scheme: "http", Host: host})
		f := fails(t, w)
		assertUnreachable(t, f, "vault unreachable (connection refused at http://"+host+"); check the address, that Vault runs there, and the network")
		assert.Equal(t, 1, w.Dials())
	})
	t.Run("a name without an address", func(t *testing.T) {
		t.Parallel()
		f := fails(t, newWire(t, transport.Config{Address: &url.URL{Scheme: "https", Host: "vault.invalid:8200"}, Timeout: 5 * time.Second}))
		assertUnreachable(t, f, "vault unreachable (no address for vault.invalid: ")
		assert.Contains(t, f.Fault.Error(), "check the name in the address, and the Patch server's DNS")
	})
	t.Run("the limit of the caller is shorter", func(t *testing.T) {
		t.Parallel()
		s := serveRaw(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		w := wireTo(t, s.address)
		_, f := transport.SendOnce(w, request(t, w, http.MethodGet, "a"), 150*time.Millisecond)
		require.NotNil(t, f)
		assert.Contains(t, f.Fault.Error(), "(no answer within 150ms at ")
	})
}

// Windows has error numbers of its own, which package syscall does not compare.
func TestWindowsErrorNumbers(t *testing.T) {
	t.Parallel()
	w := wireTo(t, &url.URL{Scheme: "http", Host: "vault.example.com"})
	for _, number := range []struct {
		errno  syscall.Errno
		op     string
		call   string
		detail string
		unsent bool
	}{
		{10061, "dial", "connectex", "connection refused", true}, // WSAECONNREFUSED
		{10054, "read", "wsarecv", "connection reset", false},    // WSAECONNRESET
		{10053, "write", "wsasend", "connection reset", false},   // WSAECONNABORTED
		{syscall.ECONNREFUSED, "dial", "connect", "connection refused", true},
		{syscall.ECONNRESET, "read", "read", "connection reset", false},
		{syscall.ECONNABORTED, "read", "read", "connection reset", false},
		{syscall.EPIPE, "write", "write", "connection reset", false},
	} {
		f := transport.FailureOf(w, &net.OpError{Op: number.op, Net: "tcp", Err: os.NewSyscallError(number.call, number.errno)})
		assert.Equal(t, fault.Unreachable, f.Fault.Kind)
		assert.Equal(t, patience.Later, f.Retry)
		assert.Equal(t, number.unsent, f.Unsent)
		assert.Contains(t, f.Fault.Error(), "vault unreachable ("+number.detail+" at http://vault.example.com)")
		assert.ErrorIs(t, f.Fault, number.errno)
	}
}
