package ref

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	mark             = "vault:"
	literalMark      = "literal:"
	versionParameter = "version="

	maxPath          = 1024 // bytes, decoded
	maxKey           = 512  // bytes, decoded
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
	if f := checkUTF8(field); f != nil {
		return invalid(*f)
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
		return invalid(fault{0, "white space or an invisible character before " + meant, fix})
	}
	return invalid(fault{0, meant + " is not in lower case", fix})
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
	if f := checkUTF8(field); f != nil {
		return Ref{}, f.in(PartField, f.offset)
	}
	hash := strings.IndexByte(field, '#')
	if hash < 0 {
		if i := strings.Index(field, "＃"); i >= 0 {
			return Ref{}, &SyntaxError{PartKey, i, "a full-width ＃ in place of a #", "write an ASCII #" + fixLiteral}
		}
		return Ref{}, &SyntaxError{PartKey, len(field), "no # and key after the path", fixReference + fixLiteral}
	}
	query := strings.IndexByte(field[:hash], '?')
	pathEnd := hash
	if query >= 0 {
		pathEnd = query
	}
	if strings.HasPrefix(field, mark+"//") { // as in a URL
		return Ref{}, &SyntaxError{PartPath, len(mark), emptySegment, "remove the // after vault:"}
	}
	path, err := parsePart(field, len(mark), pathEnd, PartPath, checkPath)
	if err != nil {
		return Ref{}, err
	}
	version := 0
	if query >= 0 {
		digits, named := strings.CutPrefix(field[query+1:hash], versionParameter)
		var ok bool
		if version, ok = versionNumber(digits); !named || !ok {
			return Ref{}, &SyntaxError{PartVersion, query + 1, "not a version", "write ?version=N before the #, where N is " + versions + "; write a ? in the path as %3F"}
		}
	}
	key, err := parsePart(field, hash+1, len(field), PartKey, checkKey)
	if err != nil {
		return Ref{}, err
	}
	return Ref{path, key, version}, nil
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
func parsePart(field string, start, end int, part string, check func(string) *fault) (string, *SyntaxError) {
	raw := field[start:end]
	text, f := unescape(raw)
	if f != nil {
		return "", f.in(part, start+f.offset)
	}
	if f := check(text); f != nil {
		if f.fix == fixPath {
			f.fix += fixLiteral // a password can also begin with vault:
		}
		return "", f.in(part, start+rawOffset(raw, f.offset))
	}
	return text, nil
}

