package reply

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/patience"
)

// Source says where a response came from, for messages.
type Source struct {
	Address string        // of Vault, as in the settings
	Proxy   string        // variable of the proxy that can answer in Vault's place; empty if there is none
	Sent    *mask.Secrets // masked in messages
}

// Judge returns why a response in memory is not an answer, or nil. Of the body, the fault
// holds only Vault's own errors, with secrets masked. Some words count only in the answer
// to a login.
func (s Source) Judge(response *http.Response, isLogin bool) *patience.Failure {
	status, body := response.StatusCode, inMemory(response.Body)
	switch {
	case status == http.StatusNoContent:
		return nil
	case 300 <= status && status < 400:
		return s.redirected(response)
	case !isJSON(response.Header), isFromGateway(status):
		return s.notVault(response)
	case status == http.StatusOK && bytes.HasPrefix(body, []byte(`{"request_id":"`)) && !bytes.HasPrefix(body, []byte(`{"request_id":""`)):
		// Vault's own form. Parse looks at the rest.
		return nil
	}
	e := envelope{Data: &ignored{}}
	if decode(body, &e) != nil || !e.isFromVault() {
		return s.notVault(response)
	}
	if e.WrapInfo != nil && !isLogin { // the caller must know that a login has made a token
		return permanent(wrapped(s.Address))
	}
	return s.unwell(response, e.Errors, isLogin)
}

// MayBeAnswer reports whether a response with this failure may be the answer to a caller's
// request, which can have any form: a certificate, an error of a plugin, or the health of a
// standby. A refusal is JSON, since vault/api quotes any other in its error.
func MayBeAnswer(response *http.Response, f *patience.Failure) bool {
	if response.StatusCode/100 == 2 {
		return !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") // which is a proxy's page
	}
	e := envelope{Data: &ignored{}}
	if !isJSON(response.Header) || decode(inMemory(response.Body), &e) != nil || !e.isFromVault() {
		return false
	}
	isRefusal := response.StatusCode/100 == 4 && f.Retry == patience.Never && f.Fault.Kind == fault.BadResponse
	return isRefusal || e.ServerTime != nil
}

// unwell is the failure of a Vault that cannot answer now or would refuse the request
// again; nil if it did answer.
func (s Source) unwell(response *http.Response, errors []string, isLogin bool) *patience.Failure {
	status := response.StatusCode
	state := stateOf(status, errors, isLogin)
	if state == nil {
		return nil
	}
	f, errors := state.fault, s.masked(errors)
	f.Detail, f.Cause = s.said(errors), &api.ResponseError{StatusCode: status, Errors: errors}
	if f.What == "" {
		f.What = "vault answers " + strconv.Itoa(status)
	}
	if name := s.Sent.Words(response.Request.Header.Get(api.NamespaceHeaderName)); state.named && name != "" {
		f.What += ": " + name
	}
	return &patience.Failure{Fault: &f, Retry: state.retry, Unsent: state.unsent, RetryAfter: retryAfter(response)}
}

// IsInternalError reports whether the failure is a bare internal error of Vault. Its
// cause may be a token or credential that Vault cannot parse, or a dead audit device.
func IsInternalError(f *patience.Failure) bool {
	answer, ok := f.Fault.Cause.(*api.ResponseError)
	return ok && f.Fault.Kind == fault.ServerError && answer.StatusCode == http.StatusInternalServerError && says(answer.Errors, internalError)
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

// said is Vault's masked errors and its address, for messages.
func (s Source) said(errors []string) string {
	words := mask.Line(strings.Join(errors, "; "))
	if words == "" {
		return s.Address
	}
	return words + " at " + s.Address
}

// masked returns the texts in one line each, without the secrets in them.
func (s Source) masked(texts []string) []string {
	masked := slices.Clone(texts)
	for i, text := range masked {
		masked[i] = s.Sent.Text(text)
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
