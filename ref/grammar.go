package ref

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxPath = 1024 // bytes, decoded
	maxKey  = 512  // bytes, decoded
)

// reservedMounts return tokens and identities instead of secrets. With a reference
// to auth/token/lookup-self, whoever edits a field could send the agent's own token
// to a host.
var reservedMounts = []string{"auth", "sys", "identity", "cubbyhole"}

func checkPath(path string) *SyntaxError {
	if path == "" {
		return &SyntaxError{PartPath, 0, "no path", fixPath}
	}
	if len(path) > maxPath {
		return &SyntaxError{PartPath, characterAt(path, maxPath), "longer than 1,024 bytes", "move the secret to a shorter path in Vault"}
	}
	if err := checkPrintable(path, PartPath, "remove it"); err != nil { // Vault rejects such a path, so no secret has one
		return err
	}
	segments := 0
	for start := 0; start <= len(path); segments++ {
		end := start + segmentLength(path[start:])
		segment := path[start:end]
		switch {
		case segment == "" && strings.HasSuffix(path[:start], ":/"):
			return &SyntaxError{PartPath, 0, "a URL, not a path", fixPath}
		case segment == "":
			return &SyntaxError{PartPath, start, emptySegment, "write one / between segments, none at the ends"}
		case segment == "." || segment == "..":
			return &SyntaxError{PartPath, start, "a . or .. segment", "write the full path of the secret"}
		case segment[0] == ' ':
			return &SyntaxError{PartPath, start, "a space at the beginning of a segment", fixSpaceInPath}
		case segment[len(segment)-1] == ' ':
			return &SyntaxError{PartPath, end - 1, "a space at the end of a segment", fixSpaceInPath}
		}
		if segments == 0 {
			for _, reserved := range reservedMounts {
				if strings.EqualFold(segment, reserved) {
					return &SyntaxError{PartPath, 0, "a path of Vault itself, not of a secret", "name a secret in a KV mount"}
				}
			}
		}
		start = end + 1
	}
	if segments < 2 {
		if i := strings.IndexAny(path, `\／`); i >= 0 {
			return &SyntaxError{PartPath, i, `a \ or a full-width ／ in place of a /`, fixPath}
		}
		return &SyntaxError{PartPath, len(path), "one segment only", fixPath}
	}
	return nil
}

func segmentLength(path string) int {
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return i
	}
	return len(path)
}

func checkKey(key string) *SyntaxError {
	switch {
	case key == "":
		return &SyntaxError{PartKey, 0, "no key", fixKey}
	case len(key) > maxKey:
		return &SyntaxError{PartKey, characterAt(key, maxKey), "longer than 512 bytes", "rename the key in Vault to a shorter one"}
	case key[0] == '/':
		return &SyntaxError{PartKey, 0, "a key that begins with /, which is reserved", "remove the /" + fixNamed}
	case key[0] == ' ':
		return &SyntaxError{PartKey, 0, "a space before the key", "remove the space" + fixNamed}
	case key[len(key)-1] == ' ':
		return &SyntaxError{PartKey, len(key) - 1, "a space after the key", "remove the space" + fixNamed}
	}
	return checkPrintable(key, PartKey, "remove it"+fixNamed)
}

// checkPrintable applies Vault's own test: Vault answers 400 to a path with any
// other character. The only printable white space is U+0020.
func checkPrintable(text, part, fix string) *SyntaxError {
	for i, r := range text {
		if (r < ' ' || r > '~') && !unicode.IsPrint(r) { // the comparison is faster for ASCII
			return &SyntaxError{part, i, "a character that cannot be printed, such as a tab or a zero-width space", fix}
		}
	}
	return nil
}

// checkText applies the check to a text that may not be valid UTF-8.
func checkText(text, part string, check func(string) *SyntaxError) *SyntaxError {
	if err := checkUTF8(text, part); err != nil {
		return err
	}
	return check(text)
}

func checkUTF8(text, part string) *SyntaxError {
	if utf8.ValidString(text) {
		return nil
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") { // a typed U+FFFD is valid
			return &SyntaxError{part, i, notUTF8, fixUTF8}
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
