package ref

import (
	"fmt"
	"log/slog"
)

const (
	mask        = "[masked]"  // what a secret prints as
	invalidMask = "[invalid " // what an invalid value begins with in print
)

// Secret is a text that prints as a mask under every verb, in slog, JSON and a
// failing test's diff. Reveal is the one way to the text. The zero Secret
// holds the empty text.
type Secret struct {
	// A func, because everything else can be printed through reflection: fmt
	// calls no method on an unexported field, and a diff follows pointers.
	reveal func() string
}

// NewSecret masks the text.
func NewSecret(text string) Secret {
	return Secret{func() string { return text }}
}

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// String returns the mask.
func (Secret) String() string { return mask }

// Format prints the mask, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, mask) }

// LogValue logs the mask.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText returns the mask.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// MarshalJSON returns {"masked":"secret"}, which decodes to an invalid [Value]:
// a mask that was stored by mistake never ends up as a password.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`{"masked":"secret"}`), nil }
