package ref_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

// vector is a field of testdata/references.json and its meaning.
type vector struct {
	Name   string `json:"name"`
	JSON   string `json:"json"`
	Base64 string `json:"json_base64"` // replaces JSON if not empty

	Kind      string `json:"kind"` // reference, literal, invalid, none
	Path      string `json:"path"`
	Key       string `json:"key"`
	Version   int    `json:"version"`
	Canonical string `json:"canonical"`
	Literal   string `json:"literal"`
	Part      string `json:"part"`
	Offset    int    `json:"offset"`
	Reason    string `json:"reason"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("../testdata/references.json")
	require.NoError(t, err)
	var file struct {
		Description []string `json:"description"`
		Vectors     []vector `json:"vectors"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&file))
	require.NotEmpty(t, file.Description)
	require.GreaterOrEqual(t, len(file.Vectors), 120, "vectors are missing from references.json")
	return file.Vectors
}

// data returns the JSON text of the field.
func (v vector) data(t testing.TB) []byte {
	t.Helper()
	if v.Base64 == "" {
		return []byte(v.JSON)
	}
	data, err := base64.StdEncoding.DecodeString(v.Base64)
	require.NoError(t, err)
	return data
}

func TestVectors(t *testing.T) {
	t.Parallel()
	names, kinds := map[string]bool{}, map[string]int{}
	for _, vector := range vectors(t) {
		assert.False(t, names[vector.Name], "two vectors are named %q", vector.Name)
		names[vector.Name] = true
		kinds[vector.Kind]++
		t.Run(vector.Name, func(t *testing.T) {
			t.Parallel()
			data := vector.data(t)
			require.True(t, json.Valid(data))
			var v ref.Value
			require.NoError(t, json.Unmarshal(data, &v))
			check(t, vector, v)

			// Parse of the decoded string has the same result, if the text is
			// valid.
			var text string
			if vector.Base64 == "" && json.Unmarshal(data, &text) == nil && text != "" && vector.Reason != "half of a surrogate pair" {
				check(t, vector, ref.Parse(text))
			}
		})
	}
	for _, kind := range []string{"reference", "literal", "invalid", "none"} {
		assert.NotZero(t, kinds[kind], "no vector is of kind %s", kind)
	}
	assert.Len(t, kinds, 4)
}

func check(t *testing.T, want vector, got ref.Value) {
	t.Helper()
	assert.Equal(t, want.Kind, kind(got))
	text, isLiteral := got.Reveal()
	assert.Equal(t, want.Literal, text)
	r := got.Ref()
	assert.Equal(t, want.Path, r.Path())
	assert.Equal(t, want.Key, r.Key())
	assert.Equal(t, want.Version, r.Version())
	assert.Equal(t, want.Canonical, r.String())

	switch {
	case isLiteral:
		again, ok := ref.Parse(ref.Escape(text)).Reveal()
		assert.True(t, ok)
		assert.Equal(t, text, again)
	case !r.IsZero():
		assert.Equal(t, r, ref.Parse(want.Canonical).Ref())
		made, err := ref.New(want.Path, want.Key, want.Version)
		assert.NoError(t, err)
		assert.Equal(t, r, made)
	case got.Err() != nil:
		err, ok := errors.AsType[*ref.SyntaxError](got.Err())
		require.True(t, ok)
		assert.Equal(t, want.Part, err.Part)
		assert.Equal(t, want.Offset, err.Offset)
		assert.Equal(t, want.Reason, err.Reason)
		assert.NotEmpty(t, err.Fix)
		assert.Equal(t, fmt.Sprintf("%s at byte %d: %s; %s", err.Part, err.Offset, err.Reason, err.Fix), err.Error())
	}
}

// kind returns the kind of a value. It returns a list if the value has not
// exactly one kind.
func kind(v ref.Value) string {
	var kinds []string
	if !v.Ref().IsZero() {
		kinds = append(kinds, "reference")
	}
	if _, ok := v.Reveal(); ok {
		kinds = append(kinds, "literal")
	}
	if v.Err() != nil {
		kinds = append(kinds, "invalid")
	}
	if v.IsZero() {
		kinds = append(kinds, "none")
	}
	if len(kinds) != 1 {
		return fmt.Sprint(kinds)
	}
	return kinds[0]
}

// fixes returns the reasons in the errors of the vectors, with the fixes of each
// reason. Every error uses these texts, so it cannot contain text from a field.
func fixes(t testing.TB) map[string]map[string]bool {
	t.Helper()
	fixes := map[string]map[string]bool{}
	for _, vector := range vectors(t) {
		var v ref.Value
		v.UnmarshalJSON(vector.data(t))
		if err, ok := errors.AsType[*ref.SyntaxError](v.Err()); ok {
			if fixes[err.Reason] == nil {
				fixes[err.Reason] = map[string]bool{}
			}
			fixes[err.Reason][err.Fix] = true
		}
	}
	return fixes
}

