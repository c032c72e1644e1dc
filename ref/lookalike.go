package ref

import (
	"cmp"
	"strings"
	"unicode"
)

// Warning says why a literal looks like a mistyped reference, of any product, and what to
// write instead, or returns "". The text completes a sentence that begins with "this
// field", and never holds text from the literal.
func (v Value) Warning() string {
	text, ok := v.Reveal()
	if !ok || marked(text) {
		return "" // a marked literal was escaped, so it is meant as one
	}
	return literalWarning(strings.TrimSpace(text))
}

// literalWarning returns the warning for a literal that is not empty. Any text can
// be a password, so each case matches only texts that people and password generators
// hardly ever choose.
func literalWarning(text string) string {
	const fix = ", but is used as a literal; if it is meant as a reference, "
	const fixMark = fix + "begin the field with vault:"
	if isQuotedReference(text) {
		return "looks like a reference in quotes" + fix + fixReference
	}
	if product := foreignProduct(text); product != "" {
		return "looks like a reference for " + product + fix + fixReference
	}
	if flaw := markFlaw(text, mark); flaw != "" {
		return "looks like a reference with " + flaw + " in or before vault:" + fixMark
	}
	if markFlaw(text, literalMark) != "" || hasPrefixFold(text, literalMark) {
		return "begins with literal:, which is sent as part of the literal; remove it, or write exactly literal: before a literal that begins with vault:"
	}
	if !strings.ContainsAny(text, "#＃") {
		return "" // the forms below all have a key
	}
	// Such as after a YAML dash or the >> of Bank-Vaults. No ordinary password has a mark, a
	// path and a key.
	if _, rest, ok := strings.Cut(text, mark); ok && isReference(rest) {
		return "looks like a reference after other text" + fixMark + fixRest(rest)
	}
	if looksUnmarked(straighten(text)) {
		return "looks like a reference without vault:" + fixMark + fixRest(text)
	}
	if rest := cutMistypedMark(text); looksUnmarked(rest) {
		return "looks like a reference without vault:" + fixMark + fixRest(rest)
	}
	return ""
}

// fixRest says what else to correct in text besides its missing mark.
func fixRest(text string) string {
	if _, err := parseReference(mark + text); err != nil {
		return ", and " + strings.TrimSuffix(err.Fix, fixLiteral)
	}
	return ""
}

// isQuotedReference reports whether text is a marked string in quotes, or the
// object form as text, whole or in part. A password that contains either is not ordinary.
func isQuotedReference(text string) bool {
	unquoted := strings.TrimLeft(text, "\"'`“”‘’„")
	return unquoted != text && marked(unquoted) ||
		strings.HasPrefix(text, "{") && strings.Contains(text, `"path"`) || isObject(text)
}

// isObject reports whether text is the object form, even without its braces and quotes.
func isObject(text string) bool {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune("[{\"'\\", r) || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, text)
	return strings.HasPrefix(text, "path:") && strings.Contains(text, ",key:") || strings.HasPrefix(text, "key:") && strings.Contains(text, ",path:")
}

// markFlaw returns the first flaw of the mark that text begins with, as a person
// reads it. It returns "" if text begins with something else, or if only the letter
// case differs.
func markFlaw(text, mark string) string {
	flaw := ""
	for _, r := range text {
		switch c := unicode.ToLower(narrow(r)); {
		case c == rune(mark[0]):
			if narrow(r) != r {
				flaw = cmp.Or(flaw, "a full-width character")
			}
			if mark = mark[1:]; mark == "" {
				return flaw
			}
		case unicode.IsSpace(r):
			flaw = cmp.Or(flaw, "a space")
		case invisible(r) || !unicode.IsPrint(r):
			flaw = cmp.Or(flaw, "a control or invisible character")
		default:
			return ""
		}
	}
	return ""
}

// narrow returns the ASCII character of which r is a full-width form, or a colon if
// r looks like one. It returns any other r unchanged.
func narrow(r rune) rune {
	switch {
	case r >= '！' && r <= '～':
		return r - '！' + '!'
	case strings.ContainsRune("﹕∶꞉ː", r):
		return ':'
	}
	return r
}

// cutMistypedMark returns text without what looks like a mistyped mark, as in
// vault;secret/a#b, vault-ref:secret/a#b, valt:secret/a#b and vаult:secret/a#b, with a
// Cyrillic letter.
func cutMistypedMark(text string) string {
	const word = "vault"
	head, rest, hasColon := strings.Cut(text, ":")
	if hasPrefixFold(head, word) {
		if hasColon {
			return rest
		}
		return strings.TrimLeftFunc(text[len(word):], func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	}
	if strings.ContainsFunc(head, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r) }) {
		return ""
	}
	return rest // the head may hold letters that look like those of vault
}

const asciiLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// looksUnmarked reports whether text looks like a reference without a mark. It
// accepts fewer characters than a reference does, so that only about one in
// 7,000 random passwords of printable ASCII matches, and none of base64 or
// hexadecimal digits.
func looksUnmarked(text string) bool {
	return strings.Trim(text, asciiLetters+"0123456789/._-?=#%") == "" && isReference(text)
}

// straighten returns text without full-width characters, without a slash or space around the
// path or key, and with slashes for backslashes. One backslash alone is that of a Windows
// user name.
func straighten(text string) string {
	path, key, _ := strings.Cut(strings.Map(narrow, text), "#")
	if strings.Count(path, `\`) > 1 {
		path = strings.ReplaceAll(path, `\`, "/")
	}
	path = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(path), "/"), "/")
	return path + "#" + strings.TrimSpace(key)
}

// isReference reports whether text is a valid reference without its mark, perhaps with
// the version at its end.
func isReference(text string) bool {
	_, err := parseReference(mark + cutVersion(text))
	return err == nil
}

// cutVersion returns text without the #version that Bank-Vaults writes after path#key.
func cutVersion(text string) string {
	if i := strings.LastIndexByte(text, '#'); i >= 0 && isDigits(text[i+1:]) && strings.Contains(text[:i], "#") {
		return text[:i]
	}
	return text
}
