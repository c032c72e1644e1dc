package vaulttest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// NewUninitialized starts a server that is not initialized, for one test. It has no token
// and no key.
func NewUninitialized(t testing.TB) *Server {
	t.Helper()
	skip(t)
	program, err := Find()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "vaulttest-")
	require.NoError(t, err)
	c := &Cluster{dir: dir}
	t.Cleanup(c.Stop)
	node, err := c.newNode("n1", program, Config{NoAudit: true})
	require.NoError(t, err)
	c.Nodes = []*Server{node}
	return node
}
