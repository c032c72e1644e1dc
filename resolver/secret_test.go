package resolver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/resolver"
)

// A string that is not text is refused, even if it also holds a U+FFFD that somebody
// stored. Vault itself never sends such a string, but a server in its place can.
func TestInvalidTextIsNeverRepaired(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ json, want string }{
		{`"a\ufffd\n"`, "a\ufffd\n"},
		{`"\\ufffd"`, `\ufffd`},
		{`"\ud83d\ude00"`, "\U0001F600"},
		{`"\ud800"`, ""},
		{`"\udc00\ud800"`, ""},
		{`"\ufffd\ud800"`, ""},
		{`"\uFFFD\uD800"`, ""},
		{`"\\ufffd\ud800"`, ""},
		{"\"\ufffd\\ud800\"", ""},
		{"\"\ufffd\xff\"", ""},
		{"\"\\ufffd\xff\"", ""},
	} {
		text, err := resolver.Decode(200, []byte(`{"password":`+test.json+`}`), 1, "password")
		if test.want == "" {
			require.ErrorIs(t, err, resolver.BadValue, test.json)
			assert.ErrorContains(t, err, "is not valid text", test.json)
			continue
		}
		require.NoError(t, err, test.json)
		assert.Equal(t, test.want, text)
	}
}
