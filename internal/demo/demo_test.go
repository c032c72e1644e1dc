package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestDemo(t *testing.T) {
	vaulttest.Shared(t) // skips the test if there is no Vault
	var out strings.Builder
	err := demo(t.Context(), &out, filepath.Join("..", "..", "testdata", "fleet.json"))
	require.NoError(t, err, "%s", &out)

	assert.Contains(t, out.String(), "password vault:secret/luumen/windev#password (version 2)")
	assert.Contains(t, out.String(), "password vault:secret/luumen/windev#password (version 3)", "after the rotation")
	assert.Contains(t, out.String(), `path "team/kv/data/odd#name" { capabilities = ["read"] }`)
	assert.NotContains(t, out.String(), `that "transit" is a KV`)
	assert.Contains(t, out.String(), "no_key: the secret has no such key")
	assert.Equal(t, 1, strings.Count(out.String(), "vault unreachable ("), "the outage is reported once")
	for _, says := range []string{"write the token without quotes", "remove wrap_ttl from Agent's sink", "vault write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID"} {
		assert.Contains(t, out.String(), says)
	}
	assert.Equal(t, 3, strings.Count(out.String(), "after the fix: ready"))
}

// The demo proves nothing unless it fails when a host ends otherwise.
func TestDemoNoticesAHostThatEndsOtherwise(t *testing.T) {
	config, err := load(filepath.Join("..", "..", "testdata", "fleet.json"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(config.Hosts), 60)
	var out strings.Builder
	outcomes := make([]outcome, len(config.Hosts))
	for i, host := range config.Hosts {
		outcomes[i] = outcome{target: host, result: host.expectIn(0)}
	}
	assert.Zero(t, printUnexpected(&out, outcomes, 0))
	outcomes[7].result = "denied"
	assert.Equal(t, 1, printUnexpected(&out, outcomes, 0))
	assert.Contains(t, out.String(), outcomes[7].target.name)
}

func TestDemoPrintsNoSecret(t *testing.T) {
	vaulttest.Shared(t)
	server, err := startVault()
	require.NoError(t, err)
	defer server.Stop()
	config, err := load(filepath.Join("..", "..", "testdata", "fleet.json"))
	require.NoError(t, err)
	config.Vault.Address = server.Address

	policy, err := policyFor(t.Context(), config, server.environment())
	require.NoError(t, err)
	require.NoError(t, server.admit(policy))
	var out strings.Builder
	outcomes, report := run(context.Background(), config, server.environment())
	printTable(&out, outcomes)
	out.WriteString(report.String())
	out.WriteString(check(t.Context(), config, server.environment(), "vault:secret/luumen/windev#password"))
	require.NotEmpty(t, server.passwords)
	for _, secret := range append(server.passwords, server.token) {
		assert.False(t, strings.Contains(out.String(), secret), "a secret is in what the demo prints")
	}
}
