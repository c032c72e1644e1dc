package ref_test

import (
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

// meaning is the parsed form of a string field.
type meaning struct {
	kind, path, key string
	version         int
	literal         string
}

func meaningOf(v ref.Value) meaning {
	literal, _ := v.Reveal()
	return meaning{kind(v), v.Ref().Path(), v.Ref().Key(), v.Ref().Version(), literal}
}

// A second implementation of the grammar, as regular expressions. It shares no
// code with the parser that it is compared with.
const (
	invisible = `[\s\x0b\x{85}\pZ\p{Cf}\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{2065}\x{3164}\x{fe00}-\x{fe0f}\x{ffa0}\x{fff0}-\x{fff8}\x{e0000}-\x{e0fff}]`
	written   = `(?:[^#?%/]|%23|%3F|%25)+`
)

var (
	markedField    = regexp.MustCompile(`(?i)^(?:` + invisible + `|literal:)*vault:`)
	referenceField = regexp.MustCompile(`^vault:(` + written + `(?:/` + written + `)+)(?:\?version=([1-9][0-9]{0,9}))?#((?:` + written + `|/)+)$`)
	printableText  = regexp.MustCompile(`^[\pL\pM\pN\pP\pS ]+$`)
	forbiddenPath  = regexp.MustCompile(`(?:^|/)(?:\.|\.\.)(?:/|$)|(?:^|/) | (?:/|$)|(?i:^(?:auth|sys|identity|cubbyhole)/)`)
	forbiddenKey   = regexp.MustCompile(`^[ /]| $`)
)

func grammar(field string) meaning {
	invalid := meaning{kind: "invalid"}
	switch {
	case !utf8.ValidString(field):
		return invalid
	case !markedField.MatchString(field):
		return meaning{kind: "literal", literal: field}
	case strings.HasPrefix(field, "literal:"):
		return meaning{kind: "literal", literal: strings.TrimPrefix(field, "literal:")}
	}
	m := referenceField.FindStringSubmatch(field)
	if m == nil {
		return invalid
	}
	// The expression matches only the three valid escapes.
	path, err1 := url.PathUnescape(m[1])
	key, err2 := url.PathUnescape(m[3])
	version, _ := strconv.Atoi(m[2])
	if err1 != nil || err2 != nil || len(path) > 1024 || len(key) > 512 ||
		!printableText.MatchString(path) || !printableText.MatchString(key) ||
		forbiddenPath.MatchString(path) || forbiddenKey.MatchString(key) {
		return invalid
	}
	return meaning{"reference", path, key, version, ""}
}

// The vectors are written by hand, so they check the grammar.
func TestGrammarAgreesWithVectors(t *testing.T) {
	t.Parallel()
	for _, vector := range vectors(t) {
		var text *string
		if vector.Base64 != "" || vector.Reason == "half of a surrogate pair" || jsonUnmarshal(vector.JSON, &text) != nil || text == nil {
			continue
		}
		want := meaning{vector.Kind, vector.Path, vector.Key, vector.Version, vector.Literal}
		assert.Equal(t, want, grammar(*text), vector.Name)
	}
}

// TestEveryByteEverywhere inserts each of the 256 bytes at each offset of a
// field, and replaces each byte of the field with it.
func TestEveryByteEverywhere(t *testing.T) {
	t.Parallel()
	for _, field := range []string{
		"vault:ab/cd#ef",
		"vault:ab/cd?version=34#ef",
		"vault:a%23/%3F#%25f",
		"vault:a/..b#k",
		"literal:vault:a/b#c",
	} {
		kinds := map[string]int{}
		for i := range len(field) + 1 {
			for b := range 256 {
				variants := []string{field[:i] + string([]byte{byte(b)}) + field[i:]}
				if i < len(field) {
					variants = append(variants, field[:i]+string([]byte{byte(b)})+field[i+1:])
				}
				for _, variant := range variants {
					want := grammar(variant)
					kinds[want.kind]++
					v := ref.Parse(variant)
					if got := meaningOf(v); want != got { // assert.Equal is too slow here
						assert.Equal(t, want, got, "byte %#x at %d of %q", b, i, variant)
					}
					checkOffset(t, variant, v)
				}
			}
		}
		assert.NotZero(t, kinds["invalid"], "no byte makes %q invalid", field)
		assert.Greater(t, len(kinds), 1, "every byte makes %q invalid", field)
	}
}

// TestEveryCharacter tests the characters of Unicode except ideographs, Hangul
// and private use.
func TestEveryCharacter(t *testing.T) {
	t.Parallel()
	invisible := regexp.MustCompile(`^` + invisible + `$`)
	for _, characters := range []struct{ first, last rune }{{0x80, 0x33ff}, {0xa000, 0xabff}, {0xf800, 0x12fff}, {0x1b000, 0x1ffff}, {0xe0000, 0xe0fff}} {
		for r := characters.first; r <= characters.last; r++ {
			c := string(r)
			inside, before := "invalid", "literal"
			if printableText.MatchString(c) {
				inside = "reference"
			}
			if invisible.MatchString(c) {
				before = "invalid"
			}
			for _, test := range []struct{ field, want string }{
				{"vault:a/x" + c + "x#c", inside},
				{"vault:a/b#x" + c + "x", inside},
				{c + "vault:a/b#c", before},
			} {
				if got := kind(ref.Parse(test.field)); test.want != got {
					assert.Equal(t, test.want, got, "%U in %q", r, test.field)
				}
			}
		}
	}
}

func checkOffset(t *testing.T, field string, v ref.Value) {
	err, ok := errors.AsType[*ref.SyntaxError](v.Err())
	if !ok {
		return
	}
	if err.Offset < 0 || err.Offset > len(field) || utf8.ValidString(field) && err.Offset < len(field) && !utf8.RuneStart(field[err.Offset]) {
		require.Fail(t, "an offset outside the field or inside a character", "%d in %q: %s", err.Offset, field, err)
	}
}
