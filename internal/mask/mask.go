// Package mask finds secrets that were sent to a server in the texts that come
// back, and makes such texts fit for a log.
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
	shortest = 6       // bytes; anything shorter occurs in texts by chance
	maxText  = 4 << 10 // bytes of a text that are looked at
	maxWords = 240     // bytes of a text that are shown
	masked   = "[masked]"
)

// Secrets are the secrets that were sent to a server. The zero Secrets are
// empty and ready to use, by any number of goroutines.
type Secrets struct {
	// A func, because a print through reflection would find the texts.
	forms atomic.Pointer[func() []string]
}

// Learn adds secrets. Those shorter than 6 bytes are left out: to mask them
// would make texts unreadable and hide nothing.
func (s *Secrets) Learn(secrets ...string) {
	for {
		before := s.forms.Load()
		known := s.known()
		all := slices.Clone(known)
		for _, secret := range secrets {
			// Of a longer one, no text that is looked at holds more than its start.
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

// formsOf returns the forms in which a server may echo a secret, each as
// normalize leaves it.
func formsOf(secret string) []string {
	if len(secret) < shortest {
		return nil
	}
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, html := range []bool{true, false} { // Go escapes <, > and &, others do not
		escaped := inJSON(secret, html)
		all = append(all, escaped, strings.ReplaceAll(escaped, "/", `\/`), inASCII(escaped), strings.ReplaceAll(inASCII(escaped), "/", `\/`))
	}
	// In base64 a text has three forms, by where it begins within the whole.
	// The first and last character also depend on its neighbors.
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
		form = normalize(form)
		if len(form) >= shortest && !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

func inJSON(text string, escapeHTML bool) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(escapeHTML)
	encoder.Encode(text) // fails for no text
	return strings.Trim(b.String(), "\n")[1 : b.Len()-2]
}

// inASCII escapes what is not ASCII, as many programs do where they write JSON.
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

// normalize returns the text as texts and secrets are compared: without white
// space and what cannot be printed, and in lower case.
func normalize(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || isUnprintable(r) {
			return -1
		}
		return fold(r)
	}, text)
}

// fold returns the same letter for both of its cases. To lower it is not enough:
// the upper case of ſ is S.
func fold(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// Words makes a text of a server fit for one line of a log: secrets masked,
// white space folded, unprintable characters left out, cut short. The end of a
// cut text is masked, too, where a secret may begin.
func (s *Secrets) Words(text string) string {
	clean := oneLine(cut(text, maxText))
	if shown := s.hide(clean); len(shown) > maxWords {
		return strings.TrimRight(cut(shown, maxWords), " ") + "…"
	} else {
		return shown
	}
}

// Text masks the secrets of a text and leaves the rest as it is. Of a long text,
// only the first 4 KiB are kept.
func (s *Secrets) Text(text string) string {
	text = cut(text, maxText)
	if len(s.ranges(text)) == 0 {
		return text
	}
	return s.hide(text)
}

// hide replaces each secret in the text.
func (s *Secrets) hide(text string) string {
	ranges := s.ranges(text)
	if len(ranges) == 0 {
		return text
	}
	var b strings.Builder
	from := 0
	for _, r := range ranges {
		b.WriteString(text[from:r.start])
		b.WriteString(masked)
		from = r.end
	}
	b.WriteString(text[from:])
	return b.String()
}

type span struct{ start, end int } // bytes of a text

// ranges finds where secrets stand in the text. Overlapping ones are one range.
func (s *Secrets) ranges(text string) []span {
	known := s.known()
	if len(known) == 0 {
		return nil
	}
	normal, place := normalizeWithPlaces(text)
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
		// The text may have been cut within the secret.
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

// normalizeWithPlaces normalizes a text. For each byte of the result it returns
// where the character stands in the text.
func normalizeWithPlaces(text string) (normal string, place []span) {
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

// cut cuts the text after most bytes, between two characters.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && text[most]&0xc0 == 0x80 {
		most--
	}
	return text[:most]
}

// oneLine folds white space and leaves out what cannot be printed.
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
