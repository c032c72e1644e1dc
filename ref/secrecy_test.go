package ref_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	canaries "github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/ref"
)

const canary = canaries.Secret

func assertNoLeak(t *testing.T, output string) {
	t.Helper()
	assert.Empty(t, canaries.Leak(output), "leaks in %q", output)
}

// secrets returns values of every kind that are parsed from the canary.
func secrets(t *testing.T) map[string]any {
	secrets := map[string]any{
		"literal":       ref.Parse(canary),
		"empty literal": ref.Parse(""),
		"escaped":       ref.Parse("literal:vault:" + canary),
	}
	for name, field := range map[string]string{
		"path":          "vault:" + canary + "#k",
		"segment":       "vault:kv//" + canary + "#k",
		"reserved":      "vault:sys/" + canary + "#" + canary,
		"escape":        "vault:kv/%" + canary + "#k",
		"version":       "vault:kv/a?" + canary + "#k",
		"version digit": "vault:kv/a?version=" + canary + "#k",
		"key":           "vault:kv/a# " + canary,
		"second #":      "vault:kv/a#k#" + canary,
		"no key":        "vault:" + canary,
		"capital":       "Vault:" + canary,
		"space before":  " vault:" + canary,
		"not UTF-8":     canary + "\xff",
		"too long":      "vault:kv/a#" + strings.Repeat(canary, 50),
		"control":       "vault:kv/" + canary + "\n#k",
	} {
		secrets["invalid "+name] = ref.Parse(field)
	}
	for name, text := range map[string]string{
		"member name":     `{"` + canary + `":1}`,
		"member":          `{"path":"` + canary + `","key":"k"}`,
		"member type":     `{"path":["` + canary + `"],"key":"k"}`,
		"member version":  `{"path":"a/b","key":"k","version":"` + canary + `"}`,
		"array":           `["` + canary + `"]`,
		"mask":            `{"masked":"` + canary + `"}`,
		"surrogate":       `"` + canary + `\ud800"`,
		"truncated":       `"` + canary,
		"truncated again": `{"path":"` + canary,
	} {
		var v ref.Value
		require.NoError(t, v.UnmarshalJSON([]byte(text)))
		secrets["invalid "+name] = v
	}
	for name, secret := range secrets {
		if v, ok := secret.(ref.Value); ok {
			assert.Equal(t, strings.HasPrefix(name, "invalid"), v.Err() != nil, name)
		}
	}
	return secrets
}

type exported struct {
	Name  string
	Field any
}

type unexported struct {
	name  string
	field any
	value ref.Value
	ptr   *ref.Value
}

// shapes returns the data structures in which a program holds a value.
func shapes(secret any) map[string]any {
	hidden := unexported{name: "windev", field: secret}
	var typed []any
	switch secret := secret.(type) {
	case ref.Value:
		hidden.value, hidden.ptr = secret, &secret
		typed = []any{&secret, []ref.Value{secret}, [1]ref.Value{secret}, map[string]ref.Value{"password": secret}, &exported{"windev", &secret}}
	}
	return map[string]any{
		"bare":             secret,
		"pointer":          typed[0],
		"typed slice":      typed[1],
		"typed array":      typed[2],
		"typed map":        typed[3],
		"exported":         exported{"windev", secret},
		"exported pointer": typed[4],
		"unexported":       hidden,
		"unexported, far":  &struct{ inner *unexported }{&hidden},
		"slice":            []any{secret, hidden},
		"array":            [1]any{secret},
		"map":              map[string]any{"password": secret, "hidden": hidden},
		"map of structs":   map[string]exported{"windev": {"windev", secret}},
		"error":            fmt.Errorf("host: %v %+v", secret, hidden),
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	for name, secret := range secrets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sinks := canaries.Sinks()
			for shape, v := range shapes(secret) {
				for sink, write := range sinks {
					output := write(v)
					assert.NotEmpty(t, output, "%s to %s", shape, sink)
					assert.Empty(t, canaries.Leak(output), "%s to %s: %s", shape, sink, output)
				}
			}
			if v, ok := secret.(ref.Value); ok {
				assertNoLeak(t, fmt.Sprintf("%s %#v", v.Err(), v.Err()))
				assertNoLeak(t, v.Warning())
				var t2 canaries.Recorder
				assert.NoError(&t2, v.Err())
				assertNoLeak(t, t2.String())
			}
		})
	}
}

