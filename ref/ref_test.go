package ref_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

func jsonUnmarshal(text string, to any) error { return json.Unmarshal([]byte(text), to) }

func mustNew(t testing.TB, path, key string, version int) ref.Ref {
	t.Helper()
	r, err := ref.New(path, key, version)
	require.NoError(t, err)
	return r
}

// The vectors cover paths and keys; this test covers arguments that JSON cannot
// express.
func TestNewRejects(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		path, key string
		version   int
		part      string
		offset    int
		reason    string
	}{
		{"a negative version", "a/b", "c", -1, ref.PartVersion, 0, "not a version"},
		{"the smallest integer", "a/b", "c", math.MinInt, ref.PartVersion, 0, "not a version"},
		{"the largest integer", "a/b", "c", math.MaxInt64, ref.PartVersion, 0, "not a version"},
		{"a version of eleven digits", "a/b", "c", 10_000_000_000, ref.PartVersion, 0, "not a version"},
		{"a path that is not UTF-8", "a/b\xff", "c", 0, ref.PartPath, 3, "not valid UTF-8"},
		{"a path of continuation bytes", strings.Repeat("\x80", 2000), "c", 0, ref.PartPath, 0, "not valid UTF-8"},
		{"a key that is not UTF-8", "a/b", "\ufffd\xc3", 0, ref.PartKey, 3, "not valid UTF-8"},
		{"a key of continuation bytes", "a/b", strings.Repeat("\x80", 2000), 0, ref.PartKey, 0, "not valid UTF-8"},
		{"an empty path", "", "c", 0, ref.PartPath, 0, "no path"},
		{"an empty key", "a/b", "", 0, ref.PartKey, 0, "no key"},
		{"the path before the key and the version", "a", "", -1, ref.PartPath, 1, "one segment only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, err := ref.New(test.path, test.key, test.version)
			assert.Zero(t, r)
			fault, ok := errors.AsType[*ref.SyntaxError](err)
			require.True(t, ok, "got %v", err)
			assert.Equal(t, test.part, fault.Part)
			assert.Equal(t, test.offset, fault.Offset)
			assert.Equal(t, test.reason, fault.Reason)
		})
	}
}

func TestRefIsAMapKey(t *testing.T) {
	t.Parallel()
	r := mustNew(t, "a/b", "c", 0)
	hosts := map[ref.Ref]int{r: 1, mustNew(t, "a/b", "c", 1): 2, {}: 3}
	assert.Len(t, hosts, 3)
	assert.Equal(t, 1, hosts[ref.Parse("vault:a/b#c").Ref()])
	assert.Equal(t, 2, hosts[ref.Parse("vault:a/b?version=1#c").Ref()])

	text, err := json.Marshal(map[ref.Ref]int{r: 1})
	require.NoError(t, err)
	assert.Equal(t, `{"vault:a/b#c":1}`, string(text))
	var decoded map[ref.Ref]int
	require.NoError(t, json.Unmarshal(text, &decoded))
	assert.Equal(t, map[ref.Ref]int{r: 1}, decoded)
}

func TestRefUnmarshalText(t *testing.T) {
	t.Parallel()
	before := mustNew(t, "x/y", "z", 0)
	for _, test := range []struct {
		name, text string
		want       ref.Ref
		part       string // of the error, if any
	}{
		{"a reference", "vault:a/b?version=2#c", mustNew(t, "a/b", "c", 2), ""},
		{"empty text", "", ref.Ref{}, ""},
		{"a literal", "hunter2", before, ref.PartField},
		{"an escaped literal", "literal:vault:a/b#c", before, ref.PartField},
		{"a capital in the mark", "Vault:a/b#c", before, ref.PartField},
		{"an invalid reference", "vault:a#c", before, ref.PartPath},
		{"not UTF-8", "\xff", before, ref.PartField},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := before
			err := r.UnmarshalText([]byte(test.text))
			assert.Equal(t, test.want, r)
			if test.part == "" {
				require.NoError(t, err)
				return
			}
			fault, ok := errors.AsType[*ref.SyntaxError](err)
			require.True(t, ok, "got %v", err)
			assert.Equal(t, test.part, fault.Part)
		})
	}
}

func TestZeroRef(t *testing.T) {
	t.Parallel()
	var r ref.Ref
	assert.True(t, r.IsZero())
	assert.Empty(t, r.String())
	text, err := r.MarshalText()
	require.NoError(t, err)
	assert.Empty(t, text)
}

// Parse never returns an absent field, even for an empty string.
func TestParseIsNeverZero(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"", "x", "vault:", "vault:a/b#c", "literal:vault:"} {
		v := ref.Parse(field)
		assert.False(t, v.IsZero(), "%q", field)
	}
}

func TestEscapeAddsOnlyWhatIsNeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, literal, field string }{
		{"the empty literal", "", ""},
		{"a password", "hunter2", "hunter2"},
		{"literal: and a password", "literal:hunter2", "literal:hunter2"},
		{"a reference", "vault:a/b#c", "literal:vault:a/b#c"},
		{"a misplaced mark", "\ufeff Vault:", "literal:\ufeff Vault:"},
		{"an escape", "literal:vault:", "literal:literal:vault:"},
		{"an escape in another case", " LITERAL: vault:", "literal: LITERAL: vault:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.field, ref.Escape(test.literal))
		})
	}
}
