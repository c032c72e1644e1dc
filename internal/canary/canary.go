// Package canary finds secrets in a program's output. A test sends a marked secret through
// every sink of a Go program, and looks for it in the output.
package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"text/template"

	"github.com/stretchr/testify/assert"
)

// Secret must never be in any output.
const Secret = "Kq7canaryZ9"

// leaks are the forms of the secret in output, in lower case.
var leaks = map[string]string{
	"text":              strings.ToLower(Secret),
	"a part of it":      strings.ToLower(Secret[2:8]),
	"hex":               hex.EncodeToString([]byte(Secret)),
	"hex with spaces":   characters("%02x", " "),
	"hex of a slice":    characters("0x%x", ", "),
	"decimal bytes":     characters("%d", " "),
	"JSON bytes":        characters("%d", ","),
	"code points":       strings.ToLower(characters("U+%04X", " ")),
	"quoted characters": strings.ToLower(characters("%q", " ")),
	"base64":            strings.ToLower(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(Secret)), "=")),
}

func characters(format, separator string) string {
	var parts []string
	for _, b := range []byte(Secret) {
		parts = append(parts, fmt.Sprintf(format, b))
	}
	return strings.Join(parts, separator)
}

// Leak returns the form of the secret that is in the output, or "".
func Leak(output string) string {
	output = strings.ToLower(output)
	for form, text := range leaks {
		if strings.Contains(output, text) {
			return form
		}
	}
	return ""
}

// Sinks returns the ways in which a program can print a value.
func Sinks() map[string]func(any) string {
	sinks := map[string]func(any) string{
		"Sprint": func(v any) string { return fmt.Sprint(v) },
		"log": func(v any) string {
			var out bytes.Buffer
			log.New(&out, "", 0).Println(v)
			return out.String()
		},
		"slog text": func(v any) string { return logged(v, newText) },
		"slog JSON": func(v any) string { return logged(v, newJSON) },
		"JSON": func(v any) string {
			text, err := json.Marshal(v)
			return fmt.Sprint(string(text), err)
		},
		"XML": func(v any) string {
			text, err := xml.Marshal(v)
			return fmt.Sprint(string(text), err)
		},
		"gob": func(v any) string {
			var out bytes.Buffer
			err := gob.NewEncoder(&out).Encode(v)
			return fmt.Sprint(out.String(), err)
		},
		"template": func(v any) string {
			var out bytes.Buffer
			err := template.Must(template.New("").Parse(`{{.}} {{printf "%#v" .}}`)).Execute(&out, v)
			return fmt.Sprint(out.String(), err)
		},
		"reflection": found,
		// spew makes the diff of an assertion. It follows pointers and reads
		// unexported fields.
		"assertion": func(v any) string {
			var t Recorder
			assert.Equal(&t, nil, v)
			assert.Equal(&t, []any{"other"}, []any{v})
			assert.Empty(&t, []any{v})
			assert.Contains(&t, []any{v}, "other")
			assert.ElementsMatch(&t, []any{v}, []any{"other"})
			assert.IsType(&t, 1, v)
			return t.String()
		},
	}
	for _, verb := range []string{"v", "+v", "#v", "s", "q", "d", "x", "X", "#x", "p", "T", "t", "c", "U", "e", "b", "o", "w", "20v", "-20.3s", "% x", "+q"} {
		sinks["%"+verb] = func(v any) string { return fmt.Sprintf("%"+verb, v) }
	}
	return sinks
}

// Recorder is a testing.TB for assertions that fails and records their texts.
type Recorder struct{ strings.Builder }

func (r *Recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

func newText(out *bytes.Buffer) slog.Handler { return slog.NewTextHandler(out, nil) }
func newJSON(out *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(out, nil) }

func logged(v any, handler func(*bytes.Buffer) slog.Handler) string {
	var out bytes.Buffer
	logger := slog.New(handler(&out))
	logger.Info("a host", "field", v)
	logger.With("field", v).WithGroup("host").Info("a host", slog.Group("fields", "password", v), slog.Any("list", []any{v}))
	return out.String()
}
