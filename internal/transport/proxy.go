package transport

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/luumen/patch-vault/internal/patience"
)

// Proxy is the proxy in front of Vault.
type Proxy struct {
	URL      *url.URL // http, https, socks5 or socks5h
	Variable string   // the environment variable that names it
}

// proxyError is an error of the proxy, or of the connection to it.
type proxyError struct{ error }

// forwards reports whether net/http sends its requests to the proxy, because Vault's
// address begins with http.
func (d *dialer) forwards() bool {
	return d.Proxy != nil && d.Address.Scheme == "http" && !d.isSOCKS()
}

func (d *dialer) isSOCKS() bool {
	return d.Proxy.URL.Scheme == "socks5" || d.Proxy.URL.Scheme == "socks5h"
}

// throughProxy makes a connection to the proxy one to the address, unless the proxy forwards.
func (d *dialer) throughProxy(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if d.isSOCKS() {
		return d.throughSOCKS(ctx, conn, address)
	}
	if d.Proxy.URL.Scheme == "https" {
		var err error
		if conn, err = handshake(ctx, conn, d.ProxyTLS, d.Proxy.URL.Hostname()); err != nil {
			return nil, err
		}
	}
	if d.forwards() {
		return conn, nil
	}
	return conn, d.tunnel(ctx, conn, address)
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
			return httpRefusal(answer)
		}
	}
}

func (d *dialer) throughSOCKS(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := d.Proxy.URL.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	socks, err := proxy.SOCKS5("tcp", proxyAddress(d.Proxy.URL), auth, connected{conn})
	if err != nil {
		return nil, err
	}
	through, err := socks.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	if operation, ok := errors.AsType[*net.OpError](err); ok && !isNetwork(operation.Err) {
		return nil, socksRefusal(operation.Err)
	}
	return through, err
}

// connected makes package proxy use a connection to the proxy that was made before.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

func (c connected) DialContext(context.Context, string, string) (net.Conn, error) { return c.Conn, nil }

// proxyPorts are the ports of proxies that name none.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

func proxyAddress(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), proxyPorts[u.Scheme]))
}

// proxyRefusal is why a proxy did not connect to Vault.
type proxyRefusal struct {
	words   string
	retry   patience.When
	schemes string // that it asks for, if Basic is not among them
}

func (r proxyRefusal) Error() string { return r.words }

// httpRefusal is the refusal of an HTTP proxy.
func httpRefusal(answer *http.Response) proxyRefusal {
	r := proxyRefusal{words: "the proxy answers " + strconv.Itoa(answer.StatusCode), retry: patience.Later}
	switch status := answer.StatusCode; {
	case status == http.StatusTooManyRequests:
		r.retry = patience.Paced
	case status == http.StatusProxyAuthRequired:
		r.retry, r.schemes = patience.Never, otherSchemes(answer.Header)
	case status < 500:
		r.retry = patience.Never
	}
	return r
}

// otherSchemes are the schemes of the credentials that a proxy asks for; empty if Basic is
// among them.
func otherSchemes(header http.Header) string {
	var schemes []string
	for _, challenge := range header.Values("Proxy-Authenticate") {
		if strings.Contains(strings.ToLower(challenge), "basic") {
			return ""
		}
		scheme, _, _ := strings.Cut(challenge, " ")
		schemes = append(schemes, scheme)
	}
	return strings.Join(schemes, ", ")
}

// socksRefusal is the refusal of a SOCKS proxy, from package proxy's own words.
func socksRefusal(err error) proxyRefusal {
	words, triedVault := strings.CutPrefix(err.Error(), "unknown error ")
	r := proxyRefusal{words: "the proxy answers: " + words, retry: patience.Never}
	if triedVault {
		r.retry = patience.Later
	}
	return r
}
