// Package ref parses a credential field into a literal or a reference to a
// HashiCorp Vault secret, without asking Vault. It imports the standard
// library only.
//
// A field is a JSON string or a JSON object:
//
//	"vault:secret/luumen/windev#password"             reference: path and key
//	"vault:secret/luumen/windev?version=3#password"   the same, pinned (KV v2)
//	{"path": "secret/luumen/windev", "key": "password"}
//	"any other string"                                literal, byte for byte
//	"literal:vault:x"                                 the literal "vault:x"
//	null, or absent                                   no such field
//
// In the string form, path and key write # as %23, ? as %3F and % as %25; the
// members of the object form are plain text. A string that is almost a
// reference, such as " Vault:secret/a#b", is an error and never a literal,
// because a literal is sent to a host as its password.
//
// Start with [Parse], or decode JSON into a [Value].
package ref

import (
	"fmt"
	"strconv"
	"strings"
)

// Ref names one key of one Vault secret. It is comparable and can be the key
// of a map. The zero Ref names nothing.
type Ref struct {
	path, key string
	version   int
}

// New makes the reference to a key of the secret at path, as a person types
// them into input boxes: plain text without escapes. Version 0 means the
// latest one; any other pins a version of KV v2. The error is a *[SyntaxError].
//
// A path is two or more segments with a single / between them, at most 1,024
// bytes of UTF-8. No segment is . or .., and the first is not auth, sys,
// identity or cubbyhole in any letter case, where Vault answers with tokens
// instead of secrets. A key is 1 to 512 bytes and does not begin with /. Both
// hold printable characters only, and neither a key nor a segment begins or
// ends with a space.
func New(path, key string, version int) (Ref, error) {
	if f := checkText(path, checkPath); f != nil {
		return Ref{}, f.in(PartPath, f.offset)
	}
	if f := checkText(key, checkKey); f != nil {
		return Ref{}, f.in(PartKey, f.offset)
	}
	if version < 0 || version > maxVersion {
		return Ref{}, badVersion.in(PartVersion, 0)
	}
	return Ref{path, key, version}, nil
}

func checkText(text string, check func(string) *fault) *fault {
	if f := checkUTF8(text); f != nil {
		return f
	}
	return check(text)
}

// Path is the path of the secret as it was typed, mount included:
// secret/luumen/windev.
func (r Ref) Path() string { return r.path }

// Key is the name of the value inside the secret.
func (r Ref) Key() string { return r.key }

// Version is the pinned version, or 0 for the latest.
func (r Ref) Version() int { return r.version }

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// String is the canonical string form, which [Parse] turns back into r. For
// the zero Ref it is empty.
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	var b strings.Builder
	b.WriteString(mark)
	b.WriteString(escape(r.path))
	if r.version != 0 {
		b.WriteString("?" + versionParameter)
		b.WriteString(strconv.Itoa(r.version))
	}
	b.WriteByte('#')
	b.WriteString(escape(r.key))
	return b.String()
}

// MarshalText returns the string form.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses the string form of a reference. Empty text is the zero
// Ref; a literal is an error. The error is a *[SyntaxError].
func (r *Ref) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Ref{}
		return nil
	}
	v := Parse(string(text))
	if v.err != nil {
		return v.err
	}
	if v.ref.IsZero() {
		return &SyntaxError{Part: PartField, Reason: "not a reference", Fix: fixReference}
	}
	*r = v.ref
	return nil
}

// escapes are the only characters that the string form cannot hold in clear.
var escapes = strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F")

func escape(text string) string { return escapes.Replace(text) }

// SyntaxError says what is wrong with a field. It never holds the field's
// text: a mistyped reference may be a mistyped password.
type SyntaxError struct {
	Part   string `json:"part"`   // PartField, PartPath, PartKey or PartVersion
	Offset int    `json:"offset"` // in bytes: into the decoded string, or into the object's member
	Reason string `json:"reason"` // what is wrong
	Fix    string `json:"fix"`    // what to write instead
}

// The parts of a field that a [SyntaxError] can speak of.
const (
	PartField   = "field"   // the field as a whole
	PartPath    = "path"    // the path of the secret
	PartKey     = "key"     // the key inside the secret
	PartVersion = "version" // the pinned version
)

// Error is one line: "key at byte 18: a bare #; write it %23".
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d: %s; %s", e.Part, e.Offset, e.Reason, e.Fix)
}
