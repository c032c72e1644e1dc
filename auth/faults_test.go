package auth_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
)

// Every malformed mount of a list gets a fault.
func TestEveryWrongMountIsAFault(t *testing.T) {
	t.Parallel()
	var settings auth.Settings
	require.NoError(t, json.Unmarshal([]byte(`{"address":"https://vault.example","mounts":["/kv","kv","a//b"]}`), &settings))
	const reason, fix = " is not the path of a KV mount", "write it as Vault shows it, such as team/kv"
	assert.Equal(t, []auth.Fault{{"mounts", "entry 1" + reason, fix}, {"mounts", "entry 3" + reason, fix}}, settings.Faults())
}
