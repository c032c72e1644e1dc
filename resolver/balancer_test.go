package resolver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/balancer"
	"github.com/luumen/patch-vault/resolver"
)

// The balancer keeps sending connections to a node that cannot serve.
func (f *movingFleet) behindBalancer(t *testing.T) {
	unwell := f.standbys(t)[0]
	address := f.balancer(t).Address
	unwell.Kill()
	defer f.revive(t)
	served := func(t *testing.T) {
		run := resolver.Resolve(t.Context(), f.connect(address), f.hosts, resolver.Options{})
		for i, result := range run.Results() {
			f.assertServed(t, i, result)
		}
		report := run.Report()
		assert.Equal(t, len(f.hosts), report.Ready, "%s", report)
		assert.NotZero(t, report.Retries, "the run met no unwell node")
		assert.Less(t, report.Retries, len(f.hosts)/5, "kept connections lead to well nodes")
	}
	t.Run("one node is gone", served)
	require.NoError(t, unwell.Restart())
	t.Run("one node is sealed", served)
}

// balancer starts a balancer in front of all nodes.
func (f *movingFleet) balancer(t *testing.T) *balancer.Balancer {
	var nodes []string
	for _, node := range f.cluster.Nodes {
		nodes = append(nodes, node.Address)
	}
	b, err := balancer.Start(nodes...)
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	return b
}
