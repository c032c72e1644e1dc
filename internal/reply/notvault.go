package reply

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// NoContent is the fault for status 204 to a read or a login, which Vault never sends.
func NoContent() *fault.Error { return NotVault("status 204") }

// NoAPI returns the fault for a server that knows neither the login nor the list of
// mounts, which every Vault has: the path of the address leads elsewhere. It returns nil
// for any other answer and for an address without a path.
func (a *Answer) NoAPI(address string) *fault.Error {
	u, err := url.Parse(address)
	if err != nil || strings.Trim(u.Path, "/") == "" || a.Status != http.StatusNotFound || len(a.Errors) > 0 {
		return nil
	}
	f := NotVault("status 404 at " + address)
	f.Do, f.Fix = omitPath(u)
	return f
}

// NotVault is the fault for a response that Vault does not send.
func NotVault(detail string) *fault.Error {
	return &fault.Error{
		Kind: fault.BadResponse, What: "the server is not Vault, or a proxy interferes", Detail: detail,
		Do: "check the address, and the proxy or balancer in front of Vault",
	}
}

// wrapped is the fault for a wrapped answer: instead of the data, it holds a token.
func wrapped(who string) *fault.Error {
	const do = "remove wrapping from the proxy in front of Vault, and min_wrapping_ttl from the policy, or its control_group, which needs a person's approval"
	return &fault.Error{
		Kind: fault.BadResponse, What: who + " wraps its answers", Do: do,
		Reason: "Vault wraps its answers", Fix: do, // it is a Vault
	}
}

// isFromGateway reports whether only a gateway in front of Vault answers with this status,
// whatever the body.
func isFromGateway(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired || status == http.StatusUnavailableForLegalReasons
}

// redirected is the failure for a redirect. Redirects are not followed, so that tokens
// go to the configured host alone.
func (s Source) redirected(response *http.Response) *patience.Failure {
	base, _ := url.Parse(s.Address) // cannot fail: it was a URL before
	target := locationOf(response, base)
	to := "elsewhere"
	if target != nil {
		to = s.Sent.Words(target.Scheme + "://" + target.Host)
	}
	isPage := leadsToPage(target, base)
	toHTTPS := target != nil && !isPage && target.Scheme == "https" && base.Scheme == "http" && strings.EqualFold(target.Hostname(), base.Hostname())
	// A proxy may redirect any request to https at its default port. A standby sends no-store, as Vault does.
	isByProxy := toHTTPS && target.Port() == "" && response.Header.Get("Cache-Control") != "no-store"
	if response.StatusCode == http.StatusTemporaryRedirect && !isPage && !isByProxy { // standbys do this for seconds while the leader changes
		f := &fault.Error{
			Kind: fault.NoActiveNode, What: "this vault node is a standby and cannot forward requests",
			Detail: s.Address + " redirects to " + to,
			Do:     "fix the cluster's cluster_addr, or set the address of a balancer or of the active node",
		}
		if toHTTPS {
			f.Do += "; if a proxy redirects, use https in the address"
		}
		return &patience.Failure{Fault: f, Retry: patience.Later, Unsent: true}
	}
	f := &fault.Error{
		Kind: fault.BadResponse, What: "the address redirects",
		Detail: strconv.Itoa(response.StatusCode) + " at " + s.Address + " to " + to,
		Do:     "set the address of Vault itself: redirects are not followed",
	}
	switch {
	case isPage && target.Host == base.Host && strings.Trim(base.Path, "/") != "":
		f.Do, f.Fix = omitPath(base)
	case toHTTPS:
		f.Do, f.Fix = "use https in the address: redirects are not followed", "use https in the address"
	}
	return permanent(f)
}

// locationOf returns where a response from an address redirects to, or nil if it does not say.
func locationOf(response *http.Response, address *url.URL) *url.URL {
	target, err := (&http.Response{Header: response.Header, Request: &http.Request{URL: address}}).Location()
	if err != nil || target.Host == "" {
		return nil
	}
	return target
}

// leadsToPage reports whether a redirect leads to a page: Vault redirects paths outside of its API
// to its UI, and a proxy may redirect to a login page.
func leadsToPage(target, address *url.URL) bool {
	return target != nil && !strings.Contains(target.Path, "/v1/") &&
		(target.Host == address.Host || strings.Trim(target.Path, "/") != "")
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
		f := &fault.Error{Kind: fault.TLS, What: "the server at " + s.Address + " expects https", Do: "use https in the address", Fix: "use https in the address"}
		if s.Proxy != "" {
			f.What += ", or the proxy in front of it does"
			f.Do += ", or https:// in " + s.Proxy + " on the Patch server"
			f.Fix += ", or for the proxy on the Patch server"
		}
		return permanent(f)
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
	runs := ""
	if status >= 500 { // a proxy says so that it gets no answer from Vault
		runs = "that Vault runs, "
		failure.Fault.Do = "check the address, that Vault runs, and that the proxy or balancer in front of it reaches it in time and does not limit the agent"
		failure.Fault.Fix = "check the address, that Vault runs, and any proxy in front of it"
	}
	if s.Proxy != "" {
		failure.Fault.Do = "check the address, " + runs + "and " + s.Proxy + " on the Patch server with the credentials in it: the proxy there may have answered in Vault's place"
	}
	switch {
	case status == http.StatusNotFound && says(start, noPage):
		base, _ := url.Parse(s.Address) // cannot fail: it was a URL before
		if strings.Trim(base.Path, "/") != "" {
			failure.Fault.Do, failure.Fault.Fix = omitPath(base)
		} else {
			failure.Fault.Do += "; if it is a Vault in recovery mode, restart it without -recovery"
		}
	case status >= 500:
		failure.Retry, failure.RetryAfter = patience.Later, retryAfter(response) // a balancer whose nodes are down for a moment
	case status == http.StatusRequestTimeout, status == http.StatusMisdirectedRequest, status == http.StatusTooEarly:
		failure.Retry = patience.Later                       // a fresh connection may help
		failure.Unsent = status != http.StatusRequestTimeout // which a proxy may also send while it waits for Vault
	}
	return failure
}

// LimitedByProxy is the fault for a proxy that refuses what comes too fast.
func LimitedByProxy(detail string) *fault.Error {
	const do = "raise its limit, or set VAULT_RATE_LIMIT on the Patch server"
	return &fault.Error{
		Kind: fault.RateLimited, What: "the proxy in front of vault is rate limiting the agent", Detail: detail, Do: do,
		Reason: "a proxy in front of Vault is rate limiting the agent", Fix: do,
	}
}

// MayBePacing reports whether the failure may come from a proxy that limits the rate
// with status 503, as nginx's limit_req does by default.
func MayBePacing(status int, f *patience.Failure) bool {
	return status == http.StatusServiceUnavailable && f.Fault.Kind == fault.BadResponse
}
