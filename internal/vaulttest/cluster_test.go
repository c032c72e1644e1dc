package vaulttest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestClusterSurvivesItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; left out by -short")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	begin := time.Now()
	step := func(what string) {
		t.Logf("%s after %s", what, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}
	c := vaulttest.NewCluster(t, vaulttest.Config{TLS: true})
	step("up")
	require.Len(t, c.Nodes, 3)

	leader := c.Leader()
	require.NotNil(t, leader)
	kv := leader.KV(t, 2)
	leader.Put(t, kv, "app", map[string]any{"k": "v"})
	read := func() {
		for i, node := range c.Nodes {
			if node == leader {
				continue
			}
			status, _, err := node.Do("GET", kv+"/data/app", nil)
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, status, "node %d", i+1)
		}
	}
	read()

	leader.Kill()
	assert.True(t, refuses(leader.Address))
	require.NoError(t, c.WaitHealthy(ctx))
	step("well after the leader's kill")
	next := c.Leader()
	require.NotNil(t, next)
	require.NotEqual(t, leader.Address, next.Address)
	read()

	require.NoError(t, leader.Restart())
	status, _, err := leader.Do("GET", "sys/health", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, status, "a restarted node is sealed")
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, c.WaitHealthy(short), "the cluster is not healthy") // by whichever node was asked last
	require.NoError(t, leader.Unseal())
	require.NoError(t, c.WaitHealthy(ctx))
	step("three again")

	var reads int
	for _, r := range c.Nodes[0].RequestsBy(t, "vaulttest") {
		if r.Path == kv+"/data/app" && r.Operation == "read" {
			reads++
		}
	}
	assert.Equal(t, 4, reads, "whichever node was asked, the request is in the one audit file, once")

	c.Stop()
	for _, node := range c.Nodes {
		assert.True(t, refuses(node.Address))
	}
}
