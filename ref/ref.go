// Package ref parses credential fields offline. A field holds a literal or a
// reference to a HashiCorp Vault secret.
//
//	"vault:secret/luumen/windev#password"                reference: path and key
//	"vault:secret/luumen/windev?version=3#password"      reference, pinned to a version (KV v2)
//	{"path": "secret/luumen/windev", "key": "password"}  reference, with an optional "version": 3
//	"any other string"                                   literal, byte for byte
//	"literal:vault:x"                                    the literal "vault:x"
//	null, or absent                                      no field
//
// In the string form, write #, ? and % in a path or key as %23, %3F and %25. A
// string that is nearly a reference, such as " Vault:secret/a#b", is an error, so
// that a typo is not sent to a host as its password.
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
package ref

import (
	"strconv"
	"strings"
)

// Ref refers to one key of a Vault secret. It is comparable. The zero Ref refers to nothing.
type Ref struct {
	path, key string
	version   int
}

// New returns the reference to key in the secret at path, both without escapes.
// Version 0 means the latest one; versions exist in KV v2 alone. Every error is a
// *[SyntaxError].
//
// A path has at most 1,024 bytes and two or more segments between single slashes.
// A segment is not "." or ".."; the first is not auth, sys, identity or cubbyhole,
// where Vault hands out tokens. A key has 1 to 512 bytes and does not begin with a
// slash. All characters are printable, and no segment or key begins or ends with a
// space.
func New(path, key string, version int) (Ref, error) {
	if err := checkText(path, PartPath, checkPath); err != nil {
		return Ref{}, err
	}
	if err := checkText(key, PartKey, checkKey); err != nil {
		return Ref{}, err
	}
	if version < 0 || version > maxVersion {
		return Ref{}, badVersion()
	}
	return Ref{path, key, version}, nil
}

// Path returns the path of the secret with its mount: secret/luumen/windev.
func (r Ref) Path() string { return r.path }

// Key returns the key in the secret: password.
func (r Ref) Key() string { return r.key }

// Version returns the pinned version, or 0 for the latest version.
func (r Ref) Version() int { return r.version }

// IsZero reports whether r is the zero Ref.
func (r Ref) IsZero() bool { return r == Ref{} }

// String returns the string form of r, or "" for the zero Ref.
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

// MarshalText returns r.String(). The error is always nil.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses the string form of a reference; empty text is the zero Ref.
// Every error is a *[SyntaxError]. Decode a credential field into a [Value] instead.
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

// escapes are the characters that the string form cannot hold unescaped.
var escapes = strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F")

func escape(text string) string { return escapes.Replace(text) }
