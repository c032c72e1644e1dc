package resolver

import (
	"errors"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// Problem describes an error, or none if Kind is OK. Its JSON is for the UI.
type Problem struct {
	Kind   Kind         `json:"kind"`
	Ref    ref.Ref      `json:"reference,omitzero"` // zero if there is none, or it is malformed
	Part   string       `json:"part,omitempty"`     // of a malformed field; see ref.SyntaxError
	Offset *int         `json:"offset,omitempty"`   // of a malformed field, in bytes
	Reason string       `json:"reason,omitempty"`   // what is wrong
	Fix    string       `json:"fix,omitempty"`      // what to do
	Faults []auth.Fault `json:"faults,omitempty"`   // in the settings, one by one; Fix holds them all
	Text   string       `json:"-"`                  // the complete error, for the agent's log alone
}

// outcome is the kind and the complete error or, after decoding, what the UI may show of it.
func (p Problem) outcome() string {
	switch {
	case p.Kind == OK:
		return string(OK)
	case p.Text != "":
		return string(p.Kind) + ": " + p.Text
	}
	return string(p.Kind) + ": " + p.shown()
}

// shown is what the UI may show of the error.
func (p Problem) shown() string {
	if p.Offset != nil {
		syntax := ref.SyntaxError{Part: p.Part, Offset: *p.Offset, Reason: p.Reason, Fix: p.Fix}
		return syntax.Error()
	}
	return p.Reason + "; " + p.Fix
}

// problemOf describes an error; nil means OK.
func problemOf(err error, r ref.Ref) Problem {
	if err == nil {
		return Problem{Kind: OK, Ref: r}
	}
	p := Problem{Kind: kindOf(err), Ref: r, Reason: "canceled", Fix: "try again", Text: err.Error()}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		p.Reason, p.Fix = f.ForUI()
		if syntax, ok := errors.AsType[*ref.SyntaxError](f.Cause); ok {
			p.Part, p.Offset, p.Reason = syntax.Part, &syntax.Offset, syntax.Reason
		}
		if joined, ok := f.Cause.(interface{ Unwrap() []error }); ok {
			for _, cause := range joined.Unwrap() {
				if one, ok := cause.(auth.Fault); ok {
					p.Faults = append(p.Faults, one)
				}
			}
		}
	}
	return p
}
