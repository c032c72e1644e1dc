// Package ref parses credential fields offline. A field holds a literal or a
// reference to a HashiCorp Vault secret.
//
// A field is a JSON string or a JSON object:
//
//	"vault:secret/luumen/windev#password"                reference: path and key
//	"vault:secret/luumen/windev?version=3#password"      reference, pinned to a version (KV v2)
//	{"path": "secret/luumen/windev", "key": "password"}  reference, with an optional "version": 3
//	"any other string"                                   literal, byte for byte
//	"literal:vault:x"                                    the literal "vault:x"
//	null, or absent                                      no field
//
// The prefix "vault:" is the mark of a reference. In the string form, write #,
// ? and % in a path or key as %23, %3F and %25. The object form has no escapes.
//
// A literal is sent to a host as its password, so a string that is nearly a
// reference, such as " Vault:secret/a#b", is an error and not a literal. To use
// it as a literal, write "literal:" before it; see [Escape].
//
// Start with [Parse], or decode JSON into a [Value]:
//
//	var field ref.Value
//	if err := json.Unmarshal(data, &field); err != nil {
//		return err // data is not JSON
//	}
//	if err := field.Err(); err != nil {
//		return err // part, offset, reason and fix
//	}
//	if text, ok := field.Reveal(); ok {
//		use(text)
//	} else if r := field.Ref(); !r.IsZero() {
//		read(r.Path(), r.Key(), r.Version())
//	}
//
// The package imports only the standard library.
package ref

import (
	"fmt"
	"strconv"
	"strings"
)

// Ref is a reference: it names one key of one Vault secret.
//
// Ref is a comparable value type: it supports == and can be a map key. The zero
// Ref is not a reference.
type Ref struct {
	path, key string
	version   int
}

// New returns the reference to key in the secret at path. Both are plain text
// without escapes. Version 0 means the latest version; any other version pins
// the reference to that version of a KV v2 secret. If err is not nil, it is a
// *[SyntaxError] and the Ref is zero.
//
// A path has two or more segments separated by single slashes and is at most
// 1,024 bytes of UTF-8. No segment is "." or "..". The first segment is not
// auth, sys, identity or cubbyhole in any letter case, because Vault answers
// with tokens and identities there. A key is 1 to 512 bytes of UTF-8 and does
// not begin with a slash. Paths and keys contain only printable characters, and
// no segment or key begins or ends with a space. A version is at most
// 9,999,999,999.
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

// Path returns the path of the secret without escapes, including its mount:
// secret/luumen/windev. It returns "" for the zero Ref.
func (r Ref) Path() string { return r.path }

// Key returns the key in the secret without escapes: password. It returns ""
// for the zero Ref.
func (r Ref) Key() string { return r.key }

// Version returns the pinned version, or 0 for the latest version.
func (r Ref) Version() int { return r.version }

// IsZero reports whether r is the zero Ref.
func (r Ref) IsZero() bool { return r == Ref{} }

// String returns the string form of r, with escapes. [Parse] parses it back to
// r. String returns "" for the zero Ref.
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	var b strings.Builder
	b.Grow(len(mark) + len(r.path) + len("?"+versionParameter) + maxVersionDigits + len("#") + len(r.key)) // enough without escapes
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

// MarshalText returns the string form of r. The error is always nil.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses the string form of a reference. Empty text is the zero
// Ref. A literal is an error. Every error is a *[SyntaxError] and leaves r
// unchanged.
//
// To decode a credential field, use a [Value]: encoding/json replaces invalid
// UTF-8 before it calls UnmarshalText.
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

// escapes lists the only characters that the string form cannot hold unescaped.
var escapes = strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F")

func escape(text string) string { return escapes.Replace(text) }

// SyntaxError describes what is wrong with a field. It never contains text from
// the field, because a mistyped reference may be a mistyped password.
type SyntaxError struct {
	// Part is the part of the field that is wrong: PartField, PartPath, PartKey
	// or PartVersion.
	Part string `json:"part"`
	// Offset is where the error is, in bytes. It counts from the beginning of
	// the decoded string, or of the decoded member of an object. Zero is the
	// beginning.
	Offset int `json:"offset"`
	// Reason says what is wrong. It is never empty.
	Reason string `json:"reason"`
	// Fix says what to write instead. It is never empty.
	Fix string `json:"fix"`
}

// The parts of a field that a [SyntaxError] names.
const (
	PartField   = "field"   // the whole field
	PartPath    = "path"    // the path of the secret
	PartKey     = "key"     // the key in the secret
	PartVersion = "version" // the pinned version
)

// Error returns one line: "key at byte 18: a bare #; write it %23".
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d: %s; %s", e.Part, e.Offset, e.Reason, e.Fix)
}
