// Package client sends one request to Vault and says what came back: an
// [Answer] that Vault gave, or a fault of the way to it. It retries nothing
// and follows no redirect.
//
// It stands on net/http and not on vault/api, because api.NewClient fails on
// any malformed VAULT_* variable, wanted or not, and because the status and
// the exact JSON of an answer decide what it means.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// maxAnswer bounds an answer. Vault itself stores values up to 1 MiB.
const maxAnswer = 4 << 20

// Config says where Vault is and how to reach it. Address is required.
type Config struct {
	Address     *url.URL                              // without user info, query and fragment; its path is kept as a prefix
	TLS         *tls.Config                           // nil means Go's default
	Proxy       func(*http.Request) (*url.URL, error) // nil means none
	Connections int                                   // kept and opened at most
	Timeout     time.Duration                         // of one attempt, body included
	UserAgent   string
}

// Client sends requests to one Vault.
type Client struct {
	config    Config
	transport *http.Transport
	attempts  attempts
	dials     atomic.Int64
	requests  atomic.Int64
	secrets   atomic.Pointer[[]string] // that were sent, or are to be
}

// New makes a client. It does no I/O.
func New(config Config) *Client {
	c := &Client{config: config}
	// HTTP/1.1 only: HTTP/2 would tie a run to one node behind a balancer, and
	// Go's own http2 debug output prints headers, the token among them.
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	c.transport = &http.Transport{
		Proxy:                  config.Proxy,
		DialContext:            c.dial,
		TLSClientConfig:        config.TLS,
		Protocols:              http1,
		MaxConnsPerHost:        config.Connections,
		MaxIdleConnsPerHost:    config.Connections,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		OnProxyConnectResponse: proxyAnswered,
	}
	return c
}

// Close ends every connection that is not in use, those too that are still
// being made for a request that has given up.
func (c *Client) Close() {
	c.attempts.close()
	c.transport.CloseIdleConnections()
}

// Address is where Vault is, as text for a message.
func (c *Client) Address() string { return strings.TrimSuffix(c.config.Address.String(), "/") }

// Dials is the number of connections tried so far.
func (c *Client) Dials() int { return int(c.dials.Load()) }

// Requests is the number of requests sent or tried so far.
func (c *Client) Requests() int { return int(c.requests.Load()) }

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.dials.Add(1)
	dialer := net.Dialer{Timeout: c.config.Timeout}
	return dialer.DialContext(ctx, network, address)
}

// proxyRefused is a proxy's answer that it does not connect to Vault.
type proxyRefused int

func (status proxyRefused) Error() string { return "the proxy answers " + strconv.Itoa(int(status)) }

func proxyAnswered(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode != http.StatusOK {
		return proxyRefused(answer.StatusCode)
	}
	return nil
}

// Request is one request. Its header is only read, so that requests can share
// it.
type Request struct {
	Method string
	Path   string // below /v1/, as plain text: it is escaped here
	Query  string // escaped, without the question mark
	Header http.Header
	Body   []byte
	Data   any // where the data of the answer is decoded to; nil if nobody wants it
}

// Header makes the header of requests with the token (may be empty), which it
// learns, in the namespace (may be empty).
func (c *Client) Header(token, namespace string) http.Header {
	c.Learn(token)
	h := http.Header{
		"User-Agent": {c.config.UserAgent},
		// Vault Proxy and Agent can demand it, against requests that a browser
		// was tricked into sending.
		"X-Vault-Request": {"true"},
	}
	if token != "" {
		h["X-Vault-Token"] = []string{token}
	}
	if namespace != "" {
		h["X-Vault-Namespace"] = []string{namespace}
	}
	return h
}

// Send sends the request once. It takes limit at most, or the configured
// timeout if that is shorter.
func (c *Client) Send(ctx context.Context, r Request, limit time.Duration) (*Answer, *fault.Error) {
	limit = min(limit, c.config.Timeout)
	c.requests.Add(1)
	a := c.attempts.begin(ctx, limit)
	defer c.attempts.over(a)
	response, err := c.transport.RoundTrip(c.httpRequest(a, r))
	if err != nil {
		return nil, c.retire(c.broken(err, limit, !a.sent.Load()))
	}
	defer response.Body.Close()
	a.body, err = readAll(response, a.body[:0])
	if err != nil && !expectsHTTPS(a.body) { // which resets the connection behind its answer
		return nil, c.retire(c.broken(err, limit, false))
	}
	answer, f := c.understand(r, response, a.body)
	return answer, c.retire(f)
}

func (c *Client) httpRequest(ctx context.Context, r Request) *http.Request {
	u := *c.config.Address
	u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/" + r.Path
	u.RawQuery = r.Query
	request := (&http.Request{
		Method: r.Method,
		URL:    &u,
		Host:   u.Host,
		Header: r.Header,
	}).WithContext(ctx)
	if r.Body != nil {
		request.ContentLength = int64(len(r.Body))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
		request.Body, _ = request.GetBody()
	}
	return request
}

// retire closes the connections that are not in use where a retry may help, so that
// it goes over a fresh one: behind a balancer, a kept connection leads to the
// same node for ever.
func (c *Client) retire(f *fault.Error) *fault.Error {
	if f != nil && f.Retry == fault.Later {
		c.transport.CloseIdleConnections()
	}
	return f
}

// readAll appends the body to the buffer, up to one byte more than an answer may
// have. It reads to the end, which hands the connection back.
func readAll(response *http.Response, buffer []byte) ([]byte, error) {
	if n := response.ContentLength; 0 <= n && n <= maxAnswer {
		buffer = slices.Grow(buffer, int(n))[:n]
		_, err := io.ReadFull(response.Body, buffer)
		return buffer, err
	}
	body := bytes.NewBuffer(buffer)
	_, err := body.ReadFrom(io.LimitReader(response.Body, maxAnswer+1))
	return body.Bytes(), err
}
