package canary_test

import (
	"fmt"
	"log"
	"log/slog"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/canary"
)

// CaptureStderr captures every way to stderr, and nothing after Release.
func TestCaptureHearsEachWay(t *testing.T) {
	before := log.Writer()
	for _, way := range []struct {
		name  string
		write func()
	}{
		{"package log", func() { log.Print(canary.Secret) }},
		{"slog's default logger", func() { slog.Info("x", "secret", canary.Secret) }},
		{"os.Stderr", func() { fmt.Fprint(os.Stderr, canary.Secret) }},
		{"the runtime", func() { println(canary.Secret) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			if way.name == "the runtime" && runtime.GOOS != "linux" {
				t.Skip("only Linux leads it elsewhere")
			}
			stderr, err := canary.CaptureStderr()
			require.NoError(t, err)
			inner, err := canary.CaptureStderr()
			require.NoError(t, err)
			way.write()
			assert.NotEmpty(t, canary.Leak(inner.Release()))
			assert.Empty(t, stderr.String())
			way.write()
			assert.NotEmpty(t, canary.Leak(stderr.Release()))
		})
	}
	assert.Equal(t, before, log.Writer())
}

// Tests that write to stderr fail, and what they wrote is shown.
func TestSilent(t *testing.T) {
	for _, c := range []struct {
		name       string
		writes     string
		code, want int
	}{
		{"silent", "", 0, 0},
		{"failed", "", 2, 2},
		{"written", "x\n", 0, 1},
		{"written, and failed", "x\n", 2, 2},
		{"a warning of package testing", "testing: warning: no tests to run\n", 0, 0},
		{"a warning, and more", "testing: warning: no tests to run\nx\n", 0, 1},
	} {
		shown, err := canary.CaptureStderr()
		require.NoError(t, err)
		code := canary.Silent(func() int {
			log.Writer().Write([]byte(c.writes))
			return c.code
		})
		text := shown.Release()
		assert.Equal(t, c.want, code, c.name)
		assert.Contains(t, text, c.writes, c.name)
		assert.Equal(t, c.want == 1, len(text) > len(c.writes), c.name)
	}
}
