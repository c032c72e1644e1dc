package vaulttest_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config vaulttest.Config
		scheme string
	}{
		{"plain", vaulttest.Config{}, "http://127.0.0.1:"},
		{"TLS", vaulttest.Config{TLS: true}, "https://127.0.0.1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			s := vaulttest.New(t, test.config)
			t.Logf("up after %s", time.Since(begin).Round(time.Millisecond))

			assert.True(t, strings.HasPrefix(s.Address, test.scheme), s.Address)
			assert.Equal(t, test.config.TLS, s.CAFile != "")
			status, answer, err := s.Do("GET", "sys/health", nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, false, answer["sealed"])

			s.Stop()
			s.Stop()
			assert.True(t, refuses(s.Address), "%s still listens after Stop", s.Address)
			assert.NoDirExists(t, filepath.Dir(s.AuditFile))
		})
	}
}

func TestEnvironmentDoesNotReachTheServer(t *testing.T) {
	t.Setenv("VAULT_API_ADDR", "http://192.0.2.1:1")
	t.Setenv("VAULT_LOG_LEVEL", "nonsense") // the server would not start
	t.Setenv("VAULT_ADDR", "http://192.0.2.1:1")
	t.Setenv("VAULT_TOKEN", "nonsense")
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")

	s := vaulttest.New(t, vaulttest.Config{})
	s.Must(t, "GET", "auth/token/lookup-self", nil)
}

func TestServersStartedAtOnce(t *testing.T) {
	t.Parallel()
	vaulttest.Shared(t) // fails or skips where there is no Vault
	var group sync.WaitGroup
	addresses := make([]string, 4)
	for i := range addresses {
		group.Go(func() {
			s, err := vaulttest.Start(vaulttest.Config{NoAudit: true})
			if assert.NoError(t, err) {
				t.Cleanup(s.Stop)
				addresses[i] = s.Address
			}
		})
	}
	group.Wait()
	for i, a := range addresses {
		assert.NotContains(t, addresses[i+1:], a)
	}
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	s := vaulttest.New(t, vaulttest.Config{TLS: true})
	s.Put(t, "secret", "app", map[string]any{"user": "u"})
	s.Kill()
	assert.True(t, refuses(s.Address), "%s still listens after Kill", s.Address)

	require.NoError(t, s.Restart())
	status, _, err := s.Do("GET", "secret/data/app", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, status, "a dev-mode server comes back empty")
	assert.NotEmpty(t, s.RequestsBy(t, ""))
}

func TestSealAndUnseal(t *testing.T) {
	t.Parallel()
	s := vaulttest.New(t, vaulttest.Config{})
	s.Put(t, "secret", "app", map[string]any{"user": "u"})
	read := func() int {
		status, _, err := s.Do("GET", "secret/data/app", nil)
		require.NoError(t, err)
		return status
	}
	require.NoError(t, s.Seal())
	assert.Equal(t, http.StatusServiceUnavailable, read())
	require.NoError(t, s.Unseal())
	assert.Eventually(t, func() bool { return read() == http.StatusOK }, 10*time.Second, 5*time.Millisecond,
		"the secret is not there after unsealing")
}

// A test binary that is killed, by a timeout or by hand, leaves no server behind. That is
// what the leash is for.
func TestServerDiesWithItsStarter(t *testing.T) {
	t.Parallel()
	vaulttest.Shared(t) // fails or skips where there is no Vault
	self, err := os.Executable()
	require.NoError(t, err)
	helper := exec.CommandContext(t.Context(), self)
	helper.Env = append(os.Environ(), orphan+"=1")
	output, err := helper.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, helper.Start())
	var address, audit string
	_, err = fmt.Fscanln(output, &address, &audit)
	require.NoError(t, err, "no address from the helper")
	require.False(t, refuses(address), "%s does not listen", address)

	require.NoError(t, helper.Process.Kill()) // SIGKILL: it can clean up nothing
	begin := time.Now()
	helper.Wait()
	assert.Eventually(t, func() bool { return refuses(address) }, 10*time.Second, 5*time.Millisecond,
		"the server outlived the process that started it")
	t.Logf("dead %s after its starter", time.Since(begin).Round(time.Millisecond))
	assert.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Dir(audit))
		return os.IsNotExist(err)
	}, 10*time.Second, 5*time.Millisecond, "the server's folder was left behind")
}

func TestServerThatDoesNotStart(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "vault")
	require.NoError(t, os.WriteFile(broken, []byte("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n"), 0o700))
	t.Setenv("VAULT_BIN", broken)
	_, err := vaulttest.Start(vaulttest.Config{})
	require.ErrorContains(t, err, "vault ended")
	require.ErrorContains(t, err, "the disk is on fire")
}

func TestFind(t *testing.T) {
	t.Run("VAULT_BIN comes first", func(t *testing.T) {
		t.Setenv("VAULT_BIN", "/bin/sh")
		path, err := vaulttest.Find()
		require.NoError(t, err)
		assert.Equal(t, "/bin/sh", path)
	})
	t.Run("VAULT_BIN that is none is not passed over", func(t *testing.T) {
		t.Setenv("VAULT_BIN", filepath.Join(t.TempDir(), "vault"))
		_, err := vaulttest.Find()
		require.ErrorContains(t, err, "VAULT_BIN")
	})
	t.Run("none", func(t *testing.T) {
		t.Setenv("VAULT_BIN", "")
		t.Setenv("PATH", t.TempDir())
		t.Chdir(t.TempDir())
		_, err := vaulttest.Find()
		require.ErrorIs(t, err, vaulttest.ErrNotFound)
		require.ErrorContains(t, err, "make vault")
		require.ErrorContains(t, err, "VAULT_BIN")
	})
	t.Run("PATH comes last", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "vault"), nil, 0o700))
		t.Setenv("VAULT_BIN", "")
		t.Setenv("PATH", dir)
		t.Chdir(t.TempDir())
		path, err := vaulttest.Find()
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(dir, "vault"), path)
	})
}

func refuses(address string) bool {
	_, hostPort, _ := strings.Cut(address, "//")
	conn, err := net.Dial("tcp", hostPort)
	if err != nil {
		return true
	}
	conn.Close()
	return false
}
