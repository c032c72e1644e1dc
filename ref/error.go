package ref

import "fmt"

// SyntaxError says what is wrong with a field. It never contains text from the
// field, because a mistyped reference may be a mistyped password.
type SyntaxError struct {
	Part   string `json:"part"`   // PartField, PartPath, PartKey or PartVersion
	Offset int    `json:"offset"` // in bytes, in the decoded string or object member
	Reason string `json:"reason"` // what is wrong; never empty
	Fix    string `json:"fix"`    // what to write instead; never empty
}

// The parts of a field.
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
