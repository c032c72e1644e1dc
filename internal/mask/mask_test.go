package mask_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/mask"
)

const token = "hvs.CANARYtoken0123456789"

func knowing(secrets ...string) *mask.Secrets {
	var s mask.Secrets
	s.Learn(secrets...)
	return &s
}

func TestWords(t *testing.T) {
	t.Parallel()
	const odd = `pa&ss<w>"o\rd/ü😀`
	marshaled, err := json.Marshal(odd)
	require.NoError(t, err)
	escaped := string(marshaled[1 : len(marshaled)-1])
	twice, err := json.Marshal(escaped)
	require.NoError(t, err)
	for _, text := range []struct {
		name    string
		secrets []string
		text    string
		want    string
	}{
		{"nothing", nil, "permission denied", "permission denied"},
		{"no secret in it", []string{token}, "permission denied", "permission denied"},
		{"raw", []string{token}, "bad token " + token + ".", "bad token [masked]."},
		{"alone", []string{token}, token, "[masked]"},
		{"twice", []string{token}, token + " and " + token, "[masked] and [masked]"},
		{"upper case", []string{token}, "x " + strings.ToUpper(token), "x [masked]"},
		{"a letter with two lower cases", []string{"ſecret-pass"}, "x SECRET-PASS", "x [masked]"},
		{"split by white space", []string{token}, "x hvs.CANARY \n\ttoken01234\u00a056789 y", "x [masked] y"},
		{"split by zero-width spaces", []string{token}, "x hvs.CAN\u200bARYtoken\ufeff0123456789 y", "x [masked] y"},
		{"split by control characters", []string{token}, "x hvs.CAN\x1b\x00ARYtoken0123456789 y", "x [masked] y"},
		{"split by invalid UTF-8", []string{token}, "x hvs.CAN\xffARYtoken0123456789 y", "x [masked] y"},
		{"a secret with a zero-width space", []string{"hvs.CAN\u200bARYtoken"}, "x hvs.CANARYtoken y", "x [masked] y"},
		{"a secret of several words", []string{"correct horse battery"}, "x correcthorse  battery y", "x [masked] y"},
		{"JSON", []string{odd}, "x " + escaped + " y", "x [masked] y"},
		{"JSON in JSON", []string{odd}, "x " + string(twice[1:len(twice)-1]) + " y", "x [masked] y"},
		{"JSON that leaves HTML alone", []string{odd}, `x pa&ss<w>\"o\\rd/ü😀 y`, "x [masked] y"},
		{"JSON with escaped slashes", []string{"secret/of/paths"}, `x secret\/of\/paths y`, "x [masked] y"},
		{"JSON in ASCII", []string{"geheim-süß😀"}, `x geheim-s\u00fc\u00DF\ud83d\ude00 y`, "x [masked] y"},
		{"URL", []string{odd}, "x " + url.QueryEscape(odd) + " y", "x [masked] y"},
		{"URL with a space", []string{"correct horse battery"}, "x correct+horse+battery y", "x [masked] y"},
		{"path", []string{odd}, "x " + url.PathEscape(odd) + " y", "x [masked] y"},
		{"base64", []string{token}, "x " + base64.StdEncoding.EncodeToString([]byte(token)) + " y", "x [masked]Q== y"},
		{"one the beginning of another", []string{"luumen-patch", "luumen-patch-CANARY77"}, "x luumen-patch-CANARY77 y", "x [masked] y"},
		{"one within another", []string{"CANARY", "luumen-CANARY77"}, "x luumen-CANARY77 y", "x [masked] y"},
		{"two that overlap", []string{"abcdef123", "123ghijkl"}, "x abcdef123ghijkl y", "x [masked] y"},
		{"two side by side", []string{"abcdefgh", "12345678"}, "x abcdefgh12345678 y", "x [masked] y"},
		{"one over itself", []string{"abcabcabc"}, "x abcabcabcabcabc y", "x [masked] y"},
		{"shorter than 6", []string{"a", "root", "patch"}, "a patch at root", "a patch at root"},
		{"6", []string{"luumen"}, "a luumen", "a [masked]"},
		{"6 with a space", []string{"pass w"}, "password: pass w and", "password: [masked] and"},
		{"6 with a space, escaped", []string{"pass w"}, `x pass\u0020w, pass%20w and pass\tw y`, "x [masked], [masked] and [masked] y"},
		{"6 with a space, cut to 6", []string{"pass w9"}, "password: pass w", "password: [masked]"},
		{"6 with a space, cut to 5", []string{"pass w9"}, "password: pass", "password: pass"},
		{"single letters", []string{"a b c d e"}, "x a b  c d e y", "x [masked] y"},
		{"groups of digits", []string{"12 34 5"}, "x 12 34 5 y", "x [masked] y"},
		{"3 letters of 2 bytes", []string{"äöü"}, "x ÄÖÜ y", "x [masked] y"},
		{"a letter among spaces", []string{"a      ", "      ", " a \u200b b "}, "a b a      b", "a b a b"},
		{"cut by the server", []string{token}, "bad token hvs.CANARYto", "bad token [masked]"},
		{"cut to 6", []string{token}, "bad token hvs.CA", "bad token [masked]"},
		{"cut to 5", []string{token}, "bad token hvs.C", "bad token hvs.C"},
		{"cut in base64", []string{token}, "x " + base64.StdEncoding.EncodeToString([]byte(token))[:20], "x [masked]"},
		{"white space and control characters", nil, " a\r\n\tb\x1b[31m\u2028c\u200b ", "a b[31m c"},
		{"long", nil, strings.Repeat("word ", 100), strings.TrimSpace(strings.Repeat("word ", 48)) + "…"},
		{"empty", []string{"", token}, "", ""},
	} {
		t.Run(text.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, text.want, knowing(text.secrets...).Words(text.text))
		})
	}
}

