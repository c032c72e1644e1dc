package reply

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/patience"
)

// Source says where a response came from, for texts.
type Source struct {
	Address string        // of Vault, as in the settings
	Proxy   string        // variable of the proxy that can answer in Vault's place; empty if there is none
	Sent    *mask.Secrets // masked in texts
}

// Judge returns why a response in memory is not an answer, or nil. Of the body, the fault
// holds only Vault's own errors, with secrets masked. The errors of logins have words of
// their own.
func (s Source) Judge(response *http.Response, isLogin bool) *patience.Failure {
	status, body := response.StatusCode, inMemory(response.Body)
	switch {
	case status == http.StatusNoContent:
		return nil
	case 300 <= status && status < 400:
		return s.redirected(response)
	case !isJSON(response.Header), isGateways(status):
		return s.notVault(response)
	case status == http.StatusOK && bytes.HasPrefix(body, []byte(`{"request_id":"`)) && !bytes.HasPrefix(body, []byte(`{"request_id":""`)):
		// Vault's own form. Parse looks at the rest.
		return nil
	}
	e := envelope{Data: &ignored{}}
	if decode(body, &e) != nil || !e.isVaults() {
		return s.notVault(response)
	}
	if e.WrapInfo != nil {
		return permanent(wrapped(s.Address))
	}
	return s.unwell(response, e.Errors, isLogin)
}

// isGateways reports whether a status comes from a gateway in front of Vault, whatever the body.
func isGateways(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired || status == http.StatusUnavailableForLegalReasons
}

// MayBeAnswer reports whether a response with this failure may be the answer to a caller's
// request, which can have any form: a certificate, an error of ACME or of a plugin, or the
// health of a standby.
func (s Source) MayBeAnswer(response *http.Response, f *patience.Failure) bool {
	status, header, body := response.StatusCode, response.Header, inMemory(response.Body)
	e := envelope{Data: &ignored{}}
	isVaults := isJSON(header) && decode(body, &e) == nil && e.isVaults()
	switch {
	case isVaults && e.ServerTime != nil:
		return true
	case status/100 != 4 || f.Retry != patience.Never || f.Fault.Kind != fault.BadResponse:
		return status/100 == 2
	case isVaults:
		return true
	}
	// A page comes from a proxy. vault/api quotes the body in its error.
	isPage := isJSON(header) || !strings.HasPrefix(header.Get("Content-Type"), "application/")
	return !isPage && len(body) <= maxWords && !s.Sent.AreIn(string(body))
}

// unwell is the failure of a Vault that cannot answer now or would refuse the request
// again; nil if it did answer.
func (s Source) unwell(response *http.Response, errors []string, isLogin bool) *patience.Failure {
	status := response.StatusCode
	state := stateOf(status, errors, isLogin)
	if state == nil {
		return nil
	}
	f := state.fault
	f.Detail, f.Cause = s.said(errors), &api.ResponseError{StatusCode: status, Errors: s.masked(errors)}
	if f.What == "" {
		f.What = "vault answers " + strconv.Itoa(status)
	}
	return &patience.Failure{Fault: &f, Retry: state.retry, Unsent: state.unsent, RetryAfter: retryAfter(response)}
}

// IsInternalError reports whether the failure is a bare internal error of Vault. Its
// cause may be a token or credential that Vault cannot parse, or a dead audit device.
func IsInternalError(f *patience.Failure) bool {
	answer, ok := f.Fault.Cause.(*api.ResponseError)
	return ok && f.Fault.Kind == fault.ServerError && answer.StatusCode == http.StatusInternalServerError && says(answer.Errors, internalError)
}

// redirected is the failure for a redirect. Redirects are not followed, so that tokens
// go to the configured host alone.
func (s Source) redirected(response *http.Response) *patience.Failure {
	status := response.StatusCode
	to := "elsewhere"
	do, fix := "set the address of Vault itself: redirects are not followed", ""
	isPage := false                 // Vault redirects paths outside of its API to its UI, and a proxy may redirect to a login page
	base, _ := url.Parse(s.Address) // cannot fail: it was a URL before
	target, err := (&http.Response{Header: response.Header, Request: &http.Request{URL: base}}).Location()
	if err == nil && target.Host != "" {
		to = s.Sent.Words(target.Scheme + "://" + target.Host)
		isHere := target.Host == base.Host
		isPage = !strings.Contains(target.Path, "/v1/") && (isHere || strings.Trim(target.Path, "/") != "")
		switch {
		case isPage && isHere && strings.Trim(base.Path, "/") != "":
			do, fix = omitPath(base)
		case !isPage && target.Scheme == "https" && base.Scheme == "http" && target.Hostname() == base.Hostname():
			do, fix = "use https in the address: redirects are not followed", "use https in the address"
		}
	}
	if status == http.StatusTemporaryRedirect && !isPage { // standbys do this for seconds while the leader changes
		return &patience.Failure{Retry: patience.Later, Unsent: true, Fault: &fault.Error{
			Kind: fault.NoActiveNode, What: "this vault node is a standby and cannot forward requests",
			Detail: s.Address + " redirects to " + to,
			Do:     "fix the cluster's cluster_addr, or set the address of a balancer or of the active node",
		}}
	}
	return permanent(&fault.Error{
		Kind: fault.BadResponse, What: "the address redirects",
		Detail: strconv.Itoa(status) + " at " + s.Address + " to " + to,
		Do:     do, Fix: fix,
	})
}