// unescape decodes %23, %3F and %25. It allocates only if raw contains one.
func unescape(raw string) (string, *fault) {
	escaped := false
	for i := range len(raw) {
		switch raw[i] {
		case '#':
			if isDigits(raw[i+1:]) { // Bank-Vaults writes path#key#version
				return "", &fault{i, "a bare #", fixVersion + "; write a # in the key as %23"}
			}
			return "", &fault{i, "a bare #", "write it %23"}
		case '?':
			return "", &fault{i, "a bare ?", "write it %3F; " + fixVersion}
		case '%':
			if escapedByte(raw[i:]) == 0 {
				return "", &fault{i, "a % that does not begin %23, %3F or %25", "write a percent sign as %25, the escapes in upper case, and any other character, such as a space, as it is"}
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

// reservedMounts return tokens and identities instead of secrets. With a reference
// to auth/token/lookup-self, whoever edits a field could send the agent's own token
// to a host.
var reservedMounts = []string{"auth", "sys", "identity", "cubbyhole"}

func checkPath(path string) *fault {
	if path == "" {
		return &fault{0, "no path", fixPath}
	}
	if len(path) > maxPath {
		return &fault{characterAt(path, maxPath), "longer than 1,024 bytes", "move the secret to a shorter path in Vault"}
	}
	if f := checkPrintable(path, "remove it"); f != nil { // Vault rejects such a path, so no secret has one
		return f
	}
	segments := 0
	for start := 0; start <= len(path); segments++ {
		end := start + segmentLength(path[start:])
		segment := path[start:end]
		switch {
		case segment == "" && strings.HasSuffix(path[:start], ":/"):
			return &fault{0, "a URL, not a path", fixPath}
		case segment == "":
			return &fault{start, emptySegment, "write one / between segments, none at the ends"}
		case segment == "." || segment == "..":
			return &fault{start, "a . or .. segment", "write the full path of the secret"}
		case segment[0] == ' ':
			return &fault{start, "a space at the beginning of a segment", fixSpaceInPath}
		case segment[len(segment)-1] == ' ':
			return &fault{end - 1, "a space at the end of a segment", fixSpaceInPath}
		}
		if segments == 0 {
			for _, reserved := range reservedMounts {
				if strings.EqualFold(segment, reserved) {
					return &fault{0, "a path of Vault itself, not of a secret", "name a secret in a KV mount"}
				}
			}
		}
		start = end + 1
	}
	if segments < 2 {
		if i := strings.IndexAny(path, `\／`); i >= 0 {
			return &fault{i, `a \ or a full-width ／ in place of a /`, fixPath}
		}
		return &fault{len(path), "one segment only", fixPath}
	}
	return nil
}

func segmentLength(path string) int {
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return i
	}
	return len(path)
}

func checkKey(key string) *fault {
	switch {
	case key == "":
		return &fault{0, "no key", fixKey}
	case len(key) > maxKey:
		return &fault{characterAt(key, maxKey), "longer than 512 bytes", "rename the key in Vault to a shorter one"}
	case key[0] == '/':
		return &fault{0, "a key that begins with /, which is reserved", "remove the /" + fixNamed}
	case key[0] == ' ':
		return &fault{0, "a space before the key", "remove the space" + fixNamed}
	case key[len(key)-1] == ' ':
		return &fault{len(key) - 1, "a space after the key", "remove the space" + fixNamed}
	}
	return checkPrintable(key, "remove it"+fixNamed)
}

// checkPrintable applies Vault's own test: Vault answers 400 to a path with any
// other character. The only printable white space is U+0020.
func checkPrintable(text, fix string) *fault {
	for i, r := range text {
		if (r < ' ' || r > '~') && !unicode.IsPrint(r) { // the comparison is faster for ASCII
			return &fault{i, "a character that cannot be printed, such as a tab or a zero-width space", fix}
		}
	}
	return nil
}

// fault is a SyntaxError without its part.
type fault struct {
	offset      int
	reason, fix string
}

func (f fault) in(part string, offset int) *SyntaxError {
	return &SyntaxError{Part: part, Offset: offset, Reason: f.reason, Fix: f.fix}
}

const emptySegment = "an empty segment"

const (
	fixReference   = "write vault:PATH#KEY, such as vault:secret/luumen/windev#password"
	fixLiteral     = ", or write literal: before the whole field to use it as a literal"
	fixPath        = "write the mount and the path below it, such as secret/luumen/windev"
	fixKey         = "name the key in the secret, such as password"
	fixNamed       = "; if the key in Vault has it, rename the key in Vault"
	fixSpaceInPath = "remove the space; if the path in Vault has it, move the secret to another path"
	fixVersion     = "a version goes before the #, as in vault:secret/luumen/windev?version=3#password"
	versions       = "a whole number from 1 to 9,999,999,999"
)

// badVersion is the fault of a version outside the string form.
var badVersion = fault{reason: "not a version", fix: "write " + versions + " without quotes, or omit the version"}

func notUTF8(offset int) *fault {
	return &fault{offset, "not valid UTF-8", "store the text as UTF-8"}
}

func checkUTF8(text string) *fault {
	if utf8.ValidString(text) {
		return nil
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") { // a typed U+FFFD is valid
			return notUTF8(i)
		}
	}
	return nil
}

// characterAt returns the offset of the character that contains byte i.
func characterAt(text string, i int) int {
	for !utf8.RuneStart(text[i]) {
		i--
	}
	return i
}
