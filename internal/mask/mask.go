// Package mask masks secrets that were sent to a server in the texts that come back,
// and makes such texts fit for a log.
//
//	var sent mask.Secrets
//	sent.Learn(token)
//	line := sent.Words(answer) // one short line without the token
//
// Start with [Secrets].
package mask

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	shortest = 6       // bytes of a secret; anything shorter occurs in texts by chance
	maxText  = 4 << 10 // bytes of a text that are searched
	maxWords = 240     // bytes of a text that are shown
	masked   = "[masked]"
)

// Secrets are the secrets that were sent to a server. The zero Secrets are
// empty and ready to use, by any number of goroutines.
type Secrets struct {
	mu sync.Mutex

	// A func, because printing by reflection would show the secrets. Nil means none.
	forms func() []string
}

// Learn adds secrets. It ignores those shorter than 6 bytes: masking them would make
// texts unreadable and hide nothing.
func (s *Secrets) Learn(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.known()
	for _, secret := range secrets {
		// Texts are cut, so they hold no more of a long secret than its start.
		for _, form := range formsOf(cut(secret, maxText)) {
			if !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	s.forms = func() []string { return all }
}

// known returns the forms of all secrets. The caller holds the lock.
func (s *Secrets) known() []string {
	if s.forms == nil {
		return nil
	}
	return s.forms()
}

// formsOf returns the forms in which a server may echo a secret, normalized.
func formsOf(secret string) []string {
	if len(secret) < shortest {
		return nil
	}
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	// A text has three forms in base64, depending on where it begins in the whole.
	// Its first and last characters there also depend on its neighbors.
	for shift := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
			start, end := 0, len(text)
			if shift > 0 {
				start = shift + 1
			}
			if (shift+len(secret))%3 != 0 {
				end--
			}
			all = append(all, text[start:end])
		}
	}
	var forms []string
	for _, form := range all {
		form = locate(form).normal().text
		if form != "" && !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

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

// replace replaces each character with its meaning. meaningOf returns it for the beginning
// of a text, and how many bytes have it; 0 bytes mean that a character stands for itself.
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

// escapeInJSON decodes an escape in JSON. One that the end of the text cuts off is nothing.
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

// escapeInURL decodes an escape in a URL. One that the end of the text cuts off is nothing.
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

// AreIn reports whether a text holds a secret.
func (s *Secrets) AreIn(text string) bool { return len(s.ranges(text)) > 0 }

// Words returns a text from a server in one short line, with its secrets masked.
// The end of a cut text is also masked if a secret may begin there.
func (s *Secrets) Words(text string) string { return shorten(s.Text(text)) }

// Line returns a text without secrets in one short line.
func Line(text string) string { return new(Secrets).Words(text) }

// shorten cuts a text that is too long to show.
func shorten(text string) string {
	if len(text) <= maxWords {
		return text
	}
	return strings.TrimRight(cut(text, maxWords), " ") + "…"
}

// Text returns a text from a server in one line, with its secrets masked. It drops
// everything after the first 4 KiB. A secret within own, the server's own words, stays
// there.
func (s *Secrets) Text(text string, own ...string) string {
	text = oneLine(cut(text, maxText))
	var b strings.Builder
	from := 0
	for _, r := range s.ranges(text) {
		if slices.ContainsFunc(own, func(words string) bool { return r.isWithin(words, text) }) {
			continue
		}
		b.WriteString(text[from:r.start])
		b.WriteString(masked)
		from = r.end
	}
	b.WriteString(text[from:])
	return b.String()
}

// isWithin reports whether the text has the words around the span.
func (s span) isWithin(words, text string) bool {
	n := len(words)
	return s.end-s.start <= n && strings.Contains(text[max(0, s.end-n):min(s.start+n, len(text))], words)
}

// ranges returns where secrets are in the text. It merges overlapping ones.
func (s *Secrets) ranges(text string) []span {
	s.mu.Lock()
	known := s.known()
	s.mu.Unlock()
	if len(known) == 0 {
		return nil
	}
	var found []span
	for _, reading := range locate(text).normal().readings() { // normal first, since white space may split an escape
		found = append(found, reading.normal().occurrences(known)...)
	}
	slices.SortFunc(found, func(a, b span) int { return a.start - b.start })
	var merged []span
	for _, r := range found {
		if last := len(merged) - 1; last >= 0 && r.start <= merged[last].end {
			merged[last].end = max(merged[last].end, r.end)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

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

// cut returns at most the first most bytes of the text, without cutting a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// oneLine replaces white space with single spaces and drops unprintable characters.
func oneLine(text string) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
		case isUnprintable(r):
		default:
			if space {
				b.WriteByte(' ')
				space = false
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}
