package resolver

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names of hosts, fields, paths and keys come from outside. These functions write them so
// that they cannot pass for another line of a log, for another part of a policy, or for advice.

// quoted returns a name from outside, quoted if it holds anything unprintable, or what could
// pass for a line of a policy or another piece of advice, and if it would not be seen as it is:
// empty, or with a space at its beginning or end.
func quoted(name string) string {
	if name == "" || strings.TrimSpace(name) != name || strings.ContainsAny(name, `";{`) || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// shownKey returns a key in quotes, and cuts a long one: the reference before it in the
// same line has all of it.
func shownKey(key string) string {
	if len(key) <= maxNear {
		return strconv.Quote(key)
	}
	end := maxNear
	for !utf8.RuneStart(key[end]) {
		end--
	}
	return strconv.Quote(key[:end]) + "…"
}

// quoteHCL writes printable text as a string of HCL.
func quoteHCL(text string) string { return `"` + escapesHCL.Replace(text) + `"` }

// HCL reads no escapes between ${ and }.
var escapesHCL = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `$\u007b`)
