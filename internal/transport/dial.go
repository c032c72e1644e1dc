package transport

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/proxy"

	"github.com/luumen/patch-vault/internal/patience"
)

// Proxy is the proxy before Vault.
type Proxy struct {
	URL      *url.URL // http, https, socks5 or socks5h
	Variable string   // the environment variable that names it
}

// dialer makes the connections for net/http. It connects through the proxy itself:
// net/http would use Vault's TLS settings for an https proxy, and would not say which
// of the two failed.
type dialer struct {
	Config

	dials atomic.Int64
	nodes nodes
}

// proxyError is an error of the proxy, or of the connection to it.
type proxyError struct{ err error }

func (e *proxyError) Error() string { return e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// proxyRefusal is why a proxy did not connect to Vault.
type proxyRefusal struct {
	words string
	retry patience.When
}

func (r proxyRefusal) Error() string { return r.words }

// httpRefusal is the refusal of an HTTP proxy.
func httpRefusal(status int) proxyRefusal {
	r := proxyRefusal{"the proxy answers " + strconv.Itoa(status), patience.Later}
	switch {
	case status == http.StatusTooManyRequests:
		r.retry = patience.Paced
	case status < 500:
		r.retry = patience.Never
	}
	return r
}

// socksRefusal is the refusal of a SOCKS proxy, from package proxy's own words.
func socksRefusal(err error) proxyRefusal {
	words, triedVault := strings.CutPrefix(err.Error(), "unknown error ")
	r := proxyRefusal{"the proxy answers: " + words, patience.Never}
	if triedVault {
		r.retry = patience.Later
	}
	return r
}

// forwards reports whether net/http sends its requests to the proxy, because Vault's
// address begins with http.
func (d *dialer) forwards() bool {
	return d.Proxy != nil && d.Address.Scheme == "http" && !d.isSOCKS()
}

func (d *dialer) isSOCKS() bool {
	return d.Proxy.URL.Scheme == "socks5" || d.Proxy.URL.Scheme == "socks5h"
}

// dial makes a connection for HTTP, to Vault's address, or to the proxy if that
// forwards.
func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	d.dials.Add(1)
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	began := time.Now()
	conn, err := d.reach(ctx, address)
	if err != nil {
		return nil, err
	}
	node := d.nodes.of(conn)
	if d.Address.Scheme == "https" {
		if conn, err = handshake(ctx, conn, d.TLS, d.Address.Hostname()); err != nil {
			d.nodes.avoid(node, began)
			return nil, err
		}
	}
	return newAnswerConn(conn, node), nil
}

// reach connects to Vault, through the proxy if there is one. With a proxy that
// forwards, the connection ends there.
func (d *dialer) reach(ctx context.Context, address string) (net.Conn, error) {
	switch {
	case d.Proxy == nil:
		return d.dialAny(ctx, address)
	case d.isSOCKS():
		return d.dialSOCKS(ctx, address)
	}
	conn, err := d.dialProxy(ctx)
	if err != nil || d.forwards() {
		return conn, err
	}
	if err := d.tunnel(ctx, conn, address); err != nil {
		conn.Close()
		return nil, &proxyError{err}
	}
	return conn, nil
}

func (d *dialer) dialProxy(ctx context.Context) (net.Conn, error) {
	conn, err := d.dialAny(ctx, proxyAddress(d.Proxy.URL))
	if err == nil && d.Proxy.URL.Scheme == "https" {
		conn, err = handshake(ctx, conn, d.ProxyTLS, d.Proxy.URL.Hostname())
	}
	if err != nil {
		return nil, &proxyError{err}
	}
	return conn, nil
}

func (d *dialer) dialSOCKS(ctx context.Context, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := d.Proxy.URL.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	socks, err := proxy.SOCKS5("tcp", proxyAddress(d.Proxy.URL), auth, anyDialer{d})
	if err != nil {
		return nil, &proxyError{err}
	}
	conn, err := socks.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if err != nil {
		if operation, ok := errors.AsType[*net.OpError](err); ok && !isNetwork(operation.Err) {
			err = socksRefusal(operation.Err)
		}
		return nil, &proxyError{err}
	}
	return conn, nil
}

