package resolver_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/balancer"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

const (
	deadFleet = 2000
	deadDials = 12 // however large the fleet is
	workers   = 16 // the default
)

// A Vault that is dead from the start costs one patience, and each host that needs it
// gets the last concrete cause.
func TestVaultIsDeadFromTheStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		address func(t *testing.T) string
		timeout string // of one attempt
		text    string
		cause   func(error) bool
	}{
		{
			name:    "nobody listens",
			address: func(t *testing.T) string { return "http://" + vaulttest.ClosedPort(t) },
			text:    "connection refused at http://127.0.0.1:",
			cause:   func(err error) bool { return errors.Is(err, connectionRefused) },
		},
		{
			name:    "connections are accepted and never answered",
			address: mute,
			timeout: "100ms",
			text:    "no answer within 100ms (VAULT_CLIENT_TIMEOUT) at http://127.0.0.1:",
			cause:   isTimeout,
		},
		{
			name:    "one attempt takes all of patience",
			address: mute,
			text:    "no answer within ",
			cause:   isTimeout,
		},
		{
			name:    "connections are closed at once",
			address: func(t *testing.T) string { return counted(t, "http://"+vaulttest.ClosedPort(t)).Address },
			text:    "connection ",
			cause:   isReset,
		},
		{
			name:    "packets are lost",
			address: blackHole,
			timeout: "100ms",
			text:    "no answer within 100ms (VAULT_CLIENT_TIMEOUT) at http://127.0.0.1:",
			cause:   isTimeout,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			vault := auth.New(auth.Settings{Address: c.address(t)}, environment(map[string]string{"VAULT_TOKEN": "t", "VAULT_CLIENT_TIMEOUT": c.timeout}))
			hosts := fleetOf(deadFleet, "kv")
			began := time.Now()
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: brief})
			taken := 0
			for i, result := range run.Results() {
				taken++
				if i%100 == 0 { // a literal
					require.NoError(t, result.Err())
					require.LessOrEqual(t, taken, deadFleet/100, "literals come first")
					require.Less(t, time.Since(began), brief, "and do not wait")
					continue
				}
				err := result.Err()
				require.ErrorIs(t, err, resolver.Unreachable)
				require.ErrorContains(t, err, "vault unreachable ("+c.text)
				require.True(t, c.cause(err), "%v", err)
			}
			report := run.Report()
			require.Equal(t, deadFleet, taken)
			assert.Len(t, report.Causes, 1)
			assert.LessOrEqual(t, report.Connections, deadDials)
			assertOnePatience(t, report)
		})
	}
}

// A Vault that dies midway costs one patience from there on.
func TestVaultDiesMidway(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{NoAudit: true})
	kv := server.KV(t, 2)
	const size, servedBefore = 600, 100
	writtenFleet(t, server, kv, size)
	front := counted(t, server.Address)
	vault := auth.New(auth.Settings{Address: front.Address}, environment(map[string]string{"VAULT_TOKEN": server.ReaderToken(t, kv+"/data/*"), "VAULT_RATE_LIMIT": "150:1"}))
	hosts := fleetOf(size, kv)
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: brief})
	literals, served, lost, before := 0, 0, 0, 0
	for _, result := range run.Results() {
		err := result.Err()
		switch {
		case err == nil && lost == 0 && literals < size/100:
			literals++
		case err == nil:
			served++
		default:
			require.ErrorIs(t, err, resolver.Unreachable)
			assert.ErrorContains(t, err, "vault unreachable (connection ")
			lost++
		}
		if served == servedBefore && before == 0 {
			before = front.Accepted()
			server.Kill()
		}
	}
	report := run.Report()
	after := front.Accepted() - before
	assert.Equal(t, []int{size / 100, size}, []int{literals, literals + served + lost})
	assert.GreaterOrEqual(t, served, servedBefore)
	assert.LessOrEqual(t, before, workers)
	// A request that was under way is sent again at once, and before that by net/http, each
	// time over a new connection. A few begin before two have failed.
	const few = workers / 2
	assert.LessOrEqual(t, after, deadDials+2*workers+few)
	assert.LessOrEqual(t, report.Connections, deadDials+3*workers+few)
	assertOnePatience(t, report)
}

// assertOnePatience checks the run's own measurement. A run that waits twice takes two
// patiences; package patience tests the exact figures in virtual time.
func assertOnePatience(t *testing.T, report resolver.Report) {
	t.Helper()
	assert.GreaterOrEqual(t, report.Waited, brief)
	assert.Less(t, report.Waited, 2*brief)
}

// isReset reports whether the server ended the connection. What the client sees depends
// on whether it had sent its request.
func isReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || runtime.GOOS == "windows" && (errors.Is(err, syscall.Errno(10054)) || errors.Is(err, syscall.Errno(10053))) || errors.Is(err, syscall.EPIPE)
}

func isTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout()
}

// counted puts a balancer in front of a server, to count connections.
func counted(t *testing.T, address string) *balancer.Balancer {
	t.Helper()
	b, err := balancer.Start(address)
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	return b
}

// mute is a server that never answers: the kernel accepts its connections.
func mute(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	return "http://" + listener.Addr().String()
}
