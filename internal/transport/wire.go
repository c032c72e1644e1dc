// Package transport carries the requests of a vault/api client, in two layers:
//
//	Retry  repeats requests that were not answered, with package patience
//	Wire   sends a request once, and reads the whole answer
//
// Start with [NewWire].
package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

const maxHeader = 64 << 10 // bytes

// MountsPath is the path of Vault's API for the list of mounts.
const MountsPath = "sys/internal/ui/mounts"

// IsMountList reports whether a request asks for the list of mounts.
func IsMountList(request *http.Request) bool {
	return strings.HasSuffix(request.URL.Path, "/"+MountsPath)
}

// Config says where Vault is and how to reach it. Address, TLS and ProxyTLS are
// required.
type Config struct {
	Address     *url.URL      // without user info, query or fragment; its path is kept as a prefix
	TLS         *tls.Config   // towards Vault
	CAs         string        // the variable with the CAs for it; empty if they are the system's
	ProxyTLS    *tls.Config   // towards an https proxy
	Proxy       *Proxy        // nil means none
	Connections int           // kept and opened at most
	Timeout     time.Duration // of one attempt, body included
	UserAgent   string
}

// Wire sends requests once. Several goroutines can use it.
type Wire struct {
	Sent mask.Secrets // sent to the server, and masked in what comes back

	config    Config
	header    http.Header  // of every request
	source    reply.Source // of the responses
	dialer    *dialer
	transport *http.Transport
	deadlines deadlines
	requests  atomic.Int64
}

// NewWire makes a Wire. It does no I/O.
func NewWire(config Config) *Wire {
	w := &Wire{
		config: config,
		dialer: &dialer{Config: config},
		header: http.Header{
			"User-Agent":          {config.UserAgent},
			api.RequestHeaderName: {"true"}, // a Vault Proxy can demand it
		},
	}
	w.source = reply.Source{Address: strings.TrimSuffix(config.Address.String(), "/"), Sent: &w.Sent}
	if p := config.Proxy; p != nil {
		password, _ := p.URL.User.Password()
		w.Sent.Learn(password, p.URL.User.Username(), p.URL.User.Username()+":"+password)
	}
	// HTTP/1.1 only: HTTP/2 would tie a run to one node behind a balancer, and Go's
	// http2 debug output prints the token among the headers.
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	dial := func(ctx context.Context, _, address string) (net.Conn, error) { return w.dialer.dial(ctx, address) }
	w.transport = &http.Transport{
		DialContext:            dial,
		DialTLSContext:         dial,
		Protocols:              http1,
		MaxConnsPerHost:        config.Connections,
		MaxIdleConnsPerHost:    config.Connections,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         readBuffer,
	}
	if w.dialer.forwards() {
		w.transport.Proxy = http.ProxyURL(config.Proxy.URL)
		w.source.Proxy = config.Proxy.Variable
	}
	return w
}

// Close closes the connections that are not in use, and those still being made for a
// request that has ended.
func (w *Wire) Close() { w.transport.CloseIdleConnections() }

// Address is Vault's address, for messages.
func (w *Wire) Address() string { return w.source.Address }

// Dials is the number of connections tried so far.
func (w *Wire) Dials() int { return int(w.dialer.dials.Load()) }

// Requests is the number of requests sent or tried so far.
func (w *Wire) Requests() int { return int(w.requests.Load()) }

// send sends the request once, with this header, and reads its whole answer, within the
// limit or the configured timeout, whichever is shorter.
func (w *Wire) send(ctx context.Context, request *http.Request, header http.Header, limit time.Duration) (*http.Response, *patience.Failure) {
	limit = min(limit, w.config.Timeout)
	w.requests.Add(1)
	deadline := w.deadlines.begin(ctx, limit)
	defer w.deadlines.end(deadline)
	attempt := &progress{limit: limit, began: time.Now()}
	once := request.WithContext(httptrace.WithClientTrace(deadline.ctx, &httptrace.ClientTrace{
		GotConn: attempt.gotConn, WroteHeaders: attempt.wroteHeaders, PutIdleConn: attempt.putIdleConn,
	}))
	once.Header = header
	if request.GetBody != nil {
		once.Body, _ = request.GetBody() // cannot fail: it is in memory
	}
	response, err := w.transport.RoundTrip(once)
	var body []byte
	if err == nil {
		body, err = readAll(response, maxBody(request))
		response.Body.Close()
	}
	switch {
	case err == errTooLarge:
		return nil, &patience.Failure{Fault: w.tooLarge(request)}
	case err != nil && !isRefusalOfHTTP(response, body):
		return nil, w.retire(attempt, w.failureOf(err, attempt))
	}
	// A copy, since net/http keeps its response until the connection's next one.
	answer := *response
	answer.Request = request // the one that was sent has the token
	answer.Body = &buffered{*bytes.NewBuffer(body), func() *progress { return attempt }}
	return &answer, nil
}

// progress is how far one attempt to send a request got.
type progress struct {
	limit  time.Duration // for all of it
	began  time.Time
	conn   *answerConn // nil before it is connected
	reused bool        // its connection had served another request
	sent   atomic.Bool // its header was written
}

func (p *progress) gotConn(info httptrace.GotConnInfo) {
	p.conn = info.Conn.(*answerConn)
	p.conn.begin()
	p.reused = info.Reused
}

// answered notes that Vault answered the request, and returns how long that took.
func (p *progress) answered() (took time.Duration) {
	now := time.Now()
	p.conn.node.answeredAt.Store(now.UnixNano())
	return now.Sub(p.began)
}

func (p *progress) wroteHeaders() { p.sent.Store(true) }

func (p *progress) putIdleConn(err error) {
	if err == nil {
		p.conn.end()
	}
}

// retire prepares for a retry, if that may help: it closes the connections that are not in
// use, since a kept one behind a balancer always leads to the same node, and avoids the
// node. After a server error it avoids only a node that never answered: the path may be bad.
func (w *Wire) retire(p *progress, f *patience.Failure) *patience.Failure {
	if f == nil || f.Retry != patience.Later {
		return f
	}
	w.transport.CloseIdleConnections()
	if p.conn != nil && (f.Fault.Kind != fault.ServerError || p.conn.node.answeredAt.Load() == 0) {
		w.dialer.nodes.failed(p.conn.node, p.began)
	}
	return f
}