// Text masks secrets, and drops line breaks and what cannot be printed.
func TestText(t *testing.T) {
	t.Parallel()
	s := knowing(token)
	for _, text := range []struct{ text, want string }{
		{"1 error occurred:\n\t* permission denied\n\n", "1 error occurred: * permission denied"},
		{"1 error occurred:\n\t* bad token " + token + "\n\n", "1 error occurred: * bad token [masked]"},
		{"a\u200bb " + token, "ab [masked]"},
		{"no \x1b[31mred\x00\r\nlevel=ERROR forged", "no [31mred level=ERROR forged"},
		{strings.Repeat("é", 4000), strings.Repeat("é", 2048)},
	} {
		assert.Equal(t, text.want, s.Text(text.text))
	}
}

// If a text is cut within a secret, the beginning of the secret is masked.
func TestCutWithinASecret(t *testing.T) {
	t.Parallel()
	s := knowing(token)
	for before := 4096 - len(token) - 2; before <= 4096; before++ {
		text := strings.Repeat("0", before) + token + strings.Repeat("1", 1000)
		for _, shown := range []string{s.Text(text), s.Words(strings.Repeat(" ", before-200) + strings.Repeat("0", 200) + token)} {
			assert.NotContains(t, shown, token[:6])
		}
	}
	for before := 200; before < 260; before++ {
		assert.NotContains(t, s.Words(strings.Repeat("0", before)+token+"1"), token[:6])
	}
}

func TestCutWithinAnEscape(t *testing.T) {
	t.Parallel()
	s := knowing(token)
	var escaped strings.Builder
	for _, b := range []byte(token) {
		fmt.Fprintf(&escaped, "%%%02x", b)
	}
	for before := 4096 - escaped.Len(); before < 4096-18; before++ {
		assert.NotContains(t, s.Text(strings.Repeat("0", before)+escaped.String()), escaped.String()[:18], before)
	}
}

// In base64, the form of a secret depends on its place in a longer text.
func TestBase64WithNeighbors(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"123456", "1234567", "12345678", token, "süßes Geheimnis"} {
		s := knowing(secret)
		for before := range 9 {
			for after := range 9 {
				whole := []byte(strings.Repeat("u", before) + secret + strings.Repeat("v", after))
				for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
					shown := s.Words("Basic " + encoding.EncodeToString(whole))
					assert.Contains(t, shown, "[masked]", "%d before, %d after %q", before, after, secret)
				}
			}
		}
	}
}

// Printing Secrets shows none.
func TestSecretsPrintNothing(t *testing.T) {
	t.Parallel()
	s := knowing(token)
	all := fmt.Sprintf("%v %+v %#v", s, s, s)
	assert.NotContains(t, all, token)
	assert.NotContains(t, all, strings.ToLower(token))
}

func TestLearnFromManyGoroutines(t *testing.T) {
	t.Parallel()
	var s mask.Secrets
	done := make(chan struct{})
	for i := range 20 {
		go func() {
			defer func() { done <- struct{}{} }()
			s.Learn(fmt.Sprintf("secret-number-%d;", i))
			s.Words("x secret-number-1; y")
		}()
	}
	for range 20 {
		<-done
	}
	for i := range 20 {
		assert.Equal(t, "x [masked] y", s.Words(fmt.Sprintf("x secret-number-%d; y", i)))
	}
}

