package resolver

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/luumen/patch-vault/ref"
)

// Credential is a resolved field. It prints where it came from, never what it holds.
// The zero Credential holds nothing.
type Credential struct {
	reveal  func() string // a func, because printing by reflection would show the text
	ref     ref.Ref
	version int
	created time.Time
}

// Reveal returns the credential itself: the exact bytes of a literal or a string in
// Vault, or the exact JSON text of a number or boolean.
func (c Credential) Reveal() string {
	if c.reveal == nil {
		return ""
	}
	return c.reveal()
}

// Ref returns where the credential came from, or the zero Ref for a literal.
func (c Credential) Ref() ref.Ref { return c.ref }

// Version returns the version of the KV v2 secret, or 0.
func (c Credential) Version() int { return c.version }

// Created returns when that version was written, or zero.
func (c Credential) Created() time.Time { return c.created }

// String returns where the credential came from.
func (c Credential) String() string {
	switch {
	case c.reveal == nil:
		return "[none]"
	case c.ref.IsZero():
		return "[literal]"
	case c.version != 0 && c.ref.Version() == 0:
		return fmt.Sprintf("%s (version %d)", c.ref, c.version)
	}
	return c.ref.String()
}

// Format prints c.String() for every verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue returns c.String().
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON returns a mask, which decodes to an invalid [ref.Value].
func (Credential) MarshalJSON() ([]byte, error) { return []byte(`{"masked":"credential"}`), nil }
