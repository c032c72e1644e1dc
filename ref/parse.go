package ref

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

const (
	mark             = "vault:"
	literalMark      = "literal:"
	versionParameter = "version="

	maxVersionDigits = 10
	maxVersion       = min(9_999_999_999, math.MaxInt) // an int can have 32 bits
)

// Parse parses a field that is a string. If it is malformed, see [Value.Err].
func Parse(field string) Value {
	if !strings.HasPrefix(field, mark) {
		return parseUnmarked(field)
	}
	r, err := parseReference(field)
	if err != nil {
		return Value{err: err}
	}
	return Value{ref: r}
}

// Escape returns the field for a literal: the literal itself, or, if that would mean
// something else, "literal:" followed by it. [Parse] rejects text that is not valid
// UTF-8, escaped or not.
func Escape(literal string) string {
	if marked(literal) {
		return literalMark + literal
	}
	return literal
}

// parseUnmarked parses a field that does not begin with exactly "vault:".
func parseUnmarked(field string) Value {
	if err := checkUTF8(field, PartField); err != nil {
		return Value{err: err}
	}
	if !marked(field) {
		return literal(field)
	}
	if rest, ok := strings.CutPrefix(field, literalMark); ok {
		return literal(rest)
	}
	visible := skipInvisible(field)
	meant, fix := mark, "begin the field with vault:"+fixLiteral
	if hasPrefixFold(visible, literalMark) {
		meant, fix = literalMark, "begin the field with literal:"
	}
	if len(visible) < len(field) {
		return invalid("white space or an invisible character before "+meant, fix)
	}
	return invalid(meant+" is not in lower case", fix)
}

// marked reports whether text may be meant as a reference or as an escaped literal.
// If it is marked and neither, it is an error.
func marked(text string) bool {
	for {
		text = skipInvisible(text)
		if hasPrefixFold(text, mark) {
			return true
		}
		if !hasPrefixFold(text, literalMark) {
			return false
		}
		text = text[len(literalMark):]
	}
}

func hasPrefixFold(text, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
}

// skipInvisible returns text from its first visible character on. Pasted text often
// has invisible ones before it.
func skipInvisible(text string) string { return strings.TrimLeftFunc(text, invisible) }

// invisible reports whether r is white space or displayed as nothing, such as a byte
// order mark or a zero-width space.
func invisible(r rune) bool {
	return unicode.IsSpace(r) ||
		unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// parseReference parses a field that begins with "vault:". It reports the first
// of several errors.
func parseReference(field string) (Ref, *SyntaxError) {
	if err := checkUTF8(field, PartField); err != nil {
		return Ref{}, err
	}
	hash := strings.IndexByte(field, '#')
	if hash < 0 {
		if i := strings.Index(field, "＃"); i >= 0 {
			return Ref{}, &SyntaxError{PartKey, i, "a full-width ＃ in place of a #", "write an ASCII #" + fixLiteral}
		}
		return Ref{}, &SyntaxError{PartKey, len(field), "no # and key after the path", fixReference + fixLiteral}
	}
	if strings.HasPrefix(field, mark+"//") { // as in a URL
		return Ref{}, &SyntaxError{PartPath, len(mark), emptySegment, "remove the // after vault:"}
	}
	pathEnd := hash
	query := strings.IndexByte(field[:hash], '?')
	if query >= 0 {
		pathEnd = query
	}
	path, err := parsePart(field, len(mark), pathEnd, PartPath, checkPath)
	if err != nil {
		return Ref{}, err
	}
	version := 0
	if query >= 0 {
		if version, err = parseVersion(field[:hash], query+1); err != nil {
			return Ref{}, err
		}
	}
	key, err := parsePart(field, hash+1, len(field), PartKey, checkKey)
	if err != nil {
		return Ref{}, err
	}
	return Ref{path, key, version}, nil
}

// parseVersion parses what follows the ? in the part of a field before its #.
func parseVersion(beforeHash string, start int) (int, *SyntaxError) {
	digits, named := strings.CutPrefix(beforeHash[start:], versionParameter)
	version, ok := versionNumber(digits)
	if !named || !ok {
		return 0, &SyntaxError{PartVersion, start, "not a version", "write ?version=N before the #, where N is " + versions + "; write a ? in the path as %3F"}
	}
	return version, nil
}

func versionNumber(digits string) (int, bool) {
	if !isDigits(digits) || len(digits) > maxVersionDigits || digits[0] == '0' {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

func isDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

// parsePart decodes and checks field[start:end]. The offset of an error counts
// from the beginning of field.
func parsePart(field string, start, end int, part string, check func(string) *SyntaxError) (string, *SyntaxError) {
	raw := field[start:end]
	text, err := unescape(raw, part)
	if err != nil {
		return "", err.at(start + err.Offset)
	}
	if err := check(text); err != nil {
		err = err.at(start + rawOffset(raw, err.Offset))
		if err.Fix == fixPath {
			err.Fix += fixLiteral // a password can also begin with vault:
		}
		return "", err
	}
	return text, nil
}

// unescape decodes %23, %3F and %25. It allocates only if raw contains one.
func unescape(raw, part string) (string, *SyntaxError) {
	escaped := false
	for i := range len(raw) {
		switch raw[i] {
		case '#':
			if isDigits(raw[i+1:]) { // Bank-Vaults writes path#key#version
				return "", &SyntaxError{part, i, "a bare #", fixVersion + "; write a # in the key as %23"}
			}
			return "", &SyntaxError{part, i, "a bare #", "write it %23"}
		case '?':
			return "", &SyntaxError{part, i, "a bare ?", "write it %3F; " + fixVersion}
		case '%':
			if escapedByte(raw[i:]) == 0 {
				return "", &SyntaxError{part, i, "a % that does not begin %23, %3F or %25", "write a percent sign as %25, the escapes in upper case, and any other character, such as a space, as it is"}
			}
			escaped = true
		}
	}
	if !escaped {
		return raw, nil
	}
	var text strings.Builder
	text.Grow(len(raw))
	for i := strings.IndexByte(raw, '%'); i >= 0; i = strings.IndexByte(raw, '%') {
		text.WriteString(raw[:i])
		text.WriteByte(escapedByte(raw[i:]))
		raw = raw[i+3:]
	}
	text.WriteString(raw)
	return text.String(), nil
}

// escapedByte decodes the escape at the beginning of text. It returns 0 if there
// is none.
func escapedByte(text string) byte {
	switch {
	case strings.HasPrefix(text, "%23"):
		return '#'
	case strings.HasPrefix(text, "%3F"):
		return '?'
	case strings.HasPrefix(text, "%25"):
		return '%'
	}
	return 0
}

// rawOffset converts an offset in the decoded text to an offset in raw.
func rawOffset(raw string, decoded int) int {
	i := 0
	for ; decoded > 0; decoded-- {
		if escapedByte(raw[i:]) != 0 {
			i += 3
		} else {
			i++
		}
	}
	return i
}
