package ref

import (
	"cmp"
	"strings"
	"unicode"
)

// Warning says why a literal looks like a mistyped reference, or another product's, or why
// the path of a reference looks mistyped, and what to write instead, or returns "". Put
// "this field" before the text, which never quotes the field.
func (v Value) Warning() string {
	switch path := v.ref.path; {
	case strings.HasPrefix(path, mark): // a whole reference was pasted as the path
		return "has vault: in its path; " + fixPath
	case strings.HasPrefix(path, ":"):
		return "has a colon at the beginning of its path; " + fixPath
	}
	text, ok := v.Reveal()
	if !ok || marked(text) {
		return "" // a marked literal was escaped, so it is meant as one
	}
	return literalWarning(strings.TrimSpace(text))
}

// literalWarning returns the warning for a literal. Any text can be a password, so each
// case matches only texts that people and password generators hardly ever choose.
func literalWarning(text string) string {
	const fix = ", but is used as a literal; if it is meant as a reference, "
	const fixMark = fix + "begin the field with vault:"
	if text == printedMask || text == jsonMask || isMask(text) { // stored in place of the field's JSON
		return "is the mask of a credential, but is used as a literal; enter the credential again"
	}
	unquoted := strings.TrimLeft(text, "\"'`“”‘’„")
	if unquoted != text && marked(unquoted) || looksLikeObject(text) {
		return "looks like a reference in quotes" + fix + fixReference
	}
	if product := foreignProduct(text); product != "" {
		return "looks like a reference for " + product + fix + fixReference
	}
	if flaw := markFlaw(text); flaw != "" {
		return "looks like a reference with " + flaw + " in or before vault:" + fixMark
	}
	if hasPrefixFold(text, literalMark) {
		return "begins with literal:, which is sent as part of the literal; remove it, or write exactly literal: before a literal that begins with vault:"
	}
	// Such as after a YAML dash or the >> of Bank-Vaults. No ordinary password has a mark, a
	// path and a key.
	if _, rest, ok := strings.Cut(text, mark); ok && isReference(rest) {
		return "looks like a reference after other text" + fixMark + fixRest(rest)
	}
	afterMark := strings.TrimSpace(text[strings.IndexAny(text, ":; \t")+1:]) // a misspelled one, such as valt: or vault and a space
	switch {
	case looksUnmarked(strings.TrimPrefix(text, "/")):
		return "looks like a reference without vault:" + fixMark + fixRest(text)
	case looksUnmarked(afterMark):
		return "looks like a reference without vault:" + fixMark + fixRest(afterMark)
	case hasPrefixFold(text, "vault") && looksUnmarked(strings.Trim(text[len("vault"):], "!$&()*+,<>[]^{|}~")): // such as vault(…)
		return "looks like a reference without vault:" + fixMark
	}
	return ""
}

// looksLikeObject reports whether text may be meant as the object form of a reference, such as
// that of YAML.
func looksLikeObject(text string) bool {
	if !strings.HasPrefix(text, "{") {
		return false
	}
	text = strings.ToLower(text)
	return strings.Contains(text, "path") && strings.Contains(text, "key")
}

// isMask reports whether a form may have shown text in place of a credential.
func isMask(text string) bool { return len(text) >= 3 && strings.Trim(text, "*•●") == "" }

// fixRest says what else to correct in text besides its missing mark.
func fixRest(text string) string {
	if _, err := parseReference(mark + text); err != nil {
		return ", and " + err.Fix
	}
	return ""
}

// markFlaw returns the first flaw of the mark that text begins with, as a person
// reads it. It returns "" if text begins with something else, or if only the letter
// case differs.
func markFlaw(text string) string {
	flaw, mark := "", mark
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

const asciiLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// looksUnmarked reports whether text looks like a reference without a mark. It
// accepts fewer characters than a reference does, so that only about one in
// 7,000 random passwords of printable ASCII matches, and none of base64 or
// hexadecimal digits.
func looksUnmarked(text string) bool {
	return strings.Trim(text, asciiLetters+"0123456789/._-?=#%") == "" && isReference(text)
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
