package mask

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// located is a text with the place of each of its bytes in the text that it comes from.
type located struct {
	text  string
	place []span
}

type span struct{ start, end int } // bytes of a text

func locate(text string) located {
	l := located{text, make([]span, len(text))}
	for i := range l.place {
		l.place[i] = span{i, i + 1}
	}
	return l
}

// readings returns what a text may stand for: itself, and the text without the escapes of
// JSON, once or twice, and without those of a URL.
func (l located) readings() []located {
	all := []located{l}
	for range 2 {
		if last := all[len(all)-1]; strings.Contains(last.text, `\`) {
			all = append(all, last.replace(escapeInJSON))
		}
	}
	for _, reading := range all {
		if strings.Contains(reading.text, "%") {
			all = append(all, reading.replace(escapeInURL))
		}
	}
	return all
}

// replace replaces escapes and characters with what they mean. meaningOf returns the meaning of
// the first one in a text, and its length; 0 means that the character stands for itself.
func (l located) replace(meaningOf func(text string) (meaning string, length int)) located {
	var b strings.Builder
	b.Grow(len(l.text))
	place := make([]span, 0, len(l.text))
	for i := 0; i < len(l.text); {
		meaning, n := meaningOf(l.text[i:])
		if n == 0 {
			_, n = utf8.DecodeRuneInString(l.text[i:])
			meaning = l.text[i : i+n]
		}
		b.WriteString(meaning)
		for range len(meaning) {
			place = append(place, span{l.place[i].start, l.place[i+n-1].end})
		}
		i += n
	}
	return located{b.String(), place}
}

// escapeInJSON decodes an escape in JSON. One that the end of the text cuts off means nothing.
func escapeInJSON(text string) (meaning string, length int) {
	const escaped, control = `"\/`, "bfnrt"
	switch {
	case text[0] != '\\':
		return "", 0
	case len(text) == 1:
		return "", 1
	case strings.IndexByte(escaped, text[1]) >= 0:
		return text[1:2], 2
	case strings.IndexByte(control, text[1]) >= 0:
		return " ", 2 // white space is not compared
	case text[1] != 'u':
		return "", 0
	case len(text) < len(`\u0000`):
		return "", len(text)
	}
	code, err := strconv.ParseUint(text[2:6], 16, 16)
	switch r := rune(code); {
	case err != nil:
		return "", 0
	case utf16.IsSurrogate(r) && len(text) >= 12 && text[6:8] == `\u`:
		low, _ := strconv.ParseUint(text[8:12], 16, 16)
		return string(utf16.DecodeRune(r, rune(low))), 12
	default:
		return string(r), 6
	}
}

// escapeInURL decodes an escape in a URL. One that the end of the text cuts off means nothing.
func escapeInURL(text string) (meaning string, length int) {
	switch {
	case text[0] != '%':
		return "", 0
	case len(text) < len("%00"):
		return "", len(text)
	}
	code, err := strconv.ParseUint(text[1:3], 16, 8)
	if err != nil {
		return "", 0
	}
	return string([]byte{byte(code)}), 3 // perhaps one of several bytes of a character
}

// normal returns the form in which texts and secrets are compared: without white space
// and unprintable characters, and in one letter case.
func (l located) normal() located {
	return l.replace(func(text string) (meaning string, length int) {
		r, n := utf8.DecodeRuneInString(text)
		folded := fold(r)
		switch {
		case unicode.IsSpace(r) || isUnprintable(r):
			return "", n
		case folded == r:
			return text[:n], n
		}
		return string(folded), n
	})
}

// fold returns the same letter for both of its cases. ToLower alone is not enough: the
// upper case of ſ is S.
func fold(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// occurrences returns where the secrets are in the text that l comes from.
func (l located) occurrences(secrets []string) (found []span) {
	add := func(start, end int) {
		place := span{l.place[start].start, l.place[end-1].end}
		if max(end-start, place.end-place.start) >= shortest { // white space is measured, though not compared
			found = append(found, place)
		}
	}
	for _, secret := range secrets {
		for from := 0; ; {
			i := strings.Index(l.text[from:], secret)
			if i < 0 {
				break
			}
			add(from+i, from+i+len(secret))
			from += i + 1
		}
		// The text may be cut within a secret.
		for n := min(len(secret)-1, len(l.text)); n > 0; n-- {
			if strings.HasSuffix(l.text, secret[:n]) {
				add(len(l.text)-n, len(l.text))
				break
			}
		}
	}
	return found
}
