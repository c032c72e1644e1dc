package auth_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/auth"
)

// A logged Usage has the run's id, milliseconds, the token's expiry, and the findings with
// their details.
func TestUsageInTheLog(t *testing.T) {
	t.Parallel()
	usage := auth.Usage{
		RunID: "R1", Requests: 4, Retries: 1, Connections: 2, Waited: 1500 * time.Millisecond, Longest: 20 * time.Millisecond,
		Token:    auth.Token{Expires: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)},
		Findings: []auth.Finding{{Code: auth.TokenNotRevoked, Text: "the token lives on", Detail: "no answer"}},
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("signed", "vault", usage)
	assert.Contains(t, log.String(), "vault.run=R1 vault.requests=4 vault.retries=1 vault.connections=2 vault.waited_ms=1500 vault.longest_ms=20 vault.token_expires=2026-11-29T08:00:00.000Z")
	assert.Contains(t, log.String(), "the token lives on (no answer)")
}
