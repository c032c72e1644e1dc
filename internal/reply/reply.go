// Package reply says what a response means: an answer from Vault, a failure that may
// pass, or something that is not Vault.
//
//	failure := reply.Judge(response.StatusCode, response.Header, body, source)
//	…
//	answer, fault := reply.Parse(response, &data)
//
// The words that it compares are in words.go. Start with [Source.Judge] and [Parse].
package reply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/patience"
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
	Malformed bool     // the data has another form than the caller asked for
}

// Auth is the part of an answer that holds a new token.
type Auth struct {
	ClientToken   string    `json:"client_token"`
	Accessor      string    `json:"accessor"`
	LeaseDuration int64     `json:"lease_duration"` // seconds
	Renewable     bool      `json:"renewable"`
	NumUses       int       `json:"num_uses"`
	Type          string    `json:"token_type"`
	Policies      []string  `json:"policies"`
	MFA           *struct{} `json:"mfa_requirement"` // nil if no second factor is required
}

// envelope is the JSON around every answer from Vault.
type envelope struct {
	RequestID  string           `json:"request_id"`
	LeaseID    string           `json:"lease_id"`
	Data       any              `json:"data"` // a pointer to decode to
	Auth       *Auth            `json:"auth"`
	WrapInfo   *struct{}        `json:"wrap_info"`
	MountType  *string          `json:"mount_type"` // since Vault 1.16
	Warnings   []string         `json:"warnings"`
	Errors     *[]string        `json:"errors"`          // present in every failure, even if empty
	ServerTime *json.RawMessage `json:"server_time_utc"` // of sys/health, whose answers have no request id
}

func (e *envelope) isVaults() bool {
	return e.RequestID != "" || e.Errors != nil || e.ServerTime != nil || e.WrapInfo != nil
}

func (e *envelope) errors() []string {
	if e.Errors == nil {
		return nil
	}
	return *e.Errors
}

// Source says where a response came from, for texts.
type Source struct {
	Address string        // of Vault, as in the settings
	Proxy   string        // variable of the proxy that can answer in Vault's place; empty if there is none
	Sent    *mask.Secrets // masked in texts
}

// Judge returns why a response is not an answer, or nil. Of the body, the fault holds
// only Vault's own errors, with secrets masked.
func (s Source) Judge(status int, header http.Header, body []byte) *patience.Failure {
	switch {
	case status == http.StatusNoContent:
		return nil
	case 300 <= status && status < 400:
		return s.redirected(status, header)
	case !isJSON(header):
		return s.notVault(status, header, body)
	case status == http.StatusOK && bytes.HasPrefix(body, []byte(`{"request_id":"`)) && !bytes.HasPrefix(body, []byte(`{"request_id":""`)):
		// Vault's own form. Parse looks at the rest.
		return nil
	}
	var e envelope
	if json.Unmarshal(body, &e) != nil || !e.isVaults() {
		return s.notVault(status, header, body)
	}
	if e.WrapInfo != nil {
		return permanent(s.wrapped())
	}
	return s.unwell(status, header, e.errors())
}

