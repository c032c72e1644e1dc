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
	maxVersion       = min(9_999_999_999, math.MaxInt) // an int may have 32 bits
)

// Parse reads the string form of a field. It always returns a value that is
// not zero: a literal, a reference, or an invalid value that holds its error.
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

// Escape returns the field text that stands for the literal: the literal
// itself, or, where that would read as a reference, the literal behind
// "literal:". Text that is not valid UTF-8 cannot be stored in a field; Parse
// rejects it with or without Escape.
func Escape(literal string) string {
	if marked(literal) {
		return literalMark + literal
	}
	return literal
}

// parseUnmarked reads a field that does not begin with exactly "vault:".
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
	if len(skipInvisible(field)) < len(field) {
		return invalid(fault{0, "white space or an invisible character before the mark", "begin with vault:" + fixLiteral})
	}
	return invalid(fault{0, "the mark is not in lower case", "write vault:" + fixLiteral})
}

// marked reports whether the text could be meant as a reference, or as the
// escape of one.
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

// skipInvisible cuts what a person does not see, or a paste brings along,
// before the first visible character: white space, byte order marks,
// zero-width and other characters that Unicode has drawn as nothing.
func skipInvisible(text string) string {
	return strings.TrimLeftFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) ||
			unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
	})
}

// parseReference reads a field that begins with "vault:". Of several faults,
// it reports the first.
func parseReference(field string) (Ref, *SyntaxError) {
	if f := checkUTF8(field); f != nil {
		return Ref{}, f.in(PartField, f.offset)
	}
	hash := strings.IndexByte(field, '#')
	if hash < 0 {
		return Ref{}, &SyntaxError{PartKey, len(field), "no # and key after the path", fixReference + fixLiteral}
	}
	query := strings.IndexByte(field[:hash], '?')
	pathEnd := hash
	if query >= 0 {
		pathEnd = query
	}
	path, err := parsePart(field, len(mark), pathEnd, PartPath, checkPath)
	if err != nil {
		return Ref{}, err
	}
	version := 0
	if query >= 0 {
		var ok bool
		if version, ok = parseVersion(field[query+1 : hash]); !ok {
			return Ref{}, &SyntaxError{PartVersion, query + 1, "not a version", "write ?version=N before the #, N being " + versions + ", or a ? of the path as %3F"}
		}
	}
	key, err := parsePart(field, hash+1, len(field), PartKey, checkKey)
	if err != nil {
		return Ref{}, err
	}
	return Ref{path, key, version}, nil
}

// parseVersion reads what stands between ? and #.
func parseVersion(query string) (int, bool) {
	digits, ok := strings.CutPrefix(query, versionParameter)
	if !ok {
		return 0, false
	}
	return versionNumber(digits)
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

// parsePart decodes and checks field[start:end]. Offsets of errors count in
// the whole field.
func parsePart(field string, start, end int, part string, check func(string) *fault) (string, *SyntaxError) {
	raw := field[start:end]
	text, f := unescape(raw)
	if f != nil {
		return "", f.in(part, start+f.offset)
	}
	if f := check(text); f != nil {
		if f.fix == fixPath {
			f.fix += fixLiteral // a password can begin with vault:, too
		}
		return "", f.in(part, start+rawOffset(raw, f.offset))
	}
	return text, nil
}

// unescape decodes %23, %3F and %25, and allocates only where there is one.
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
				return "", &fault{i, "a % that begins none of %23, %3F, %25", "write a percent sign %25, and the escapes in upper case"}
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

// escapedByte is what the escape at the start of the text stands for, or 0
// where there is none.
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

// rawOffset is where the decoded offset stands in the escaped text.
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

// reservedMounts hand out tokens and identities instead of secrets:
// auth/token/lookup-self answers with the caller's own token, and whoever
// edits a field could have it sent to a host as a password.
var reservedMounts = []string{"auth", "sys", "identity", "cubbyhole"}

func checkPath(path string) *fault {
	if path == "" {
		return &fault{0, "no path", fixPath}
	}
	if len(path) > maxPath {
		return &fault{characterAt(path, maxPath), "longer than 1,024 bytes", "shorten the path of the secret"}
	}
	if f := checkPrintable(path); f != nil {
		return f
	}
	segments := 0
	for start := 0; start <= len(path); segments++ {
		end := start + segmentLength(path[start:])
		segment := path[start:end]
		switch {
		case segment == "":
			return &fault{start, "an empty segment", "write one / between segments, none at the ends"}
		case segment == "." || segment == "..":
			return &fault{start, "a . or .. segment", "write the path of the secret in full"}
		case segment[0] == ' ':
			return &fault{start, "a space at the beginning of a segment", "remove the space"}
		case segment[len(segment)-1] == ' ':
			return &fault{end - 1, "a space at the end of a segment", "remove the space"}
		}
		if segments == 0 {
			for _, reserved := range reservedMounts {
				if strings.EqualFold(segment, reserved) {
					return &fault{0, "a path of Vault's own, not of a secret", "name a secret of a KV mount"}
				}
			}
		}
		start = end + 1
	}
	if segments < 2 {
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
		return &fault{characterAt(key, maxKey), "longer than 512 bytes", "shorten the key"}
	case key[0] == '/':
		return &fault{0, "a key that begins with /, which is reserved", fixKey}
	case key[0] == ' ':
		return &fault{0, "a space before the key", "remove the space"}
	case key[len(key)-1] == ' ':
		return &fault{len(key) - 1, "a space after the key", "remove the space"}
	}
	return checkPrintable(key)
}

// checkPrintable uses Vault's own test: its server answers 400 to a path with
// any other character. Of white space, only U+0020 is printable.
func checkPrintable(text string) *fault {
	for i, r := range text {
		if (r < ' ' || r > '~') && !unicode.IsPrint(r) { // ASCII is quicker here
			return &fault{i, "a character that cannot be printed, such as a tab or a zero-width space", "remove it"}
		}
	}
	return nil
}

// fault is a SyntaxError that does not know its part yet.
type fault struct {
	offset      int
	reason, fix string
}

func (f fault) in(part string, offset int) *SyntaxError {
	return &SyntaxError{Part: part, Offset: offset, Reason: f.reason, Fix: f.fix}
}

const (
	fixReference = "write vault:PATH#KEY, such as vault:secret/luumen/windev#password"
	fixLiteral   = ", or literal: before the whole field if it is meant as it stands"
	fixPath      = "write the mount and the path below it, such as secret/luumen/windev"
	fixKey       = "name the value inside the secret, such as password"
	fixVersion   = "a version goes before the #, as in vault:secret/luumen/windev?version=3#password"
	versions     = "a whole number from 1 to 9,999,999,999"
)

// badVersion is for a version that stands in a place of its own.
var badVersion = fault{reason: "not a version", fix: "write " + versions + ", or leave the version out"}

func notUTF8(offset int) *fault {
	return &fault{offset, "not valid UTF-8", "store the text as UTF-8"}
}

func checkUTF8(text string) *fault {
	if utf8.ValidString(text) {
		return nil
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") { // one that was typed is valid
			return notUTF8(i)
		}
	}
	return nil
}

// characterAt is where the character begins that the byte at i belongs to.
func characterAt(text string, i int) int {
	for !utf8.RuneStart(text[i]) {
		i--
	}
	return i
}
