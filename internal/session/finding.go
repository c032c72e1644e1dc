package session

// Finding is something that a person should know or do, though nothing has
// failed by it.
type Finding struct {
	Code   string
	Text   string // fit for the UI
	Detail string // for the agent's log alone; may be empty
	Notice bool   // it may well be meant so; else it is a warning
}

// The codes of what a use of Vault finds. Package resolver documents each where
// callers find it.
const (
	SkipVerify      = "skip_verify"
	PlainHTTP       = "plain_http"
	FileExposed     = "file_exposed"
	TokenExpires    = "token_expires"
	TokenUnknown    = "token_unknown"
	TokenNotRenewed = "token_not_renewed"
	TokenNotRevoked = "token_not_revoked"
	BrokenOff       = "broken_off"
)
