package resolver

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/luumen/patch-vault/auth"
)

// hostsMetadata is the name of the custom metadata that limits a secret to hosts.
const hostsMetadata = "luumen_hosts"

// hostList says which hosts may get a secret. The zero hostList allows every host.
type hostList struct {
	limited   bool // the secret names its hosts
	globs     []string
	malformed bool // a glob, or the whole list
}

// hostsOf returns the hosts that may get a secret with the custom metadata, and what looks
// wrong. isKey says that luumen_hosts is a key of the secret, where it limits nothing.
func hostsOf(custom map[string]string, isKey bool) (hostList, []auth.Finding) {
	if text, ok := custom[hostsMetadata]; ok {
		list := parseHosts(text)
		if list.malformed {
			return list, []auth.Finding{hostsMalformed}
		}
		return list, nil
	}
	var findings []auth.Finding
	if name := almostHosts(custom); name != "" {
		f := hostsMisspelt
		f.Detail = strconv.Quote(name)
		findings = append(findings, f)
	}
	if isKey {
		findings = append(findings, hostsAsKey)
	}
	return hostList{}, findings
}

// maxHostList is the largest custom metadata that Vault stores, in bytes.
const maxHostList = 512

// parseHosts parses the value of luumen_hosts.
func parseHosts(text string) hostList {
	list := hostList{limited: true}
	if len(text) > maxHostList {
		list.malformed = true
		return list
	}
	for glob := range strings.SplitSeq(text, ",") {
		glob = normalHost(strings.TrimSpace(glob))
		_, err := path.Match(literalBackslash.Replace(glob), "")
		switch {
		case err != nil || strings.Contains(glob, "[!") || otherForm.MatchString(glob):
			// path.Match has no [!, and would match what it excludes in a shell.
			list.malformed = true
		case glob != "":
			list.globs = append(list.globs, glob)
		}
	}
	return list
}

// otherForm matches globs of lists in other forms, such as JSON, YAML, and regular
// expressions. A host's name may hold an apostrophe, and end in $.
var otherForm = regexp.MustCompile("[{};|\"，、；]|^['`“”‘’„‚«»‹›!^]|^- |['`“”‘’„‚«»‹›]$|\\.\\*\\$$")

// allows reports whether a host may get the secret.
func (l hostList) allows(host string) bool {
	if !l.limited {
		return true
	}
	if !utf8.ValidString(host) {
		return false // different invalid names would look alike
	}
	host = normalHost(host)
	return slices.ContainsFunc(l.globs, func(glob string) bool {
		// A name with a bracket does not match itself as a glob, so it is also compared as it is.
		ok, _ := path.Match(literalBackslash.Replace(glob), host) // cannot fail: parseHosts refuses a malformed one
		return glob == host || ok
	})
}

// example returns the name of a host that may get the secret, or "" if there is no limit, or
// no such host. A glob matches itself.
func (l hostList) example() string {
	if len(l.globs) == 0 {
		return ""
	}
	return l.globs[0]
}

// literalBackslash escapes the backslash in the name of a Windows host.
var literalBackslash = strings.NewReplacer(`\`, `\\`)

// normalHost is the form in which globs and names are compared. A name is not a path, so a
// * also matches a slash.
func normalHost(text string) string { return strings.ReplaceAll(lowerASCII(text), "/", "\x00") }

// lowerASCII changes only ASCII letters. Some others, such as the Kelvin sign, would
// become ASCII letters in lower case.
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// almostHosts returns a name that was probably meant as luumen_hosts. If it is
// misspelt, every host gets the secret.
func almostHosts(custom map[string]string) string {
	almost := ""
	for name := range custom {
		if edits(lowerASCII(name), hostsMetadata) <= 2 && (almost == "" || name < almost) {
			almost = name
		}
	}
	return almost
}