// The work is bounded, whatever a server sends.
func TestLongTextsCostLittle(t *testing.T) {
	s := knowing(token, strings.Repeat("a", 100), "another-secret")
	cost := func(text string) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			s.Words(text)
			s.Text(text)
			best = min(best, time.Since(began))
		}
		return best
	}
	for _, unit := range []string{"a", token, " ", "\u200b", "é"} {
		short := cost(strings.Repeat(unit, 4<<10/len(unit)))
		long := cost(strings.Repeat(unit, 4<<20/len(unit)))
		assert.Less(t, long, 50*short+10*time.Millisecond, "%q", unit) // 1,000 times as long
	}
	text := strings.Repeat("a", 4<<20)
	assert.Less(t, testing.AllocsPerRun(5, func() { s.Text(text) }), 1000.0)
}

// normal is a text without invisible characters, in one letter case.
func normal(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, text)
}

// FuzzSecrets echoes any secret in any form within any text, cut anywhere. The whole
// secret never shows, not even in another letter case or with invisible characters in
// it. Nor does a text end with 6 or more bytes of its beginning.
func FuzzSecrets(f *testing.F) {
	f.Add(token, "permission denied: ", " (and more)", uint8(0), 0, "\u200b")
	f.Add(`p&"<\>é/`, "{", "}", uint8(1), 5000, "")
	f.Add("abcabc", "abcab", "cabcabc", uint8(2), 20, " ")
	f.Add("ſſſſſſ", "S", "s", uint8(3), 30, "\n")
	f.Add("p a s w 9 0", "p a", "p a", uint8(0), 12, "\u200b")
	f.Add("123456", "", "", uint8(4), 3, "\x00")
	f.Add("\xff\xfe123456", "", "\xff", uint8(5), 30, "\xff")
	f.Add("user:pass word", strings.Repeat("0", 4090), "", uint8(6), 4100, "\t")
	f.Add("İstanbul", "i", "İ", uint8(7), 100, "\u0307")
	f.Fuzz(func(t *testing.T, secret, before, after string, way uint8, cut int, between string) {
		bare := normal(secret)
		if len(secret) < 6 || len(bare) < 6 || len(secret) > 1000 || strings.ContainsAny(bare, "[]…") || strings.Contains("masked", bare) {
			t.Skip()
		}
		if normal(between) != "" {
			between = "\u200b"
		}
		echo := secret
		switch way % 8 {
		case 1:
			text, _ := json.Marshal(secret)
			echo = string(text[1 : len(text)-1])
		case 2:
			echo = base64.StdEncoding.EncodeToString([]byte(before + secret + after))
		case 3:
			echo = base64.RawURLEncoding.EncodeToString([]byte(after + secret + before))
		case 4:
			echo = url.QueryEscape(secret)
		case 5:
			echo = url.PathEscape(secret)
		case 6:
			echo = strings.ToUpper(secret)
		case 7:
			echo = strings.ToLower(secret)
		}
		if between != "" {
			runes := []rune(echo)
			echo = string(runes[:len(runes)/2]) + between + string(runes[len(runes)/2:])
		}
		text := before + echo + after
		if cut >= 0 && cut < len(text) {
			text = text[:cut]
		}
		s := knowing(secret)
		for _, shown := range []string{s.Words(text), s.Text(text)} {
			seen := normal(shown)
			require.NotContains(t, seen, bare)
			for n := min(len(bare)-1, len(seen)); n >= 6; n-- {
				require.False(t, strings.HasSuffix(seen, bare[:n]), "%q ends in the beginning of %q", shown, secret)
			}
			if way%8 == 2 && cut < 0 && len(text) < 200 {
				require.Contains(t, shown, "[masked]")
			}
		}
		require.LessOrEqual(t, len(s.Words(text)), 240+len("…"))
	})
}

// Any text becomes one short line that is harmless in a terminal or a log.
func TestLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                     "",
		" \t\n":                "",
		"permission denied":    "permission denied",
		"1 error:\n\t* no\n\n": "1 error: * no",
		"\x1b[31mred\x00\a":    "[31mred",
		"a\u202eb\ufeffc":      "abc",
		"a\xffb\u2028c":        "ab c",
	} {
		assert.Equal(t, want, mask.Line(text), "%q", text)
	}
	long := mask.Line(strings.Repeat("ä ", 10_000))
	assert.Less(t, len(long), 250)
	assert.True(t, strings.HasSuffix(long, "…"))
}
