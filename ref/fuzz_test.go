package ref_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

// FuzzParse compares Parse with the grammar of the tests.
func FuzzParse(f *testing.F) {
	for _, vector := range vectors(f) {
		var text string
		if json.Unmarshal(vector.data(f), &text) == nil {
			f.Add(text)
		}
		f.Add(vector.Literal)
	}
	f.Add("vault:\xff")
	fixes := fixes(f)
	f.Fuzz(func(t *testing.T, field string) {
		v := ref.Parse(field)
		require.Equal(t, grammar(field), meaningOf(v))
		checkOffset(t, field, v)
		checkError(t, fixes, v)
		if r := v.Ref(); !r.IsZero() {
			require.Equal(t, r, ref.Parse(r.String()).Ref())
		}
		escaped, ok := ref.Parse(ref.Escape(field)).Reveal()
		require.Equal(t, utf8.ValidString(field), ok)
		if ok {
			require.Equal(t, field, escaped)
		}
		v.Warning() // does not panic
	})
}

// checkError checks that the texts of an error do not depend on the field.
func checkError(t *testing.T, fixes map[string]map[string]bool, v ref.Value) {
	t.Helper()
	err, ok := errors.AsType[*ref.SyntaxError](v.Err())
	if !ok {
		return
	}
	require.Contains(t, []string{ref.PartField, ref.PartPath, ref.PartKey, ref.PartVersion}, err.Part)
	require.True(t, fixes[err.Reason][err.Fix], "no vector has the error %q", err)
	text := fmt.Sprintf("%s at byte %d: %s; %s", err.Part, err.Offset, err.Reason, err.Fix)
	require.Equal(t, text, err.Error())
	require.Equal(t, "[invalid "+text+"]", fmt.Sprint(v))
}

// FuzzUnmarshalJSON decodes any JSON between two valid fields.
func FuzzUnmarshalJSON(f *testing.F) {
	for _, vector := range vectors(f) {
		f.Add(vector.data(f))
	}
	f.Add([]byte(`{"path":"a/b","key":"c"`))
	f.Add([]byte(`"\ud83`))
	f.Add([]byte(`{} `))
	f.Add([]byte(``))
	fixes := fixes(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var v ref.Value
		require.NoError(t, v.UnmarshalJSON(data))
		require.Len(t, strings.Fields(kind(v)), 1)
		if !json.Valid(data) {
			require.EqualError(t, v.Err(), "field at byte 0: not valid JSON; write the text as a JSON string")
			return
		}
		checkError(t, fixes, v)

		var host struct{ User, Password, Key ref.Value }
		document := `{"user":"vault:a/b#c","password":` + string(data) + `,"key":"hunter2"}`
		require.NoError(t, json.Unmarshal([]byte(document), &host))
		require.Equal(t, meaning{"reference", "a/b", "c", 0, ""}, meaningOf(host.User))
		require.Equal(t, meaningOf(v), meaningOf(host.Password))
		require.Equal(t, meaning{kind: "literal", literal: "hunter2"}, meaningOf(host.Key))

		text, faithful, isString := decoded(data)
		switch {
		case isString && faithful:
			require.Equal(t, grammar(text), meaningOf(v))
		case isString:
			require.Equal(t, "invalid", kind(v))
		default:
			require.NotEqual(t, "literal", kind(v))
		}

		// The encoded value decodes to the same meaning, or to the error of a mask.
		stored, err := json.Marshal(v)
		require.NoError(t, err)
		var again ref.Value
		require.NoError(t, json.Unmarshal(stored, &again))
		if kind(v) == "reference" || kind(v) == "none" {
			require.Equal(t, meaningOf(v), meaningOf(again))
		} else {
			require.ErrorContains(t, again.Err(), "a mask in place of the credential")
		}
	})
}

var (
	jsonEscape      = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|.)`)
	replacementRune = regexp.MustCompile(`(?i)^\\ufffd$`)
)

// decoded returns the text of a JSON string. The text is faithful if
// encoding/json did not add replacement characters to it.
func decoded(data []byte) (text string, faithful, isString bool) {
	var value *string
	if json.Unmarshal(data, &value) != nil || value == nil {
		return "", false, false
	}
	written := strings.Count(string(data), "\ufffd")
	for _, escape := range jsonEscape.FindAllString(string(data), -1) {
		if replacementRune.MatchString(escape) {
			written++
		}
	}
	return *value, strings.Count(*value, "\ufffd") == written, true
}

// FuzzNew checks that a reference from New equals its string and object forms.
func FuzzNew(f *testing.F) {
	for _, vector := range vectors(f) {
		f.Add(vector.Path, vector.Key, vector.Version)
	}
	f.Add("a/b\xff", "c", 0)
	f.Add("a/b", "c\xff", -1)
	f.Fuzz(func(t *testing.T, path, key string, version int) {
		r, err := ref.New(path, key, version)
		if err != nil {
			require.Zero(t, r)
			return
		}
		require.Equal(t, []any{path, key, version}, []any{r.Path(), r.Key(), r.Version()})
		require.Equal(t, meaning{"reference", path, key, version, ""}, grammar(r.String()))
		require.Equal(t, r, ref.Parse(r.String()).Ref())
		var again ref.Ref
		require.NoError(t, again.UnmarshalText([]byte(r.String())))
		require.Equal(t, r, again)

		object, err := json.Marshal(map[string]string{"path": path, "key": key})
		require.NoError(t, err)
		var v ref.Value
		require.NoError(t, json.Unmarshal(object, &v))
		assert.Equal(t, meaning{"reference", path, key, 0, ""}, meaningOf(v))
	})
}