// unwell is the failure of a Vault that cannot answer now or would refuse the request
// again; nil if it did answer.
func (s Source) unwell(status int, header http.Header, errors []string) *patience.Failure {
	f := &fault.Error{Detail: s.said(errors), Cause: s.responseError(status, errors)}
	failure := &patience.Failure{Fault: f, Retry: patience.Later}
	switch {
	case status == http.StatusTooManyRequests:
		return s.tooMany(header, "vault is rate limiting the agent", "raise Vault's rate limit quota, or set VAULT_RATE_LIMIT on the Patch server", f.Detail)
	case status == http.StatusPreconditionFailed && says(errors, missingIndex):
		f.Kind, f.What, f.Do = fault.ServerError, "vault does not answer yet", "check how far this performance standby lags behind"
		failure.Unsent = true
	case status == http.StatusPreconditionFailed:
		f.Kind, f.What, f.Do = fault.ServerError, "vault or the proxy before it refuses the request", "check what headers the proxy requires"
		failure.Retry, failure.Unsent = patience.Never, true
	case (says(errors, vaultSealed) || says(errors, namespaceSealed...)) && (status == http.StatusForbidden || status >= 500):
		f.Kind, f.What, f.Do = fault.Sealed, "vault is sealed or not initialized", "unseal it: vault operator unseal (only a new Vault needs vault operator init first)"
		if says(errors, namespaceSealed...) {
			f.What, f.Do = "the namespace is sealed or locked", "unseal or unlock the namespace in Vault"
			f.Fix = f.Do
		}
		failure.Unsent = true
	case status >= 500 && says(errors, notActive...):
		f.Kind, f.What, f.Do = fault.NoActiveNode, "vault has no active node", "check the cluster: vault operator raft list-peers"
		failure.Unsent = true
	case status >= 500 && says(errors, badToken...):
		f.Kind, f.What, f.Do = fault.Token, "vault does not know the token's namespace or cannot read the token", "check that the token is one of this Vault, without quotes or other characters around it, and replace it if not"
		failure.Retry = patience.Never
	case status >= 500 && says(errors, loginFault...):
		f.Kind, f.What = fault.Login, "vault cannot process the login"
		failure.Retry = patience.Never
	case status >= 500:
		f.Kind, f.What, f.Do = fault.ServerError, "vault answers "+strconv.Itoa(status), "see Vault's own log; a full or missing audit device is a common cause"
	case status == http.StatusBadRequest && says(errors, upgrading...):
		f.Kind, f.What, f.Do = fault.ServerError, "vault is upgrading this mount to KV v2", "wait until it is done"
	case status == http.StatusNotFound && says(errors, noNamespace):
		f.Kind, f.What, f.Do = fault.Settings, "vault has no such namespace", "correct namespace in the settings"
		f.Fix = "correct namespace: Vault has none of this name"
		failure.Retry = patience.Never
		failure.Fault = f.OfRun()
	default:
		return nil
	}
	return failure
}

// IsInternalError reports whether the failure is a bare internal error of Vault. Its
// cause may be a token or credential that Vault cannot parse, or a dead audit device.
func IsInternalError(f *patience.Failure) bool {
	answer, ok := f.Fault.Cause.(*api.ResponseError)
	return ok && f.Fault.Kind == fault.ServerError && answer.StatusCode == http.StatusInternalServerError && says(answer.Errors, internalError)
}

// tooMany is the failure for status 429 from Vault or a proxy.
func (s Source) tooMany(header http.Header, what, do, detail string) *patience.Failure {
	return &patience.Failure{
		Fault: &fault.Error{Kind: fault.RateLimited, What: what, Detail: detail, Do: do},
		Retry: patience.Paced, Unsent: true, RetryAfter: retryAfter(header.Get("Retry-After")),
	}
}

// redirected is the failure for a redirect. Redirects are not followed, so that tokens
// go to the configured host alone.
func (s Source) redirected(status int, header http.Header) *patience.Failure {
	target := "elsewhere"
	do, fix := "set the address of Vault itself: redirects are not followed", ""
	isStandby := status == http.StatusTemporaryRedirect // standbys answer so for seconds while the leader changes
	if base, err := http.NewRequest(http.MethodGet, s.Address, nil); err == nil {
		if u, err := (&http.Response{Header: header, Request: base}).Location(); err == nil && u.Host != "" {
			target = s.Sent.Words(u.Scheme + "://" + u.Host)
			isHere := u.Host == base.URL.Host
			switch {
			case isHere && !strings.Contains(u.Path, "/v1/"):
				// Vault answers so to a path outside of its API.
				isStandby = false
				if strings.Trim(base.URL.Path, "/") != "" {
					do, fix = "omit "+base.URL.Path+" from the address, unless a proxy there adds it", "omit the path from the address"
				}
			case u.Scheme == "https" && base.URL.Scheme == "http" && u.Hostname() == base.URL.Hostname():
				do, fix = "use https in the address: redirects are not followed", "use https in the address"
			}
		}
	}
	if isStandby {
		return &patience.Failure{Retry: patience.Later, Unsent: true, Fault: &fault.Error{
			Kind: fault.NoActiveNode, What: "this vault node is a standby and cannot forward requests",
			Detail: s.Address + " redirects to " + target,
			Do:     "fix the cluster's cluster_addr, or set the address of a balancer or of the active node",
		}}
	}
	return permanent(&fault.Error{
		Kind: fault.BadResponse, What: "the address redirects",
		Detail: strconv.Itoa(status) + " at " + s.Address + " to " + target,
		Do:     do, Fix: fix,
	})
}

