package auth_test

import (
	"bytes"
	"fmt"
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
		RunID: "R1", Requests: 4, Retries: 1, Connections: 2, Waited: 1500 * time.Millisecond, Median: 5250 * time.Microsecond, Longest: 20 * time.Millisecond,
		Token:    auth.Token{Expires: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)},
		Findings: []auth.Finding{{Code: auth.TokenNotRevoked, Text: "the token lives on", Detail: "no answer"}},
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("signed", "vault", usage)
	assert.Contains(t, log.String(), "vault.run_id=R1 vault.requests=4 vault.retries=1 vault.connections=2 vault.waited_ms=1500 vault.median_ms=5.25 vault.p95_ms=0 vault.longest_ms=20 vault.token_expires=2026-11-29T08:00:00.000Z")
	assert.Contains(t, log.String(), "the token lives on (no answer)")
}

// A logged or printed Token is one line, without the address of its number of uses.
func TestTokenInTheLog(t *testing.T) {
	t.Parallel()
	expires := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	for want, token := range map[string]auth.Token{
		"":                       {},
		"given, expiry unknown":  {Given: true},
		"given, does not expire": {Given: true, Known: true},
		"by login, of type batch, time to live 60s":                    {Known: true, Batch: true, TTL: 60},
		"given, expires at 2026-11-29 08:00Z, in 5 days, uses left: 3": {Given: true, Known: true, Expires: expires, TTL: 5 * 24 * 3600, UsesLeft: new(3)},
	} {
		assert.Equal(t, want, fmt.Sprintf("%v", token))
		assert.Equal(t, "{Token:"+want+"}", fmt.Sprintf("%+v", struct{ Token auth.Token }{token}))
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("signed", "token", token)
		assert.Contains(t, log.String(), fmt.Sprintf("token=%q", want))
	}
}
