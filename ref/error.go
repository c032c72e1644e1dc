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

// at returns the same error at another offset.
func (e SyntaxError) at(offset int) *SyntaxError {
	e.Offset = offset
	return &e
}

const (
	emptySegment = "an empty segment"
	notUTF8      = "not valid UTF-8"
)

const (
	fixReference   = "write vault:PATH#KEY, such as vault:secret/luumen/windev#password"
	fixLiteral     = ", or write literal: before the whole field to use it as a literal"
	fixPath        = "write the mount and the path below it, such as secret/luumen/windev"
	fixKey         = "name the key in the secret, such as password"
	fixNamed       = "; if the key in Vault has it, rename the key in Vault"
	fixSpaceInPath = "remove the space; if the path in Vault has it, move the secret to another path"
	fixVersion     = "a version goes before the #, as in vault:secret/luumen/windev?version=3#password"
	fixUTF8        = "store the text as UTF-8"
	versions       = "a whole number from 1 to 9,999,999,999"
)

// badVersion is the error of a version outside the string form.
func badVersion() *SyntaxError {
	return &SyntaxError{PartVersion, 0, "not a version", "write " + versions + " without quotes, or omit the version"}
}
