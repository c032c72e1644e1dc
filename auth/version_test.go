package auth_test

import (
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
)

// Vault's audit log shows the library's version in the agent's build.
func TestVersion(t *testing.T) {
	t.Parallel()
	const path = "github.com/luumen/patch-vault"
	other := &debug.Module{Path: "github.com/hashicorp/vault/api", Version: "v1.23.0"}
	for _, test := range []struct {
		name  string
		build debug.BuildInfo
		want  string
	}{
		{"a dependency of the agent", debug.BuildInfo{
			Main: debug.Module{Path: "luumen.example/agent", Version: "v7.0.0"},
			Deps: []*debug.Module{other, {Path: path, Version: "v1.4.2"}},
		}, "v1.4.2"},
		{"replaced by another version", debug.BuildInfo{
			Main: debug.Module{Path: "luumen.example/agent"},
			Deps: []*debug.Module{{Path: path, Version: "v1.4.2", Replace: &debug.Module{Path: "luumen.example/fork", Version: "v1.4.3"}}},
		}, "v1.4.3"},
		{"replaced by a folder", debug.BuildInfo{
			Main: debug.Module{Path: "luumen.example/agent"},
			Deps: []*debug.Module{{Path: path, Version: "v1.4.2", Replace: &debug.Module{Path: "../patch-vault"}}},
		}, "devel"},
		{"a program of this module", debug.BuildInfo{Main: debug.Module{Path: path, Version: "v1.4.2-0.20261125193046-88b925e00000"}}, "v1.4.2-0.20261125193046-88b925e00000"},
		{"a checkout", debug.BuildInfo{Main: debug.Module{Path: path, Version: "(devel)"}}, "devel"},
		{"a module of a similar name", debug.BuildInfo{Deps: []*debug.Module{{Path: path + "/v2", Version: "v2.0.0"}}}, "devel"},
		{"no modules", debug.BuildInfo{}, "devel"},
	} {
		assert.Equal(t, test.want, auth.VersionIn(&test.build), test.name)
	}
}

// Every request has it, logins and revocations included.
func TestUserAgent(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
	r := readOnce(t.Context(), vault, "secret/app")
	require.NoError(t, r.err)
	require.Len(t, server.all(), 4)
	for _, request := range server.all() {
		agent := request.Header["User-Agent"]
		require.Len(t, agent, 1, request.URL.Path)
		assert.True(t, strings.HasPrefix(agent[0], "luumen-patch-vault/"), agent)
		assert.True(t, strings.HasSuffix(agent[0], " run/"+r.id), agent)
	}
}