// notVault is the failure for a response that is not Vault's. It shows nothing of the
// body.
func (s Source) notVault(status int, header http.Header, body []byte) *patience.Failure {
	start := []string{string(body[:min(len(body), 4<<10)])}
	switch {
	case status == http.StatusBadRequest && says(start, expectsHTTPS...):
		return permanent(&fault.Error{Kind: fault.TLS, What: "the server at " + s.Address + " expects https", Do: "use https in the address", Fix: "use https in the address"})
	case status == http.StatusBadRequest && says(start, wantsCertificate...):
		return permanent(&fault.Error{Kind: fault.TLS, What: "the server at " + s.Address + " demands a client certificate that it accepts", Do: "set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to one"})
	}
	contentType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		contentType = "no content type"
	}
	detail := "status " + strconv.Itoa(status) + ", " + s.Sent.Words(contentType)
	if encoding := encodingOf(header); encoding != "" {
		detail += ", content encoding " + s.Sent.Words(encoding)
	}
	detail += " at " + s.Address
	if status == http.StatusTooManyRequests {
		return s.tooMany(header, "the proxy before vault is rate limiting the agent", "raise its limit, or set VAULT_RATE_LIMIT on the Patch server", detail)
	}
	failure := permanent(&fault.Error{
		Kind: fault.BadResponse, What: "the server is not Vault, or a proxy interferes", Detail: detail,
		Do: "check the address, and the proxy or balancer before Vault",
	})
	if s.Proxy != "" {
		failure.Fault.Do = "check the address, and " + s.Proxy + " on the Patch server with the credentials in it: the proxy there may have answered in Vault's place"
	}
	if status >= 500 {
		failure.Retry = patience.Later // a balancer whose nodes are down for a moment
	}
	return failure
}

// IsProxyRefusal reports whether the failure may come from a proxy that limits the rate
// with status 503, as nginx's limit_req does by default.
func IsProxyRefusal(status int, f *patience.Failure) bool {
	return status == http.StatusServiceUnavailable && f.Fault.Kind == fault.BadResponse
}

func (s Source) wrapped() *fault.Error {
	return fault.New(fault.BadResponse, s.Address+" wraps its answers", "remove wrapping from the proxy before Vault, and min_wrapping_ttl from the policy")
}

func permanent(f *fault.Error) *patience.Failure { return &patience.Failure{Fault: f} }

// said is Vault's errors and address, for texts.
func (s Source) said(errors []string) string {
	words := s.Sent.Words(strings.Join(few(errors), "; "))
	if words == "" {
		return s.Address
	}
	return words + " at " + s.Address
}

func (s Source) responseError(status int, errors []string) error {
	return &api.ResponseError{StatusCode: status, Errors: s.masked(errors)}
}

// masked returns the texts without the secrets in them.
func (s Source) masked(texts []string) []string {
	masked := slices.Clone(few(texts))
	for i, text := range masked {
		masked[i] = s.Sent.Text(text)
	}
	return masked
}

const (
	maxTexts = 32
	maxWords = 4 << 10 // bytes of all texts
)