// omitPath is the advice for an address whose path leads elsewhere.
func omitPath(address *url.URL) (do, fix string) {
	return "omit " + strings.TrimRight(address.Path, "/") + " from the address, unless a proxy there adds it", "omit the path from the address"
}

// notVault is the failure for a response that is not Vault's. It shows nothing of the
// body.
func (s Source) notVault(response *http.Response) *patience.Failure {
	status, header, body := response.StatusCode, response.Header, inMemory(response.Body)
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
		return &patience.Failure{Fault: LimitedByProxy(detail), Retry: patience.Paced, Unsent: true, RetryAfter: retryAfter(response)}
	}
	failure := permanent(NotVault(detail))
	if s.Proxy != "" {
		failure.Fault.Do = "check the address, and " + s.Proxy + " on the Patch server with the credentials in it: the proxy there may have answered in Vault's place"
	}
	switch {
	case status >= 500:
		failure.Retry, failure.RetryAfter = patience.Later, retryAfter(response) // a balancer whose nodes are down for a moment
	case status == http.StatusRequestTimeout, status == http.StatusMisdirectedRequest, status == http.StatusTooEarly:
		failure.Retry = patience.Later                       // a fresh connection may do
		failure.Unsent = status != http.StatusRequestTimeout // which a proxy may also send while it waits for Vault
	}
	return failure
}

// LimitedByProxy is the fault for a proxy that refuses what comes too fast.
func LimitedByProxy(detail string) *fault.Error {
	return &fault.Error{
		Kind: fault.RateLimited, What: "the proxy in front of vault is rate limiting the agent", Detail: detail,
		Do: "raise its limit, or set VAULT_RATE_LIMIT on the Patch server",
	}
}

// MayBePacing reports whether the failure may come from a proxy that limits the rate
// with status 503, as nginx's limit_req does by default.
func MayBePacing(status int, f *patience.Failure) bool {
	return status == http.StatusServiceUnavailable && f.Fault.Kind == fault.BadResponse
}

func permanent(f *fault.Error) *patience.Failure { return &patience.Failure{Fault: f} }

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

// retryAfter is how long the header Retry-After says to wait, in seconds or until a date. It
// is 0 only if the header is missing or malformed. The caller limits it.
func retryAfter(response *http.Response) time.Duration {
	header := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(header); err == nil {
		return max(time.Duration(min(seconds, 24*60*60))*time.Second, 1)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at), 1)
	}
	return 0
}

// said is Vault's errors and address, for texts.
func (s Source) said(errors []string) string {
	words := s.Sent.Words(strings.Join(errors, "; "))
	if words == "" {
		return s.Address
	}
	return words + " at " + s.Address
}

// masked returns the texts in one line each, without the secrets in them.
func (s Source) masked(texts []string) []string {
	masked := slices.Clone(texts)
	for i, text := range masked {
		masked[i] = s.Sent.Text(text, telling...)
	}
	return masked
}

// MaskErrors masks secrets in the errors and warnings of a body.
func (s Source) MaskErrors(body []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return body
	}
	changed := false
	for name, value := range members {
		// vault/api, which reads them, ignores the case of names.
		if !strings.EqualFold(name, "errors") && !strings.EqualFold(name, "warnings") {
			continue
		}
		var list texts
		if decode(value, &list) != nil {
			list = texts{string(value)} // otherwise vault/api shows the whole body
		}
		masked, _ := json.Marshal(s.masked(list)) // cannot fail
		changed = changed || !bytes.Equal(masked, value)
		members[name] = masked
	}
	if changed {
		body, _ = json.Marshal(members) // cannot fail: it was just decoded
	}
	return body
}