// An error that quotes its field has a different fix for each field.
func TestFixesAreConstant(t *testing.T) {
	t.Parallel()
	for reason, fixes := range fixes(t) {
		assert.LessOrEqual(t, len(fixes), 2, "%s: %v", reason, fixes)
	}
}

// A fix says what to write. A field that follows the fix has no error, unless the
// fix is to change the secret in Vault.
func TestFixes(t *testing.T) {
	t.Parallel()
	const (
		escapes = "write a percent sign as %25, the escapes in upper case, and any other character, such as a space, as it is"
		version = "a version goes before the #, as in vault:secret/luumen/windev?version=3#password"
		rename  = "; if the key in Vault has it, rename the key in Vault"
		path    = "write the mount and the path below it, such as secret/luumen/windev, or write literal: before the whole field to use it as a literal"
		move    = "; if the path in Vault has it, move the secret to another path"
	)
	for _, test := range []struct{ name, field, fix, fixed string }{
		{"a version after a bare #", "vault:secret/app#password#4", version + "; write a # in the key as %23", "vault:secret/app?version=4#password"},
		{"digits at the end of the key", "vault:secret/app#password#4", version + "; write a # in the key as %23", "vault:secret/app#password%234"},
		{"a version after a bare ?", "vault:secret/app#password?version=4", "write it %3F; " + version, "vault:secret/app?version=4#password"},
		{"a bare #", "vault:secret/app#pass#word", "write it %23", "vault:secret/app#pass%23word"},
		{"a bare # before digits and more", "vault:secret/app#pass#4word", "write it %23", "vault:secret/app#pass%234word"},
		{"a bare # at the end", "vault:secret/app#password#", "write it %23", "vault:secret/app#password%23"},

		{"an escaped space", "vault:secret/my%20app#password", escapes, "vault:secret/my app#password"},
		{"an escape in lower case", "vault:secret/app#a%23%3f", escapes, "vault:secret/app#a%23%3F"},
		{"a percent sign", "vault:secret/app#100%", escapes, "vault:secret/app#100%25"},
		{"a URL", "vault://secret/app#password", "remove the // after vault:", "vault:secret/app#password"},

		{"backslashes", `vault:secret\app#password`, path, "vault:secret/app#password"},
		{"a full-width slash", "vault:secret／app#password", path, "vault:secret/app#password"},
		{"a full-width #", "vault:secret/app＃password", "write an ASCII #, or write literal: before the whole field to use it as a literal", "vault:secret/app#password"},
		{"a password with a full-width #", "vault:a＃b", "write an ASCII #, or write literal: before the whole field to use it as a literal", "literal:vault:a＃b"},
		{"a URL of Vault", "vault:https://vault.example/v1/secret/data/app#password", path, "vault:secret/app#password"},
		{"a password with a backslash", `vault:a\b#c`, path, `literal:vault:a\b#c`},

		{"a space after the key", "vault:secret/app#password ", "remove the space" + rename, "vault:secret/app#password"},
		{"a space before the key", "vault:secret/app# password", "remove the space" + rename, "vault:secret/app#password"},
		{"a tab after the key", "vault:secret/app#password\t", "remove it" + rename, "vault:secret/app#password"},
		{"a slash before the key", "vault:secret/app#/password", "remove the /" + rename, "vault:secret/app#password"},
		{"a long key", "vault:secret/app#" + strings.Repeat("k", 513), "rename the key in Vault to a shorter one", "vault:secret/app#k"},
		{"a space after a segment", "vault:secret/app #password", "remove the space" + move, "vault:secret/app#password"},
		{"a space before a segment", "vault: secret/app#password", "remove the space" + move, "vault:secret/app#password"},
		{"a tab in the path", "vault:secret/\tapp#password", "remove it", "vault:secret/app#password"},
		{"a long path", "vault:secret/" + strings.Repeat("a", 1024) + "#password", "move the secret to a shorter path in Vault", "vault:secret/a#password"},

		{"a capital in the mark", "Vault:secret/app#password", "begin the field with vault:, or write literal: before the whole field to use it as a literal", "vault:secret/app#password"},
		{"a literal with a capital", "Vault: my password", "begin the field with vault:, or write literal: before the whole field to use it as a literal", "literal:Vault: my password"},
		{"a space before the mark", " vault:secret/app#password", "begin the field with vault:, or write literal: before the whole field to use it as a literal", "vault:secret/app#password"},
		{"a capital in the escape", "Literal:vault:x", "begin the field with literal:", "literal:vault:x"},
		{"a space before the escape", " literal:vault:x", "begin the field with literal:", "literal:vault:x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err, ok := errors.AsType[*ref.SyntaxError](ref.Parse(test.field).Err())
			require.True(t, ok)
			assert.Equal(t, test.fix, err.Fix)
			assert.NoError(t, ref.Parse(test.fixed).Err())
		})
	}
}
