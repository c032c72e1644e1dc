package transport

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// dialer makes the connections for net/http. It connects through the proxy itself:
// net/http would use Vault's TLS settings for an https proxy, and would not say which
// of the two failed.
type dialer struct {
	Config

	dials atomic.Int64
	nodes nodes
}

// dial makes a connection for HTTP, to Vault's address, or to the proxy if it
// forwards.
func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	d.dials.Add(1)
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	began := time.Now()
	conn, err := d.dialFirstHop(ctx, address)
	if err != nil {
		return nil, err
	}
	node := d.nodes.connected(conn)
	ready, err := d.prepare(ctx, conn, address)
	if err != nil {
		conn.Close()
		d.nodes.failed(node, began)
		return nil, err
	}
	return newAnswerConn(ready, node), nil
}

// dialFirstHop connects to the proxy, or to Vault if there is none.
func (d *dialer) dialFirstHop(ctx context.Context, address string) (net.Conn, error) {
	if d.Proxy == nil {
		return d.dialAny(ctx, address)
	}
	conn, err := d.dialAny(ctx, proxyAddress(d.Proxy.URL))
	if err != nil {
		return nil, &proxyError{err}
	}
	return conn, nil
}

// prepare leads a connection to Vault through the proxy, and secures it. With a proxy that
// forwards, it ends there.
func (d *dialer) prepare(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if d.Proxy != nil {
		var err error
		if conn, err = d.throughProxy(ctx, conn, address); err != nil {
			return nil, &proxyError{err}
		}
	}
	if d.Address.Scheme == "https" {
		return handshake(ctx, conn, d.TLS, d.Address.Hostname())
	}
	return conn, nil
}

func handshake(ctx context.Context, conn net.Conn, config *tls.Config, host string) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, &handshakeError{err}
	}
	return secure, nil
}

// handshakeError is an error of a TLS handshake.
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }
