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
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
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
	// A func, because printing by reflection would show the secrets.
	forms atomic.Pointer[func() []string]
}

// Learn adds secrets. It ignores those shorter than 6 bytes: masking them would make
// texts unreadable and hide nothing.
func (s *Secrets) Learn(secrets ...string) {
	for {
		before := s.forms.Load()
		known := s.known()
		all := slices.Clone(known)
		for _, secret := range secrets {
			// Texts are cut, so they hold no more of a long secret than its start.
			for _, form := range formsOf(cut(secret, maxText)) {
				if !slices.Contains(all, form) {
					all = append(all, form)
				}
			}
		}
		if len(all) == len(known) {
			return
		}
		if after := func() []string { return all }; s.forms.CompareAndSwap(before, &after) {
			return
		}
	}
}

func (s *Secrets) known() []string {
	if forms := s.forms.Load(); forms != nil {
		return (*forms)()
	}
	return nil
}

// formsOf returns the forms in which a server may echo a secret, normalized.
func formsOf(secret string) []string {
	if len(secret) < shortest {
		return nil
	}
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, html := range []bool{true, false} { // Go escapes <, > and &, others do not
		escaped := inJSON(secret, html)
		for _, form := range []string{escaped, inASCII(escaped)} {
			all = append(all, form, strings.ReplaceAll(form, "/", `\/`))
		}
	}
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
		form, _ = normalize(form)
		if len(form) >= shortest && !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

// inJSON returns the text as it is within a JSON string.
func inJSON(text string, escapeHTML bool) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(escapeHTML)
	encoder.Encode(text) // cannot fail for a text
	return b.String()[1 : b.Len()-len("\"\n")]
}

// inASCII escapes what is not ASCII, as many programs do when they write JSON.
func inASCII(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// normalize returns the form in which texts and secrets are compared: without white
// space and unprintable characters, and in one letter case. For each byte of the result,
// it also returns where its character is in the text.
func normalize(text string) (normal string, place []span) {
	var b strings.Builder
	for i, r := range text {
		if unicode.IsSpace(r) || isUnprintable(r) {
			continue
		}
		before := b.Len()
		b.WriteRune(fold(r))
		for range b.Len() - before {
			place = append(place, span{i, i + len(string(r))})
		}
	}
	return b.String(), place
}

// fold returns the same letter for both of its cases. ToLower alone is not enough: the
// upper case of ſ is S.
func fold(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// Words returns a text from a server in one short line, with its secrets masked.
// The end of a cut text is also masked if a secret may begin there.
func (s *Secrets) Words(text string) string { return shorten(s.Text(text)) }

// Line returns a text without secrets in one short line.
func Line(text string) string { return shorten(oneLine(cut(text, maxText))) }

// shorten cuts a text that is too long to show.
func shorten(text string) string {
	if len(text) <= maxWords {
		return text
	}
	return strings.TrimRight(cut(text, maxWords), " ") + "…"
}

// Text returns a text from a server in one line, with its secrets masked. It drops
// everything after the first 4 KiB.
func (s *Secrets) Text(text string) string { return s.hide(oneLine(cut(text, maxText))) }

// hide replaces each secret in the text.
func (s *Secrets) hide(text string) string {
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

type span struct{ start, end int } // bytes of a text

// ranges returns where secrets are in the text. It merges overlapping ones.
func (s *Secrets) ranges(text string) []span {
	known := s.known()
	if len(known) == 0 {
		return nil
	}
	normal, place := normalize(text)
	var found []span
	add := func(start, end int) {
		found = append(found, span{place[start].start, place[end-1].end})
	}
	for _, secret := range known {
		for from := 0; ; {
			i := strings.Index(normal[from:], secret)
			if i < 0 {
				break
			}
			add(from+i, from+i+len(secret))
			from += i + 1
		}
		// The text may be cut within a secret.
		for n := min(len(secret)-1, len(normal)); n >= shortest; n-- {
			if strings.HasSuffix(normal, secret[:n]) {
				add(len(normal)-n, len(normal))
				break
			}
		}
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

// oneLine replaces white space by single spaces and drops unprintable characters.
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
