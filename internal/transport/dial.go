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
type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }
