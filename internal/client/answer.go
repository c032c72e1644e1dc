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
)

// Answer is what Vault said. Its status is 200, 204, or one of the 400s that
// the sender of the request has to make sense of.
type Answer struct {
	Status    int
	RequestID string
	LeaseID   string
	Data      jsontext.Value
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
	ClientToken   string         `json:"client_token"`
	Accessor      string         `json:"accessor"`
	LeaseDuration int64          `json:"lease_duration"` // seconds
	Renewable     bool           `json:"renewable"`
	NumUses       int            `json:"num_uses"`
	Type          string         `json:"token_type"`
	Policies      []string       `json:"policies"`
	MFA           jsontext.Value `json:"mfa_requirement"`
}

// envelope is the JSON around every answer of Vault.
type envelope struct {
	RequestID string         `json:"request_id"`
	LeaseID   string         `json:"lease_id"`
	Data      jsontext.Value `json:"data"`
	Auth      *Auth          `json:"auth"`
	WrapInfo  jsontext.Value `json:"wrap_info"`
	MountType *string        `json:"mount_type"` // there since Vault 1.16, and empty in the answers to logins
	Warnings  []string       `json:"warnings"`
	Errors    *[]string      `json:"errors"`

	// Of sys/health, which has no request id.
	ServerTime *int64 `json:"server_time_utc"`
}

// understand turns a response into an answer or a fault. It is the one table
// of what Vault, and what stands in its place, answers to anything.
func (c *Client) understand(response *http.Response, body []byte, secrets []string) (*Answer, *fault.Error) {
	status := response.StatusCode
	if len(body) > maxAnswer {
		return nil, fault.New(fault.BadResponse, "the answer of "+c.Address()+" is larger than 4 MiB", "store smaller values in Vault")
	}
	if status == http.StatusNoContent {
		return &Answer{Status: status}, nil
	}
	if 300 <= status && status < 400 {
		return nil, c.redirected(response, secrets)
	}
	var e envelope
	isJSON := isJSON(response) && json.Unmarshal(body, &e) == nil
	if isJSON && e.ServerTime != nil {
		answer := &Answer{Status: status}
		json.Unmarshal(body, &answer.Health)
		return answer, nil
	}
	if !isJSON || e.RequestID == "" && e.Errors == nil {
		return nil, c.notVault(response, body, secrets)
	}
	if len(e.WrapInfo) > 0 && e.WrapInfo.Kind() != jsontext.KindNull {
		return nil, fault.New(fault.BadResponse, c.Address()+" wraps its answers", "take the wrapping out of the proxy before Vault, or the policy's min_wrapping_ttl away")
	}
	answer := &Answer{
		Status:    status,
		RequestID: e.RequestID,
		LeaseID:   e.LeaseID,
		Data:      e.Data,
		Auth:      e.Auth,
		Modern:    e.MountType != nil,
		Warnings:  masked(e.Warnings, secrets),
		Index:     response.Header.Get("X-Vault-Index"),
		CacheHit:  response.Header.Get("X-Cache") == "HIT",
	}
	if e.MountType != nil {
		answer.MountType = *e.MountType
	}
	if e.Errors != nil {
		answer.Errors = *e.Errors
	}
	// Vault's words are read before a short secret can cut them to pieces.
	f := c.unwell(response, answer)
	answer.Errors = masked(answer.Errors, secrets)
	if f != nil {
		f.Detail = strings.TrimPrefix(answer.Words()+" at "+c.Address(), " at ")
		f.Cause = c.ResponseError(response.Request, answer)
		return nil, f
	}
	return answer, nil
}

// unwell is the fault of a Vault that cannot answer now, without its words; nil
// if it did answer.
func (c *Client) unwell(response *http.Response, answer *Answer) *fault.Error {
	if answer.Ok() || answer.Status == http.StatusNotFound || answer.Status == http.StatusForbidden {
		return nil
	}
	f := &fault.Error{Retry: fault.Later}
	switch status := answer.Status; {
	case status == http.StatusTooManyRequests:
		f.Kind, f.What, f.Do = fault.RateLimited, "vault allows no more requests for now", "raise its rate limit quota, or set VAULT_RATE_LIMIT on the Patch server"
		f.Retry, f.Unsent = fault.Paced, true
		f.RetryAfter = retryAfter(response.Header.Get("Retry-After"))
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

// redirected is the fault of a redirect. None is followed: a token goes to no
// host but the configured one.
func (c *Client) redirected(response *http.Response, secrets []string) *fault.Error {
	target := "elsewhere"
	if u, err := response.Location(); err == nil && u.Host != "" {
		target = fault.Words(mask(u.Scheme+"://"+u.Host, secrets))
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
func (c *Client) notVault(response *http.Response, body []byte, secrets []string) *fault.Error {
	if strings.HasPrefix(string(body[:min(len(body), 200)]), plainHTTP) {
		return &fault.Error{Kind: fault.TLS, What: "the server at " + c.Address() + " expects https", Do: "write https in the address"}
	}
	contentType, _, err := mime.ParseMediaType(mask(response.Header.Get("Content-Type"), secrets))
	if err != nil {
		contentType = "no content type"
	}
	f := &fault.Error{
		Kind:   fault.BadResponse,
		What:   "the answer is not Vault's",
		Detail: "status " + strconv.Itoa(response.StatusCode) + ", " + fault.Words(contentType) + " at " + c.Address(),
		Do:     "check the address, and the proxy or balancer before Vault",
	}
	if response.StatusCode >= 500 {
		f.Retry = fault.Later // a balancer whose nodes are away for a moment
	}
	return f
}

func isJSON(response *http.Response) bool {
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/json" && response.Header.Get("Content-Encoding") == ""
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

// masked cuts the secrets from texts of the server.
func masked(texts, secrets []string) []string {
	for i := range texts {
		texts[i] = mask(texts[i], secrets)
	}
	return texts
}

func mask(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[masked]")
		}
	}
	return text
}

// Words are Vault's own errors, fit for a log line.
func (a *Answer) Words() string { return fault.Words(strings.Join(a.Errors, "; ")) }

// ResponseError is the answer as vault/api would report it, for the cause of
// an error. It is nil if Vault reported none.
func (c *Client) ResponseError(request *http.Request, a *Answer) error {
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

// Refusal reads a 403. Vault has no code for it but its text.
func (a *Answer) Refusal() Refusal {
	switch {
	case a.Status != http.StatusForbidden:
		return NotRefused
	case a.says(invalidToken):
		return DeadToken
	case len(a.Errors) == 1 && a.Errors[0] == permissionDenied:
		return BySource
	}
	return ByPolicy
}
