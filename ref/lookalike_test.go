package ref_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

func TestWarning(t *testing.T) {
	t.Parallel()
	const unmarked = "without its mark"
	for _, test := range []struct{ name, field, want string }{
		{"no mark", "secret/a/b#key", unmarked},
		{"no mark, and a version", "secret/a/b?version=3#key", unmarked},
		{"no mark, and escapes", "secret/a%23b#key", unmarked},
		{"no mark, and a line feed", "secret/a/b#key\n", unmarked},
		{"a slash for the colon", "vault/secret/a#key", unmarked},
		{"vals", "ref+vault://secret/a#/key", "vals"},
		{"Bank-Vaults", "${vault:secret/data/a#key}", "Bank-Vaults or Spring"},
		{"Grafana", "$__vault{kv:secret/a:key}", "Grafana"},
		{"Concourse", "((vault:secret/a.key))", "Concourse"},
		{"Argo CD", "<path:secret/data/a#key>", "Argo CD"},
		{"a template", `{{ lookup("hashi_vault", "secret/a") }}`, "a template"},
		{"Kong", "{vault://hcv/a/key}", "Kong"},
		{"1Password", "op://vault/item/field", "1Password"},
		{"another product's, with spaces", " ((a))\n", "Concourse"},
		{"an escaped literal", "literal:vault:secret/a#key", ""},

		{"in quotes", `"vault:secret/a#key"`, "in quotes"},
		{"in other quotes", " 'Vault:secret/a#key' ", "in quotes"},
		{"the object form as a text", `{"path":"secret/a","key":"key"}`, "in quotes"},

		{"a password", "correct horse battery staple", ""},
		{"a password with a slash and a #", "k9/&x#p", ""},
		{"a password with a # alone", "abc#def", ""},
		{"a path alone", "secret/a/b", ""},
		{"a URL", "https://vault.example/ui#key", ""},
		{"half a form", "((a)", ""},
		{"the other half", "a))", ""},
		{"a form inside", "x{{a}}y", ""},
		{"ref+ and something else", "ref+1", ""},
		{"a private key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n", ""},
		{"a path that no reference may have", "auth/token/lookup-self#id", ""},
		{"a reference", "vault:secret/a#key", ""},
		{"a near miss", "Vault:secret/a#key", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			warning := ref.Parse(test.field).Warning()
			if test.want == "" {
				assert.Empty(t, warning)
				return
			}
			assert.Contains(t, warning, test.want)
			assert.Contains(t, warning, "vault:", "says what to write")
			assert.NotContains(t, warning, test.field)
		})
	}
	assert.Empty(t, ref.Value{}.Warning())
}

// What is no look-alike, and yet is hardly meant.
func TestWarningOfAMistake(t *testing.T) {
	t.Parallel()
	object := func(path string) (v ref.Value) {
		require.NoError(t, json.Unmarshal([]byte(`{"path":"`+path+`","key":"k"}`), &v))
		require.NoError(t, v.Err())
		return v
	}
	for name, test := range map[string]struct {
		value ref.Value
		want  string
	}{
		"an empty box":                {ref.Parse(""), "is empty"},
		"a mask that was printed":     {ref.Parse(fmt.Sprint(ref.Parse("x"))), "enter the credential again"},
		"an invalid value in print":   {ref.Parse(fmt.Sprint(ref.Parse("vault:x"))), "enter the credential again"},
		"a whole reference as a path": {object("vault:secret/a"), "begins with vault:"},
		"the path of Vault's API":     {ref.Parse("vault:secret/data/a#k"), "data/"},
		"data further down":           {ref.Parse("vault:secret/a/data/b#k"), ""},
		"a mount called data":         {ref.Parse("vault:data/a#k"), ""},
	} {
		if test.want == "" {
			assert.Empty(t, test.value.Warning(), name)
		} else {
			assert.Contains(t, test.value.Warning(), test.want, name)
		}
	}
}
