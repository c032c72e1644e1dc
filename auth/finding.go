package auth

import (
	"log/slog"
	"slices"
	"sync"
)

// Finding is a warning or a notice: something to know or to do, but no error.
type Finding struct {
	Code   string `json:"code"`             // such as TokenExpires; package resolver has more
	Text   string `json:"text"`             // what was found and what to do, for the UI
	Notice bool   `json:"notice,omitempty"` // it may be intended; false means a warning
	Detail string `json:"-"`                // the concrete cause, for the agent's log alone; may be empty
}

// The codes of findings. All are warnings except NamespaceNotPinned.
const (
	SkipVerify         = "skip_verify"          // certificates are not verified
	PlainHTTP          = "plain_http"           // the connection to Vault, or to the proxy, is not encrypted
	FileExposed        = "file_exposed"         // every user of the Patch server can read a credential, or write one or a certificate
	FileUnread         = "file_unread"          // a file in the folder of CAs cannot be read
	NamespaceNotPinned = "namespace_not_pinned" // paths are pinned, but the UI still chooses the namespace
	TokenExpires       = "token_expires"        // a given token expires soon
	TokenExpiryUnknown = "token_expiry_unknown" // the expiry of a given token is unknown
	TokenNotRenewed    = "token_not_renewed"    // a given token could not be renewed
	TokenTTLShort      = "token_ttl_short"      // the token expired repeatedly within a run
	TokenNotRevoked    = "token_not_revoked"    // a token of a login was not revoked
	NoAnswer           = "no_answer"            // the caller's context ended while Vault did not answer
)

// String returns one line, with the detail.
func (f Finding) String() string {
	text := f.Text
	if f.Detail != "" {
		text += " (" + f.Detail + ")"
	}
	if f.Notice {
		return "notice: " + text
	}
	return "warning: " + text
}

// LogValue returns f.String().
func (f Finding) LogValue() slog.Value { return slog.StringValue(f.String()) }

// findings collects findings, each once.
type findings struct {
	mu  sync.Mutex
	all []Finding
}

func (f *findings) add(finding Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.all, finding) {
		f.all = append(f.all, finding)
	}
}

func (f *findings) list() []Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}
