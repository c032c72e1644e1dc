package ref_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

// This test is not parallel: AllocsPerRun counts the allocations of all goroutines.
func TestParsingAllocatesNothing(t *testing.T) {
	for _, test := range []struct{ name, field string }{
		{"plain", "vault:secret/luumen/windev#password"},
		{"pinned", "vault:secret/luumen/windev?version=3#password"},
		{"beyond ASCII", "vault:geheim/größe#contraseña"},
		{"long", "vault:secret/" + strings.Repeat("a/", 500) + "a#" + strings.Repeat("k", 512)},
	} {
		var v ref.Value
		assert.Zero(t, testing.AllocsPerRun(100, func() { v = ref.Parse(test.field) }), test.name)
		assert.NoError(t, v.Err(), test.name)
	}
}

// The UI backend imports this package and no other dependency.
func TestImportsAreTheStandardLibrary(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not here: ", err)
	}
	output, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	assert.Equal(t, []string{"github.com/luumen/patch-vault/ref"}, strings.Fields(string(output)))
}