// tunnel asks an HTTP proxy for a connection to the address.
func (d *dialer) tunnel(ctx context.Context, conn net.Conn, address string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: make(http.Header)}
	if user := d.Proxy.URL.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := request.Write(conn); err != nil {
		return err
	}
	// The proxy sends nothing after its answer: the client begins TLS. The limit is for a
	// header that does not end.
	answers := bufio.NewReaderSize(http.MaxBytesReader(nil, conn, maxHeader), readBuffer)
	for {
		answer, err := http.ReadResponse(answers, request)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case answer.StatusCode/100 == 2:
			return nil
		case answer.StatusCode/100 != 1 || answer.StatusCode == http.StatusSwitchingProtocols:
			return httpRefusal(answer.StatusCode)
		}
	}
}

func handshake(ctx context.Context, conn net.Conn, config *tls.Config, host string) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &handshakeError{err}
	}
	return secure, nil
}

// handshakeError is an error of a TLS handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// proxyPorts are the ports of proxies that name none.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

func proxyAddress(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), proxyPorts[u.Scheme]))
}

// anyDialer makes package proxy use dialAny.
type anyDialer struct{ *dialer }

func (d anyDialer) Dial(_, address string) (net.Conn, error) {
	return d.dialAny(context.Background(), address)
}

func (d anyDialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	return d.dialAny(ctx, address)
}

// stagger is the time after which the next address of a name is tried in parallel, as
// RFC 8305 recommends.
const stagger = 250 * time.Millisecond

// dialAny connects to one of the addresses of a name. net.Dialer would spend most of the
// time on the first one, if that does not answer.
func (d *dialer) dialAny(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	hosts, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	d.nodes.sort(hosts)
	conn, err := dialFirst(ctx, hosts, port)
	if err == nil {
		d.nodes.prefer(d.nodes.of(conn))
	}
	return conn, err
}

// nodes orders the addresses of Vault's name, or the proxy's: first the one that was last
// connected to, and last the one that last failed. A node that is sealed, or hangs, may
// still accept connections.
type nodes struct {
	mu                 sync.Mutex
	preferred, avoided string
	all                map[string]*node // by address
}

// node is one address of a name.
type node struct {
	address    string
	answeredAt atomic.Int64 // when a request was last answered over it, in nanoseconds since 1970
}

func (n *nodes) of(conn net.Conn) *node {
	address, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.all[address]
	if one == nil {
		one = &node{address: address}
		if n.all == nil {
			n.all = make(map[string]*node)
		}
		n.all[address] = one
	}
	return one
}

func (n *nodes) prefer(one *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.preferred = one.address; n.avoided == one.address {
		n.avoided = ""
	}
}

// avoid notes that a request that was sent at that time failed at the node, unless the node
// has answered another since: then the request fails for its own reasons.
func (n *nodes) avoid(one *node, sent time.Time) {
	if one.answeredAt.Load() >= sent.UnixNano() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.avoided = one.address; n.preferred == one.address {
		n.preferred = ""
	}
}

func (n *nodes) sort(hosts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	place := func(host string) int {
		switch host {
		case n.preferred:
			return -1
		case n.avoided:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(hosts, func(a, b string) int { return place(a) - place(b) })
}

// dialFirst connects to the first of the hosts that answers.
func dialFirst(ctx context.Context, hosts []string, port string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(hosts))
	dial := func(host string) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		results <- result{conn, err}
	}
	underWay := 0
	defer func() {
		cancel()
		for range underWay { // close the others that connect, too
			if r := <-results; r.conn != nil {
				r.conn.Close()
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var first error
	for {
		select {
		case <-timer.C:
			if len(hosts) == 0 {
				continue
			}
			go dial(hosts[0])
			underWay++
			hosts = slices.Delete(hosts, 0, 1)
			timer.Reset(stagger)
		case r := <-results:
			underWay--
			if r.err == nil {
				return r.conn, nil
			}
			if first == nil {
				first = r.err
			}
			if len(hosts) == 0 && underWay == 0 {
				return nil, first
			}
			timer.Reset(0)
		}
	}
}
