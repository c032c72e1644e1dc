package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// echoes are the ways in which a server may send a text back, with what undoes
// each. Those of JSON are of Go, of JavaScript, of Python and of PHP.
var echoes = []struct {
	name   string
	encode func(text string) string
	decode func(text string) []string // what somebody could read from a part of it
}{
	{"raw", func(text string) string { return text }, itself},
	{"JSON of Go", func(text string) string { return inJSON(text, true) }, fromJSON},
	{"JSON of JavaScript", func(text string) string { return inJSON(text, false) }, fromJSON},
	{"JSON of Python", func(text string) string { return asASCII(inJSON(text, false)) }, fromJSON},
	{"JSON of PHP", func(text string) string { return strings.ReplaceAll(asASCII(inJSON(text, false)), "/", `\/`) }, fromJSON},
	{"JSON of Go in ASCII", func(text string) string { return asASCII(inJSON(text, true)) }, fromJSON},
	{"base64", func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }, fromBase64},
	{"base64 behind one byte", func(text string) string { return base64.StdEncoding.EncodeToString([]byte("\x00" + text)) }, fromBase64},
	{"base64 behind two bytes", func(text string) string {
		return base64.RawStdEncoding.EncodeToString([]byte("\x00\x00" + text + "\x00"))
	}, fromBase64},
	{"base64 of URLs", func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text + "\x00\x00")) }, fromBase64},
	{"JSON of escapes alone", func(text string) string {
		var b strings.Builder
		for _, unit := range utf16.Encode([]rune(text)) {
			fmt.Fprintf(&b, `\u%04X`, unit)
		}
		return b.String()
	}, fromJSON},
	{"JSON in JSON", func(text string) string { return inJSON(inJSON(text, true), true) }, func(text string) (all []string) {
		for _, once := range fromJSON(text) {
			all = append(all, fromJSON(once)...)
		}
		return all
	}},
	{"percent signs alone", func(text string) string {
		var b strings.Builder
		for _, c := range []byte(text) {
			fmt.Fprintf(&b, "%%%02x", c)
		}
		return b.String()
	}, func(text string) []string { plain, _ := url.PathUnescape(text); return []string{plain} }},
	{"a query", url.QueryEscape, func(text string) []string { plain, _ := url.QueryUnescape(text); return []string{plain} }},
	{"a path", url.PathEscape, func(text string) []string { plain, _ := url.PathUnescape(text); return []string{plain} }},
}

func itself(text string) []string { return []string{text} }

func inJSON(text string, html bool) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(html)
	if err := encoder.Encode(text); err != nil {
		panic(err)
	}
	quoted := strings.TrimSuffix(b.String(), "\n")
	return quoted[1 : len(quoted)-1]
}

func asASCII(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	return b.String()
}

// fromJSON reads a part of a JSON string, which may begin or end within an escape.
func fromJSON(text string) []string {
	all := []string{text}
	for cut := 0; cut <= min(len(text), 12); cut++ {
		var plain string
		if json.Unmarshal([]byte(`"`+text[:len(text)-cut]+`"`), &plain) == nil {
			all = append(all, plain)
			break
		}
	}
	return all
}

// fromBase64 reads a part of base64 from each of the places where it may begin.
func fromBase64(text string) []string {
	text = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(text)
	var all []string
	for from := range min(4, len(text)) {
		part := text[from:]
		plain, err := base64.RawStdEncoding.DecodeString(part[:len(part)/4*4])
		if err == nil {
			all = append(all, string(plain))
		}
	}
	return all
}

// FuzzEcho echoes two secrets, which overlap or not, in one text, in any way, split
// by something invisible, and cut anywhere. Whoever reads the rest, and undoes the
// encoding, finds no 6 characters of either.
func FuzzEcho(f *testing.F) {
	for way := range echoes {
		f.Add(token, "second-secret-9876", uint8(0), uint8(way), uint16(9999), uint8(0), "")
		f.Add(token, "second-secret-9876", uint8(7), uint8(way), uint16(20), uint8(5), "\u200b")
		f.Add("p&\"<\\>é/\n\x1b\u2028😀", "\n\t\"quoted\"\t\n", uint8(2), uint8(way), uint16(30), uint8(3), " ")
	}
	f.Fuzz(func(t *testing.T, first, second string, overlap, way uint8, cut uint16, split uint8, between string) {
		first, second = strings.ToValidUTF8(first, "?"), strings.ToValidUTF8(second, "?")
		if n := int(overlap) % 16; n > 0 && n < len(first) && utf8.RuneStart(first[len(first)-n]) {
			second = first[len(first)-n:] + second
			overlap = uint8(n)
		} else {
			overlap = 0
		}
		for _, secret := range []string{first, second} {
			// What cannot be seen is not compared: of a secret, only the rest counts.
			if len(secret) < 6 || len(normal(secret)) < 6 || len(secret) > 300 {
				t.Skip()
			}
		}
		if normal(between) != "" {
			between = "\u00a0"
		}
		echo := echoes[int(way)%len(echoes)]
		text := echo.encode(first + second[overlap:])
		if runes := []rune(text); between != "" {
			at := int(split) % (len(runes) + 1)
			text = string(runes[:at]) + between + string(runes[at:])
		}
		text = text[:min(len(text), int(cut))]
		s := knowing(first, second)
		for _, shown := range []string{s.Text(text), s.Words(text)} {
			for part := range strings.SplitSeq(strings.TrimSuffix(shown, "…"), "[masked]") {
				for _, read := range echo.decode(strings.Join(strings.Fields(visible(part)), "")) {
					for _, secret := range []string{first, second} {
						require.Empty(t, run(normal(read), normal(secret)), "%s: %q of %q and %q shows as %q", echo.name, text, first, second, shown)
					}
				}
			}
		}
	})
}

// visible is a text without what cannot be seen.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if normal(string(r)) == "" {
			return -1
		}
		return r
	}, text)
}

// run is a run of 6 characters or more that two texts share.
func run(text, secret string) string {
	for runes := []rune(secret); len(runes) >= 6; runes = runes[1:] {
		if shared := string(runes[:6]); strings.Contains(text, shared) {
			return shared
		}
	}
	return ""
}
