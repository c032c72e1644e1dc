package vaulttest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Main runs a package's tests and stops the shared servers. A TestMain calls it. It returns
// the exit code, which is not 0 if a goroutine is left behind. Tests mostly wait for servers,
// so eight of them run at once, unless -parallel says otherwise.
func Main(m *testing.M) int {
	flag.Parse()
	if !isSet("test.parallel") {
		flag.Set("test.parallel", "8")
	}
	code := m.Run()
	StopShared()
	if code != 0 {
		return code
	}
	if run := flag.Lookup("test.run"); !testing.Short() && run.Value.String() == "" {
		if err := reviewUnsupported(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// isSet reports whether a flag was given on the command line.
func isSet(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// StopShared stops the servers of [Shared], [SharedTLS] and [SharedSealed]. A TestMain that
// does not use [Main] calls it after the tests.
func StopShared() {
	plain.stop()
	withTLS.stop()
	sealed.stop()
}

// Shared returns the dev-mode server that all tests of a package share; the first call
// starts it. Every helper makes objects with random names, so that tests can run in
// parallel. A test that changes the server as a whole (quotas, sealing, stopping) uses
// [New]. If there is no Vault to start, the test fails; with -short it is skipped.
func Shared(t testing.TB) *Server {
	t.Helper()
	return plain.start(t, Config{})
}

// ForExample is [Shared] for an Example function, which has no testing.TB. It panics if
// there is no Vault to start, so the TestMain of the package skips such examples with
// -short.
func ForExample() *Server {
	plain.once.Do(func() { plain.server, plain.err = Start(Config{}) })
	if plain.err != nil {
		panic(plain.err)
	}
	return plain.server
}

// SharedTLS is [Shared] with TLS: another server.
func SharedTLS(t testing.TB) *Server {
	t.Helper()
	return withTLS.start(t, Config{TLS: true})
}

// SharedSealed is [Shared] but sealed: another server. No test unseals it.
func SharedSealed(t testing.TB) *Server {
	t.Helper()
	return sealed.start(t, Config{NoAudit: true}, (*Server).Seal)
}

// New starts a dev-mode server for one test and stops it when the test ends.
func New(t testing.TB, config Config) *Server {
	t.Helper()
	skip(t)
	s, err := Start(config)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

// NewCluster starts a cluster for one test and stops it when the test ends.
func NewCluster(t testing.TB, config Config) *Cluster {
	t.Helper()
	skip(t)
	c, err := StartCluster(config)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

var plain, withTLS, sealed shared

type shared struct {
	once   sync.Once
	server *Server
	err    error
}

func (s *shared) start(t testing.TB, config Config, then ...func(*Server) error) *Server {
	t.Helper()
	skip(t)
	s.once.Do(func() {
		s.server, s.err = Start(config)
		for _, do := range then {
			if s.err == nil {
				s.err = do(s.server)
			}
		}
	})
	require.NoError(t, s.err)
	return s.server
}

func (s *shared) stop() {
	s.once.Do(func() { s.err = errors.New("the shared servers were stopped") })
	if s.server != nil {
		s.server.Stop()
	}
}

func skip(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Vault; left out by -short")
	}
	Unsupported(t)
}