// few returns the texts of an answer that are used, and drops the rest. Vault sends one
// or two; another server could send a million.
func few(texts []string) []string {
	texts = texts[:min(len(texts), maxTexts)]
	left := maxWords
	for i, text := range texts {
		// The last one is cut later, where secrets are masked: that also masks the
		// start of a secret at its end.
		if left -= len(text); left < 0 {
			return texts[:i+1]
		}
	}
	return texts
}

// MaskErrors masks secrets in the errors and warnings of a body of status 400 or more.
func (s Source) MaskErrors(body []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return body
	}
	changed := false
	for name, value := range members {
		// encoding/json ignores the case of names, here and in vault/api.
		if !strings.EqualFold(name, "errors") && !strings.EqualFold(name, "warnings") {
			continue
		}
		var texts []string
		if json.Unmarshal(value, &texts) != nil {
			continue
		}
		if masked := s.masked(texts); !slices.Equal(masked, texts) {
			members[name], _ = json.Marshal(masked)
			changed = true
		}
	}
	if !changed {
		return body
	}
	masked, err := json.Marshal(members)
	if err != nil {
		return body
	}
	return masked
}

// largeAnswer is the size from which answers are decoded one at a time: many small keys
// take ten times the memory of their JSON.
const largeAnswer = 256 << 10

var decodingLarge sync.Mutex

// Parse decodes an answer, and its data into what data points to. If the data has
// another form, the answer is Malformed, and what data points to is undefined.
func Parse(response *api.Response, data any) (*Answer, *fault.Error) {
	defer response.Body.Close()
	answer := &Answer{Status: response.StatusCode, CacheHit: response.Header.Get("X-Cache") == "HIT"}
	if answer.Status == http.StatusNoContent {
		return answer, nil
	}
	body, err := bytesOf(response.Body)
	if len(body) > largeAnswer {
		decodingLarge.Lock()
		defer decodingLarge.Unlock()
	}
	e := envelope{Data: data}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if form, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && (form.Field == "data" || strings.HasPrefix(form.Field, "data.")) {
		answer.Malformed, err = true, nil // encoding/json has decoded the rest
	}
	if err != nil {
		f := unreadable()
		f.Detail = "status " + strconv.Itoa(answer.Status) + ", not the JSON of an answer"
		return nil, f
	}
	if e.WrapInfo != nil {
		return nil, fault.New(fault.BadResponse, "vault wraps its answers", "remove wrapping from the proxy before Vault, and min_wrapping_ttl from the policy")
	}
	answer.LeaseID, answer.MountType, answer.Auth = e.LeaseID, e.MountType, e.Auth
	answer.Warnings, answer.Errors = e.Warnings, e.errors()
	return answer, nil
}

// TellsMountType reports whether an answer in memory comes from Vault 1.16 or newer,
// whose answers end with the type of the mount.
func TellsMountType(response *http.Response) bool {
	inMemory, ok := response.Body.(interface{ Bytes() []byte })
	return ok && bytes.Contains(inMemory.Bytes()[max(0, len(inMemory.Bytes())-80):], []byte(`"mount_type":`))
}

// bytesOf returns the whole body, without copying one that is in memory.
func bytesOf(body io.Reader) ([]byte, error) {
	if inMemory, ok := body.(interface{ Bytes() []byte }); ok {
		return inMemory.Bytes(), nil
	}
	return io.ReadAll(body)
}

// Optional decodes JSON of the form of T. Any other JSON is not an error, but sets Ok to
// false.
type Optional[T any] struct {
	Value T
	Ok    bool
}

// UnmarshalJSON never fails.
func (o *Optional[T]) UnmarshalJSON(text []byte) error {
	o.Ok = json.Unmarshal(text, &o.Value) == nil
	return nil
}

func isJSON(header http.Header) bool {
	mediaType := header.Get("Content-Type")
	if mediaType != "application/json" { // Vault's own form
		mediaType, _, _ = mime.ParseMediaType(mediaType)
	}
	return mediaType == "application/json" && encodingOf(header) == ""
}

