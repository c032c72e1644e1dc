package ref_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

// host is a host of the agent's configuration.
type host struct {
	Name       string     `json:"name"`
	User       ref.Value  `json:"user"`
	Password   ref.Value  `json:"password,omitzero"`
	PrivateKey *ref.Value `json:"private_key,omitempty"`
	Port       int        `json:"port"`
}

// A malformed field does not affect the fields around it.
func TestMalformedFieldsFailAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, password, kind string }{
		{"a reference", `"vault:a/b#c"`, "reference"},
		{"the object form", `{"path":"a/b","key":"c"}`, "reference"},
		{"a literal", `"hunter2"`, "literal"},
		{"null", `null`, "none"},
		{"a number", `5`, "invalid"},
		{"a boolean", `true`, "invalid"},
		{"an array", `["vault:a/b#c",{"path":[{}]}]`, "invalid"},
		{"another object", `{"path":{"path":null},"x":[1,2]}`, "invalid"},
		{"a misplaced mark", `" vault:a/b#c"`, "invalid"},
		{"invalid UTF-8", "\"\xff\"", "invalid"},
		{"half a surrogate pair", `"\ud800"`, "invalid"},
		{"a mask", `{"masked":"literal"}`, "invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			document := `{"hosts":[{"name":"windev","user":"admin","password":` + test.password +
				`,"private_key":"vault:kv/ssh#key","port":22},{"name":"next","user":"vault:kv/next#user","port":23}]}`
			var configuration struct{ Hosts []host }
			require.NoError(t, json.Unmarshal([]byte(document), &configuration))
			require.Len(t, configuration.Hosts, 2)
			windev, next := configuration.Hosts[0], configuration.Hosts[1]
			assert.Equal(t, "windev", windev.Name)
			assert.Equal(t, meaning{kind: "literal", literal: "admin"}, meaningOf(windev.User))
			assert.Equal(t, test.kind, kind(windev.Password))
			require.NotNil(t, windev.PrivateKey)
			assert.Equal(t, meaning{"reference", "kv/ssh", "key", 0, ""}, meaningOf(*windev.PrivateKey))
			assert.Equal(t, 22, windev.Port)
			assert.Equal(t, "next", next.Name)
			assert.Equal(t, meaning{"reference", "kv/next", "user", 0, ""}, meaningOf(next.User))
			assert.Equal(t, 23, next.Port)
		})
	}
}

func TestAbsentFields(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, json string }{
		{"absent", `{"name":"windev"}`},
		{"null", `{"name":"windev","user":null,"password":null,"private_key":null}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var h host
			require.NoError(t, json.Unmarshal([]byte(test.json), &h))
			assert.True(t, h.User.IsZero())
			assert.True(t, h.Password.IsZero())
			assert.Nil(t, h.PrivateKey)
			assert.NoError(t, h.User.Err())
			text, err := json.Marshal(h)
			require.NoError(t, err)
			assert.JSONEq(t, `{"name":"windev","user":null,"port":0}`, string(text), "omitzero omits the password")
		})
	}
}

// An empty literal is a field, so omitzero keeps it.
func TestEmptyLiteralIsAField(t *testing.T) {
	t.Parallel()
	var h host
	require.NoError(t, json.Unmarshal([]byte(`{"password":""}`), &h))
	assert.False(t, h.Password.IsZero())
	text, err := json.Marshal(h)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"password":{"masked":"literal"}`)
}

// Decoding into a value replaces all of it.
func TestDecodingOverwrites(t *testing.T) {
	t.Parallel()
	fields := []string{`"vault:a/b?version=2#c"`, `"hunter2"`, `"vault:"`, `null`}
	for _, before := range fields {
		for _, after := range fields {
			var v, want ref.Value
			require.NoError(t, json.Unmarshal([]byte(before), &v))
			require.NoError(t, json.Unmarshal([]byte(after), &v))
			require.NoError(t, json.Unmarshal([]byte(after), &want))
			assert.Equal(t, meaningOf(want), meaningOf(v), "%s after %s", after, before)
		}
	}
}

// The decoder reuses its buffer after UnmarshalJSON returns.
func TestDecodingCopies(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`"hunter2"`, `"vault:kv/a#b"`, `{"path":"kv/a","key":"b"}`} {
		data := []byte(text)
		var v ref.Value
		require.NoError(t, v.UnmarshalJSON(data))
		before := meaningOf(v)
		for i := range data {
			data[i] = 'x'
		}
		assert.Equal(t, before, meaningOf(v), text)
	}
}

// encoding/json passes only valid JSON; other callers may not.
func TestUnmarshalInvalidJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " ", "nul", `"`, `"\`, `"\u`, `"\ud83d\u`, `"a" "b"`, "'a'", "{", `{"path":"a/b","key":"c"`, `{"path":"a/b","key":"c"}}`, `{"path":"a/b","key"}`, "\u00a0null"} {
		var v ref.Value
		require.NoError(t, v.UnmarshalJSON([]byte(text)))
		assert.ErrorContains(t, v.Err(), "not valid JSON", "%q", text)
	}
}