// The sinks find a canary that is not masked. Without this, the test above proves
// nothing.
func TestSinksFindUnmaskedSecrets(t *testing.T) {
	t.Parallel()
	for sink, write := range canaries.Sinks() {
		for name, v := range map[string]any{"a string": canary, "a named string": struct{ Password any }{Password: namedString(canary)}} {
			if sink == "%p" || sink == "%T" || sink == "XML" || sink == "gob" || sink == "%-20.3s" {
				continue // these print a type or an address, or do not support such a struct
			}
			output := write(v)
			assert.NotEmpty(t, canaries.Leak(output), "%s does not find %s: %s", sink, name, output)
		}
	}
}

type namedString string

func TestMasksAreReadable(t *testing.T) {
	t.Parallel()
	reference := ref.Parse("vault:secret/luumen/windev?version=3#password")
	for _, test := range []struct {
		name  string
		value any
		text  string // with every verb and in slog
		json  string
	}{
		{"reference", reference, "vault:secret/luumen/windev?version=3#password", `"vault:secret/luumen/windev?version=3#password"`},
		{"pointer to a reference", &reference, "vault:secret/luumen/windev?version=3#password", `"vault:secret/luumen/windev?version=3#password"`},
		{"literal", ref.Parse(canary), "[masked]", `{"masked":"literal"}`},
		{"empty literal", ref.Parse(""), "[masked]", `{"masked":"literal"}`},
		{"invalid", ref.Parse("vault:kv/a#"), "[invalid key at byte 11: no key; name the key in the secret, such as password]", `{"masked":"invalid"}`},
		{"no field", ref.Value{}, "", `null`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
				assert.Equal(t, test.text, fmt.Sprintf(verb, test.value), verb)
			}
			assert.Equal(t, test.text, test.value.(fmt.Stringer).String())
			var out bytes.Buffer
			slog.New(slog.NewJSONHandler(&out, nil)).Info("a host", "field", test.value)
			var record struct{ Field any }
			require.NoError(t, json.Unmarshal(out.Bytes(), &record))
			assert.Equal(t, test.text, record.Field)
			text, err := json.Marshal(test.value)
			require.NoError(t, err)
			assert.Equal(t, test.json, string(text))
		})
	}
}

// A stored mask is not a credential.
func TestMaskedJSONDecodesToAnError(t *testing.T) {
	t.Parallel()
	for name, secret := range secrets(t) {
		text, err := json.Marshal(secret)
		require.NoError(t, err, name)
		var v ref.Value
		require.NoError(t, json.Unmarshal(text, &v), name)
		assert.Equal(t, "invalid", kind(v), name)
		assert.ErrorContains(t, v.Err(), "a mask in place of the credential", name)
	}
}

// TestPanicPrintsNoSecret panics in a child process.
func TestPanicPrintsNoSecret(t *testing.T) {
	const variable = "REF_TEST_PANIC"
	values := map[string]any{
		"literal": ref.Parse(canary),
		"invalid": ref.Parse("vault:" + canary),
		"error":   ref.Parse("vault:" + canary).Err(),
		"struct":  unexported{value: ref.Parse(canary)},
	}
	if name := os.Getenv(variable); name != "" {
		panic(values[name])
	}
	t.Parallel()
	for name := range values {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicPrintsNoSecret$")
		command.Env = append(os.Environ(), variable+"="+name)
		output, err := command.CombinedOutput()
		_, exited := errors.AsType[*exec.ExitError](err)
		require.True(t, exited, "%s: %v", name, err)
		assert.Contains(t, string(output), "panic: ", name)
		assertNoLeak(t, string(output))
	}
}
