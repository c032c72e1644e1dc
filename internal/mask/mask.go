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
	"strings"
	"sync"
	"unicode"
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
	all := []string{secret, url.QueryEscape(secret)} // which has + in place of a space
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
// everything after the first 4 KiB.
func (s *Secrets) Text(text string) string {
	text = oneLine(cut(text, maxText))
	var b strings.Builder
	from := 0
	for _, r := range s.ranges(text) {
		b.WriteString(text[from:r.start])
		b.WriteString(masked)
		from = r.end
	}
	b.WriteString(text[from:])
	return b.String()
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
