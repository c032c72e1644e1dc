// Package reply says what a response means: an answer from Vault, a failure that may
// pass, or something that is not Vault.
//
//	failure := source.Judge(response, false)
//	…
//	answer, err := reply.Parse(response, &data)
//
// The words that it compares are in words.go, state.go and login.go. Start with [Source.Judge] and [Parse].
package reply

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/mask"
)

// Answer is an answer from Vault. Its status is 200, 204, or 4xx, whose meaning depends
// on the request.
type Answer struct {
	Status    int
	LeaseID   string
	MountType *string // of reads; nil before Vault 1.16 and on OpenBao
	Auth      *Auth
	Warnings  []string
	Errors    []string // with secrets masked
	CacheHit  bool     // a caching Vault Proxy sent X-Cache: HIT
	Malformed bool     // the data has a different form than the caller asked for
}

// Auth is the part of an answer that holds a new token.
type Auth struct {
	ClientToken   string   `json:"client_token"`
	Accessor      string   `json:"accessor"`
	LeaseDuration int64    `json:"lease_duration"` // seconds
	Renewable     bool     `json:"renewable"`
	NumUses       int      `json:"num_uses"`
	Type          string   `json:"token_type"`
	Policies      []string `json:"policies"`

	SecondFactor *struct{} `json:"mfa_requirement"` // nil if the token needs none
}

// envelope is the JSON around every answer from Vault.
type envelope struct {
	RequestID  string          `json:"request_id"`
	LeaseID    string          `json:"lease_id"`
	Data       any             `json:"data"` // a pointer to decode to
	Auth       *Auth           `json:"auth"`
	WrapInfo   *struct{}       `json:"wrap_info"`
	MountType  *string         `json:"mount_type"` // since Vault 1.16
	Warnings   texts           `json:"warnings"`
	Errors     texts           `json:"errors"`          // present in every failure, even if empty; then not nil
	ServerTime *jsontext.Value `json:"server_time_utc"` // of sys/health, whose answers have no request id
}

func (e *envelope) isFromVault() bool {
	return e.RequestID != "" || e.Errors != nil || e.ServerTime != nil || e.WrapInfo != nil
}

// Parse decodes an answer, and its data into what data points to, if that is not nil. If
// the data has another form, the answer is Malformed, and what data points to is undefined.
// The error is a *fault.Error.
func Parse(response *http.Response, data any) (*Answer, error) {
	defer response.Body.Close()
	answer := &Answer{Status: response.StatusCode, CacheHit: response.Header.Get("X-Cache") == "HIT"}
	if answer.Status == http.StatusNoContent {
		return answer, nil
	}
	body := inMemory(response.Body)
	if body == nil { // vault/api has put an error's body, which is in memory, into another type
		body, _ = io.ReadAll(response.Body) // cannot fail
	}
	if data == nil {
		data = &ignored{}
	}
	e := envelope{Data: data}
	err := decode(body, &e)
	if form, ok := errors.AsType[*json.SemanticError](err); ok && jsontext.Pointer("/data").Contains(form.JSONPointer) {
		answer.Malformed = true
		e = envelope{Data: &ignored{}}
		err = decode(body, &e)
	}
	if err != nil {
		return nil, NotVault("status " + strconv.Itoa(answer.Status) + ", not the JSON of an answer")
	}
	if e.WrapInfo != nil {
		return nil, wrapped("vault")
	}
	answer.LeaseID, answer.MountType, answer.Auth = e.LeaseID, e.MountType, e.Auth
	answer.Warnings, answer.Errors = e.Warnings, e.Errors
	return answer, nil
}

// decode decodes JSON. Its package is the encoding/json/v2 of Go 1.27, which takes half the
// time of encoding/json for an answer. It compares names exactly, takes the last of two
// members with one name, and puts U+FFFD in place of invalid text.
func decode(text []byte, into any) error {
	return json.Unmarshal(text, into, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// ignored takes any JSON.
type ignored struct{}

// UnmarshalJSON never fails.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

// HasData reports whether an answer in memory has the form of Vault's, and data.
func HasData(response *http.Response) bool {
	var data map[string]any
	e := envelope{Data: &data}
	return decode(inMemory(response.Body), &e) == nil && e.RequestID != "" && len(data) > 0
}

// IsStandby reports whether an answer of sys/health in memory is that of a standby.
func IsStandby(response *http.Response) bool {
	return bytes.Contains(inMemory(response.Body), []byte(`"standby":true`))
}

// inMemory returns the bytes of a body in memory, and nil for any other body.
func inMemory(body io.Reader) []byte {
	if held, ok := body.(interface{ Bytes() []byte }); ok {
		return held.Bytes()
	}
	return nil
}

// Ok reports whether the request succeeded.
func (a *Answer) Ok() bool { return a.Status == http.StatusOK || a.Status == http.StatusNoContent }

// NoMount reports whether there is no mount at the path.
func (a *Answer) NoMount() bool { return says(a.Errors, noMount) }

// ReadAsV1 reports whether a mount of KV v2 was read as one of v1.
func (a *Answer) ReadAsV1() bool { return says(a.Warnings, readAsV1) }

// Words returns Vault's own errors in one line.
func (a *Answer) Words() string { return mask.Line(strings.Join(a.Errors, "; ")) }

// Refusal says why Vault answered 403.
type Refusal int

const (
	NotRefused   Refusal = iota
	ByPolicy             // no policy grants the request; before Vault 1.16 and on OpenBao, perhaps a dead token
	InOtherWords         // not Vault's words for a denial: it may be a proxy's
	DeadToken            // expired, revoked, used up, or never valid
	BareDenial           // not allowed from this address, a disabled entity, or no token; before 1.17 and on OpenBao, perhaps a dead token
)

// IsOfToken reports whether Vault refuses the token itself, not just the request.
func (r Refusal) IsOfToken() bool { return r == DeadToken || r == BareDenial }

// Refusal returns the meaning of a 403, which only its text shows.
func (a *Answer) Refusal() Refusal {
	switch {
	case a.Status != http.StatusForbidden:
		return NotRefused
	case says(a.Errors, invalidToken):
		return DeadToken
	case len(a.Errors) == 1 && a.Errors[0] == permissionDenied.words:
		return BareDenial
	case says(a.Errors, permissionDenied):
		return ByPolicy
	}
	return InOtherWords
}

// DenialWords returns Vault's own words about a denial, if they say more than "permission
// denied", as those of a Sentinel policy do.
func (a *Answer) DenialWords() string {
	if len(a.Errors) == 1 && plainDenial.MatchString(a.Errors[0]) {
		return ""
	}
	return a.Words()
}

// plainDenial matches a denial that holds only Vault's standard words.
var plainDenial = regexp.MustCompile(`^(\d+ errors? occurred:\s*)?(\*?\s*(permission denied|invalid token)\s*)+$`)

// ResponseError returns the answer as vault/api's error, for the cause of a fault. It
// returns nil if the answer is not an error.
func (a *Answer) ResponseError() error {
	if a.Status < 400 {
		return nil
	}
	return &api.ResponseError{StatusCode: a.Status, Errors: a.Errors}
}
