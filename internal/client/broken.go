package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// broken is the fault of a request whose answer did not arrive whole. Only
// causes of known types are kept: net/http puts what a wrong server sent into
// the texts of others.
func (c *Client) broken(err error, limit time.Duration, unsent bool) *fault.Error {
	if f := c.untrusted(err); f != nil {
		f.Unsent = f.Unsent || unsent
		return f
	}
	f := &fault.Error{
		Kind: fault.Unreachable, What: "vault unreachable", Retry: fault.Later, Unsent: unsent,
		Do: "check the address, that Vault runs there, and the network in between",
	}
	operation, isOperation := errors.AsType[*net.OpError](err)
	if isOperation {
		f.Unsent = unsent || operation.Op == "dial" || operation.Op == "proxyconnect"
		f.Cause = operation
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	proxy, isProxy := errors.AsType[proxyRefused](err)
	var detail string
	switch {
	case isProxy:
		detail, f.Cause, f.Unsent = proxy.Error(), proxy, true
		f.Do = "check VAULT_PROXY_ADDR or HTTPS_PROXY on the Patch server, the proxy's credentials in it, and whether the proxy lets the agent through"
		if proxy < 500 {
			f.Retry = fault.Never
		}
	case isDNS:
		detail, f.Unsent = "no address for "+dns.Name+": "+fault.Words(dns.Err), true
		f.Do = "check the name in the address, and the Patch server's DNS"
		if atProxy(err) {
			f.Do = "check the name in VAULT_PROXY_ADDR or HTTPS_PROXY on the Patch server, and its DNS"
		}
	case isTimeout(err):
		detail = "no answer within " + fault.Duration(limit)
		if f.Cause == nil {
			f.Cause = context.DeadlineExceeded
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		detail = "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		detail = "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		detail, f.Cause = "connection closed in the middle of the answer", io.ErrUnexpectedEOF
		if unsent {
			detail = "connection closed before the request was sent"
		}
	case isOperation:
		detail = fault.Words(operation.Err.Error())
	case strings.Contains(err.Error(), idleClosed):
		detail, f.Cause = "connection closed", io.EOF
	case unsent && c.config.Address.Scheme == "https":
		return &fault.Error{
			Kind: fault.TLS, What: "no TLS connection with vault comes about", Unsent: true,
			Detail: fault.Words(err.Error()) + " at " + c.Address(), // crypto/tls's own text, for the server has seen nothing yet
			Do:     "check that Vault speaks TLS 1.2 or later",
		}
	default:
		return &fault.Error{
			Kind: fault.BadResponse, What: "the server at " + c.Address() + " does not speak HTTP/1.1 as Vault does", Unsent: unsent,
			Do: "check the address, and the proxy or balancer before Vault",
		}
	}
	at := c.Address()
	if isProxy || atProxy(err) {
		at = "the proxy before " + at
	}
	f.Detail = detail + " at " + at
	return f
}

// atProxy reports whether the connection failed at the proxy before Vault.
func atProxy(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "proxyconnect"
}

func isTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// untrusted is the fault of a failed TLS handshake; nil if there was none.
func (c *Client) untrusted(err error) *fault.Error {
	f := &fault.Error{Kind: fault.TLS, Unsent: true}
	whose, at := "vault's", c.Address()
	if atProxy(err) {
		whose, at = "the proxy's", "the proxy before "+at
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		f.Cause = certificate
		f.Detail = "at " + at
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		f.What = whose + " certificate is expired or not valid yet"
		f.Do = "renew it, or set the clock of the Patch server"
		f.Detail += ", valid from " + fault.Time(invalid.Cert.NotBefore) + " to " + fault.Time(invalid.Cert.NotAfter) + ", it is " + fault.Time(time.Now()) + " here"
		return f
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		f.What = whose + " certificate is for another host name"
		f.Do = "write the name of the certificate in the address, or in VAULT_TLS_SERVER_NAME on the Patch server"
		return f
	}
	if f.Cause != nil {
		f.What = whose + " certificate is not trusted"
		f.Do = "name the CA that signed it in VAULT_CACERT on the Patch server"
		if c.config.TLS != nil && c.config.TLS.RootCAs != nil {
			f.Do = "name the CA that signed it in VAULT_CACERT on the Patch server: those named there now did not"
		}
		return f
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		f.What, f.Do = "the server at "+c.Address()+" does not speak TLS", "check the port in the address"
		if string(record.RecordHeader[:]) == "HTTP/" {
			f.What, f.Do = "the server at "+c.Address()+" expects http, not https", "check the port in the address, and have Vault listen with TLS: over http, anybody in between could read its secrets"
			f.Fix = "check the scheme and the port in the address: something answers there that does not speak https"
		}
		return f
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "remote error" {
		f.Cause = operation
		f.Unsent = false // in TLS 1.3 the server may refuse after the request was sent
		f.What = "vault refused the TLS connection"
		f.Detail = fault.Words(operation.Err.Error()) + " at " + c.Address()
		f.Do = "if it wants a client certificate, name one that it accepts in VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server; check that it speaks TLS 1.2 or later"
		return f
	}
	return nil
}
