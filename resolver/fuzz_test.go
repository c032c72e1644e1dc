package resolver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/resolver"
)

// FuzzSecret compares the credential in the data of an answer with encoding/json: a text
// byte for byte, a number as it is written, and nothing else.
func FuzzSecret(f *testing.F) {
	for _, seed := range []string{
		`{"password":"a"}`, `{"a":12345678901234567890,"b":1e21,"c":0.10,"d":-0}`, `{"a":true,"b":false,"c":null}`,
		`{"a":"","b":{},"c":[1,{"d":2}]}`, `{"b":"1","a":"2","ab":"3"}`, `{"a":"\u0000\ud83d\ude00\n"}`, `{"a":"\ud83d"}`,
		`{"a":"1","a":"2"}`, `{}`, `null`, `[]`, `"a"`, `{"a":"b"`, `{"a" "b"}`, "{\"a\":\"\xff\"}", `{"data":"x","metadata":"y"}`,
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 2)
	}
	f.Fuzz(func(t *testing.T, values []byte, version int) {
		data := values
		if version != 1 {
			data = append(append([]byte(`{"metadata":{"version":7},"data":`), values...), '}')
		}
		pick := func(key string) (string, error) { return resolver.Decode(200, data, version, key) }
		if _, err := pick("any"); errors.Is(err, resolver.BadResponse) || !json.Valid(data) {
			return
		}
		var want map[string]any
		decoder := json.NewDecoder(bytes.NewReader(values))
		decoder.UseNumber()
		require.NoError(t, decoder.Decode(&want), "%q", values)
		for key, value := range want {
			text, err := pick(key)
			switch value := value.(type) {
			case string:
				if strings.ContainsRune(value, utf8.RuneError) && err != nil {
					break // something that was not text
				}
				if value != "" {
					require.NoError(t, err)
				}
				require.Equal(t, value, text)
			case json.Number:
				require.NoError(t, err)
				require.Equal(t, value.String(), text)
			case bool:
				require.NoError(t, err)
				require.Equal(t, map[bool]string{true: "true", false: "false"}[value], text)
			}
			if text == "" {
				require.ErrorIs(t, err, resolver.BadValue)
			}
		}
		_, err := pick("no such key of the secret")
		if _, ok := want["no such key of the secret"]; !ok {
			require.True(t, errors.Is(err, resolver.NoKey))
		}
	})
}
