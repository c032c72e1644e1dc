package client

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/walk"
)

// Answer is what Vault said. Its status is 200, 204, or one of the 400s that
// the sender of the request has to make sense of.
type Answer struct {
	Status    int
	Refusal   Refusal // why it is 403
	LeaseID   string
	BadData   bool // its data is of another form than what the request has for it
	Auth      *Auth
	MountType string // of reads; empty before Vault 1.16 and on OpenBao
	Modern    bool   // Vault 1.16 or newer, as far as the answer shows
	Warnings  []string
	Errors    []string
	Index     string // X-Vault-Index, of performance standbys
	CacheHit  bool   // X-Cache: HIT, of a caching Vault Proxy
	Health    Health // of sys/health alone
}

// Health is what sys/health tells without a token.
type Health struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`
	Enterprise  bool   `json:"enterprise"`
	ServerTime  int64  `json:"server_time_utc"` // seconds since 1970
	Version     string `json:"version"`         // may be redacted
}

// Auth is the part of an answer that hands out a token.
type Auth struct {
	ClientToken   string    `json:"client_token"`
	Accessor      string    `json:"accessor"`
	LeaseDuration int64     `json:"lease_duration"` // seconds
	Renewable     bool      `json:"renewable"`
	NumUses       int       `json:"num_uses"`
	Type          string    `json:"token_type"`
	Policies      []string  `json:"policies"`
	MFA           *struct{} `json:"mfa_requirement"` // nil where none is asked for
}

// envelope is the JSON around every answer of Vault.
type envelope struct {
	data      any // where the data goes; nil if nobody wants it
	requestID string
	leaseID   string
	auth      *Auth
	wrapped   bool
	mountType *string // there since Vault 1.16, and empty in the answers to logins
	warnings  []string
	errors    []string
	failed    bool // it has errors, if only an empty list
	health    bool // it is of sys/health, which has no request id
}

// UnmarshalJSONFrom reads the envelope and, in the same pass, the data.
func (e *envelope) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return walk.Object(d, func(name []byte) error {
		switch string(name) {
		case "request_id":
			return walk.Text(d, &e.requestID)
		case "lease_id":
			return walk.Text(d, &e.leaseID)
		case "data":
			if into, ok := e.data.(json.UnmarshalerFrom); ok {
				return into.UnmarshalJSONFrom(d)
			} else if e.data != nil {
				return json.UnmarshalDecode(d, e.data)
			}
		case "auth":
			return walk.Other(d, &e.auth)
		case "wrap_info":
			return walk.Present(d, &e.wrapped)
		case "mount_type":
			e.mountType = new(string)
			return walk.Text(d, e.mountType)
		case "warnings":
			return walk.Other(d, &e.warnings)
		case "errors":
			e.failed = d.PeekKind() != jsontext.KindNull
			return walk.Other(d, &e.errors)
		case "server_time_utc":
			return walk.Present(d, &e.health)
		}
		return d.SkipValue()
	})
}

// open reads the envelope, and what is in it if that has the form of data.
func open(body []byte, data any) (e envelope, badData bool, err error) {
	e.data = data
	if err = json.Unmarshal(body, &e); err == nil || data == nil {
		return e, false, err
	}
	e = envelope{}
	err = json.Unmarshal(body, &e)
	return e, true, err
}

// understand turns the response to a request into an answer or a fault. It is
// the one table of what Vault, and what stands in its place, answers to
// anything.
func (c *Client) understand(r Request, response *http.Response, body []byte) (*Answer, *fault.Error) {
	status := response.StatusCode
	if len(body) > maxAnswer {
		return nil, fault.New(fault.BadResponse, "the answer of "+c.Address()+" is larger than 4 MiB", "store smaller values in Vault")
	}
	if status == http.StatusNoContent {
		return &Answer{Status: status}, nil
	}
	if 300 <= status && status < 400 {
		return nil, c.redirected(response)
	}
	if !isJSON(response) {
		return nil, c.notVault(response, body)
	}
	e, badData, err := open(body, r.Data)
	if err == nil && e.health {
		answer := &Answer{Status: status}
		json.Unmarshal(body, &answer.Health)
		answer.Health.Version = shownVersion(answer.Health.Version)
		return answer, nil
	}
	if err != nil || e.requestID == "" && !e.failed {
		return nil, c.notVault(response, body)
	}
	if e.wrapped {
		return nil, fault.New(fault.BadResponse, c.Address()+" wraps its answers", "take the wrapping out of the proxy before Vault, or the policy's min_wrapping_ttl away")
	}
	answer := &Answer{
		Status:   status,
		LeaseID:  e.leaseID,
		BadData:  badData,
		Auth:     e.auth,
		Modern:   e.mountType != nil,
		Warnings: c.masked(e.warnings),
		Errors:   e.errors,
		Index:    response.Header.Get("X-Vault-Index"),
		CacheHit: response.Header.Get("X-Cache") == "HIT",
	}
	if e.mountType != nil {
		answer.MountType = fault.Words(c.Mask(*e.mountType))
	}
	// Vault's words are read before a short secret can cut them to pieces.
	f := unwell(response, answer)
	answer.Refusal = refusal(answer)
	answer.Errors = c.masked(answer.Errors)
	if f != nil {
		f.Detail = strings.TrimPrefix(answer.Words()+" at "+c.Address(), " at ")
		f.Cause = answer.ResponseError(response.Request)
		return nil, f
	}
	return answer, nil
}

// unwell is the fault of a Vault that cannot answer now, without its words; nil
// if it did answer.
func unwell(response *http.Response, answer *Answer) *fault.Error {
	if answer.Ok() || answer.Status == http.StatusNotFound || answer.Status == http.StatusForbidden {
		return nil
	}
	f := &fault.Error{Retry: fault.Later}
	switch status := answer.Status; {
	case status == http.StatusTooManyRequests:
		f = tooMany(response)
	case status == http.StatusPreconditionFailed:
		f.Kind, f.What, f.Do, f.Unsent = fault.ServerError, "vault does not answer yet", "check how far this performance standby lags behind", true
		if !answer.says(missingIndex) {
			f.What, f.Do, f.Retry = "vault or the proxy before it refuses the request", "check what the proxy demands of requests", fault.Never
		}
	case status == http.StatusServiceUnavailable && answer.says(sealed):
		f.Kind, f.What, f.Do, f.Unsent = fault.Sealed, "vault is sealed or not initialised", "unseal it: vault operator unseal", true
	case status >= 500 && answer.says(notActive...):
		f.Kind, f.What, f.Do, f.Unsent = fault.NoActiveNode, "vault has no active node", "check the cluster: vault operator raft list-peers", true
	case status >= 500:
		f.Kind, f.What, f.Do = fault.ServerError, "vault answers "+strconv.Itoa(status), "see Vault's own log; a full or missing audit device is a common cause"
	case status == http.StatusBadRequest && answer.says(upgrading):
		f.Kind, f.What, f.Do = fault.ServerError, "vault upgrades this mount to KV version 2", "wait until it is done"
	default:
		return nil
	}
	return f
}

// tooMany is the fault of a refusal with 429, whoever it came from.
func tooMany(response *http.Response) *fault.Error {
	return &fault.Error{
		Kind: fault.RateLimited, Retry: fault.Paced, Unsent: true,
		What:       "vault allows no more requests for now",
		Do:         "raise its rate limit quota, or set VAULT_RATE_LIMIT on the Patch server",
		RetryAfter: retryAfter(response.Header.Get("Retry-After")),
	}
}

// redirected is the fault of a redirect. None is followed: a token goes to no
// host but the configured one.
func (c *Client) redirected(response *http.Response) *fault.Error {
	target := "elsewhere"
	if u, err := response.Location(); err == nil && u.Host != "" {
		target = fault.Words(c.Mask(u.Scheme + "://" + u.Host))
	}
	if response.StatusCode == http.StatusTemporaryRedirect {
		// Any standby answers so for seconds while the leader changes.
		return &fault.Error{
			Kind: fault.NoActiveNode, Retry: fault.Later, Unsent: true,
			What:   "this vault node is a standby and cannot forward requests",
			Detail: c.Address() + " redirects to " + target,
			Do:     "mend the cluster's cluster_addr, or set the address of a balancer or of the active node",
		}
	}
	return &fault.Error{
		Kind:   fault.BadResponse,
		What:   "the address redirects",
		Detail: strconv.Itoa(response.StatusCode) + " at " + c.Address() + " to " + target,
		Do:     "set the address of Vault itself: redirects are not followed",
	}
}

// notVault is the fault of whatever answers in Vault's place. It says nothing
// of the body.
func (c *Client) notVault(response *http.Response, body []byte) *fault.Error {
	if expectsHTTPS(body) {
		return &fault.Error{Kind: fault.TLS, What: "the server at " + c.Address() + " expects https", Do: "write https in the address", Fix: "write https in the address"}
	}
	contentType, _, err := mime.ParseMediaType(c.Mask(response.Header.Get("Content-Type")))
	if err != nil {
		contentType = "no content type"
	}
	detail := "status " + strconv.Itoa(response.StatusCode) + ", " + fault.Words(contentType) + " at " + c.Address()
	if response.StatusCode == http.StatusTooManyRequests {
		f := tooMany(response)
		f.What, f.Do, f.Detail = "the proxy before vault allows no more requests for now", "raise its limit, or set VAULT_RATE_LIMIT on the Patch server", detail
		return f
	}
	f := &fault.Error{
		Kind:   fault.BadResponse,
		What:   "the answer is not Vault's",
		Detail: detail,
		Do:     "check the address, and the proxy or balancer before Vault",
	}
	if response.StatusCode >= 500 {
		f.Retry = fault.Later // a balancer whose nodes are away for a moment
	}
	return f
}

func isJSON(response *http.Response) bool {
	mediaType := response.Header.Get("Content-Type")
	if mediaType != "application/json" { // as Vault itself writes it
		mediaType, _, _ = mime.ParseMediaType(mediaType)
	}
	return mediaType == "application/json" && response.Header.Get("Content-Encoding") == ""
}

// retryAfter reads seconds or a date. The caller bounds it; it is 0 only where
// the header is not there, or says nothing.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return max(time.Duration(min(seconds, 24*60*60))*time.Second, 1)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at), 1)
	}
	return 0
}

// shownVersion is a version if it looks like one: it is shown in the UI, and a
// hostile server could write anything there.
func shownVersion(text string) string {
	if len(text) > 40 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_") != "" {
		return ""
	}
	return text
}

// Words are Vault's own errors, fit for a log line.
func (a *Answer) Words() string { return fault.Words(strings.Join(a.Errors, "; ")) }

// ResponseError is the answer as vault/api would report it, for the cause of
// an error. It is nil if Vault reported none.
func (a *Answer) ResponseError(request *http.Request) error {
	if a.Status < 400 {
		return nil
	}
	e := &api.ResponseError{StatusCode: a.Status, Errors: a.Errors}
	if request != nil {
		e.HTTPMethod, e.URL = request.Method, request.URL.String()
	}
	return e
}

// Ok reports whether Vault did what it was asked to.
func (a *Answer) Ok() bool { return a.Status == http.StatusOK || a.Status == http.StatusNoContent }

// Refusal says why Vault answered 403.
type Refusal int

const (
	NotRefused Refusal = iota
	ByPolicy           // no policy grants the request; before Vault 1.17, perhaps a dead token
	DeadToken          // expired, revoked, used up, or never valid
	BySource           // the token may not be used from here, or its entity is disabled
)

// refusal reads a 403. Vault has no code for it but its text.
func refusal(a *Answer) Refusal {
	switch {
	case a.Status != http.StatusForbidden:
		return NotRefused
	case a.says(invalidToken):
		return DeadToken
	case len(a.Errors) == 1 && a.Errors[0] == PermissionDenied:
		return BySource
	}
	return ByPolicy
}
