package canary_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/canary"
)

// Reflection goes wherever a value leads, and ends.
func TestReflectionSinkFindsSecrets(t *testing.T) {
	t.Parallel()
	type node struct {
		next  *node
		any   any
		text  string
		bytes []byte
		table map[string][]node
	}
	loop := &node{}
	loop.next = loop
	loop.any = []any{loop}
	self := []any{nil}
	self[0] = self
	shared := []node{{text: "x"}, {text: canary.Secret}}
	for name, v := range map[string]any{
		"a text":                 node{text: canary.Secret},
		"bytes":                  node{bytes: []byte(canary.Secret)},
		"far away":               &node{next: &node{any: []any{&node{text: canary.Secret}}}},
		"in a map":               node{table: map[string][]node{"a": {{}, {text: canary.Secret}}}},
		"a key":                  map[any]int{canary.Secret: 1},
		"an array of texts":      &[2]string{"", canary.Secret},
		"behind a loop":          node{next: loop, text: canary.Secret},
		"a slice of a slice":     [][]node{shared[:1], shared},
		"a slice that is itself": []any{self, canary.Secret},
	} {
		assert.NotEmpty(t, canary.Leak(canary.Sinks()["reflection"](v)), name)
	}
	hidden := canary.Secret
	assert.Empty(t, canary.Leak(canary.Sinks()["reflection"](func() string { return hidden })))
}