// encodingOf is the content encoding; empty for identity, which means none.
func encodingOf(header http.Header) string {
	encoding := strings.TrimSpace(header.Get("Content-Encoding"))
	if strings.EqualFold(encoding, "identity") {
		return ""
	}
	return encoding
}

// retryAfter parses seconds or a date. It returns 0 only if the header is missing or
// malformed. The caller limits it.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return max(time.Duration(min(seconds, 24*60*60))*time.Second, 1)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at), 1)
	}
	return 0
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
	NotRefused Refusal = iota
	ByPolicy           // no policy grants the request; before Vault 1.17, perhaps a dead token
	DeadToken          // expired, revoked, used up, or never valid
	BareDenial         // not allowed from this address, a disabled entity, or no token; before 1.17 and on OpenBao, perhaps a dead token
)

// Refusal returns the meaning of a 403, which Vault tells by its text alone.
func (a *Answer) Refusal() Refusal {
	switch {
	case a.Status != http.StatusForbidden:
		return NotRefused
	case says(a.Errors, invalidToken):
		return DeadToken
	case len(a.Errors) == 1 && a.Errors[0] == permissionDenied.words:
		return BareDenial
	}
	return ByPolicy
}

// ResponseError returns the answer as vault/api's error, for the cause of a fault. It
// returns nil if the answer is no error.
func (a *Answer) ResponseError() error {
	if a.Status < 400 {
		return nil
	}
	return &api.ResponseError{StatusCode: a.Status, Errors: a.Errors}
}

// Read reads a path of Vault's API below /v1/, and decodes the data of the answer into
// what data points to. The error is a *fault.Error, or that of a context.
func Read(ctx context.Context, client *api.Client, path string, query url.Values, data any) (*Answer, error) {
	response, err := client.Logical().ReadRawWithDataWithContext(ctx, path, query)
	answer, err := answerIn(response, err, data)
	if err == nil && answer.Status == http.StatusNoContent {
		return nil, NoContent()
	}
	return answer, err
}

// Write sends a body as JSON to a path of Vault's API; see Read.
func Write(ctx context.Context, client *api.Client, path string, body, data any) (*Answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	response, err := client.Logical().WriteRawWithContext(ctx, path, text)
	return answerIn(response, err, data)
}

// answerIn returns the answer of a client's method. vault/api returns an error as well
// for answers of status 400 and more.
func answerIn(response *api.Response, err error, data any) (*Answer, error) {
	if response == nil {
		return nil, faultIn(err)
	}
	answer, f := Parse(response, data)
	if f != nil {
		return nil, f
	}
	return answer, nil
}

// faultIn returns the fault or the context's error in the error of a client's method.
func faultIn(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return ended
		}
	}
	return unreadable()
}

// NoContent is the fault for status 204 to a read or a login, which Vault never sends.
func NoContent() *fault.Error {
	f := unreadable()
	f.Detail = "status 204"
	return f
}

// NoAPI returns the fault for a server that knows neither the login nor the list of
// mounts, which every Vault has: the path of the address leads elsewhere. It returns nil
// for any other answer and for an address without a path.
func (a *Answer) NoAPI(address string) *fault.Error {
	u, err := url.Parse(address)
	if err != nil || strings.Trim(u.Path, "/") == "" || a.Status != http.StatusNotFound || len(a.Errors) > 0 {
		return nil
	}
	f := unreadable()
	f.Detail = "status 404 at " + address
	f.Do, f.Fix = "omit "+strings.TrimRight(u.Path, "/")+" from the address, unless a proxy there adds it", "omit the path from the address"
	return f.OfRun()
}

func unreadable() *fault.Error {
	return fault.New(fault.BadResponse, "the server is not Vault, or a proxy interferes", "check the address, and the proxy or balancer before Vault")
}
