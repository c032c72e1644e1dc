package auth

// Finding is something that a person should know or do, though nothing has
// failed by it.
type Finding struct {
	Code   string `json:"code"`             // stable, such as token_expires
	Text   string `json:"text"`             // what is so, and what to do about it; fit for the UI
	Notice bool   `json:"notice,omitempty"` // it may well be meant so; else it is a warning

	log string // in place of Text, where that leaves out what the UI may not show
}

// String is one line for a person.
func (f Finding) String() string {
	if f.Notice {
		return "notice: " + f.Text
	}
	return "warning: " + f.Text
}

// The codes of what a use of Vault finds. Package resolver has more.
const (
	SkipVerify      = "skip_verify"       // certificates are not verified
	PlainHTTP       = "plain_http"        // the way to Vault is not encrypted
	FileExposed     = "file_exposed"      // every user of the Patch server may read a credential
	TokenExpires    = "token_expires"     // a given token has less than 7 days to live
	TokenUnknown    = "token_unknown"     // a given token may not look at itself
	TokenNotRenewed = "token_not_renewed" // a given token could not be renewed
	TokenNotRevoked = "token_not_revoked" // the token that was logged in could not be revoked
)
