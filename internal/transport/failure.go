package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// failureOf says why no whole answer arrived. It keeps only causes of known types: in
// others, net/http quotes what the server sent.
func (w *Wire) failureOf(err error, sending *progress) *patience.Failure {
	p := peer{Wire: w}
	if proxyErr, atProxy := errors.AsType[*proxyError](err); atProxy {
		p.isProxy, err = true, proxyErr.error
	}
	if failure := p.tlsFailure(err); failure != nil {
		return failure
	}
	if refusal, ok := errors.AsType[proxyRefusal](err); ok {
		return w.refusedByProxy(refusal)
	}
	f := p.unreachable(err, sending)
	failure := &patience.Failure{Fault: f, Retry: patience.Later, Unsent: !sending.sent.Load() || p.isProxy || isDial(err)}
	operation, isOperation := errors.AsType[*net.OpError](err)
	if isOperation {
		f.Cause = operation
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS:
		p.noAddress(f, dns)
	case isTimeout(err):
		failure.CutShort = sending.limit < w.config.Timeout
		noAnswer(f, sending.limit, failure.CutShort)
	case isRefused(err):
		f.Detail = "connection refused"
	case isReset(err):
		f.Detail = "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.closed(f, err, failure.Unsent)
	case isClosedIdle(err):
		f.Detail, f.Cause = "connection closed", io.EOF
	case isOperation:
		f.Detail = w.Sent.Words(operation.Err.Error())
	default:
		failure.Fault = p.notHTTP()
		if !sending.reused { // otherwise, it may be the rest of the previous answer
			failure.Retry = patience.Never
		}
		return failure
	}
	f.Detail += " at " + p.place()
	return failure
}

// peer is the server at the other end of a connection: Vault, or the proxy.
type peer struct {
	*Wire
	isProxy bool
}

func (p peer) name() string {
	if p.isProxy {
		return "the proxy"
	}
	return "vault"
}

// place is the peer's address, for messages.
func (p peer) place() string {
	if p.isProxy {
		return "the proxy " + p.config.Proxy.URL.Host + " in front of " + p.Address()
	}
	return p.Address()
}

// noAddress fills in that a name has no address.
func (p peer) noAddress(f *fault.Error, dns *net.DNSError) {
	f.Detail = "no address for " + p.Sent.Words(dns.Name) + ": " + p.Sent.Words(dns.Err)
	f.Do = "check the name in the address, and the Patch server's DNS"
	if p.isProxy {
		f.Do = "check the name in " + p.proxyVariable() + ", and its DNS"
	}
}

// noAnswer fills in that no answer came within the limit, and that VAULT_CLIENT_TIMEOUT
// helps, unless the attempt was cut short.
func noAnswer(f *fault.Error, limit time.Duration, cutShort bool) {
	f.Detail = "no answer within " + fault.Duration(limit)
	if !cutShort {
		f.Detail += " (VAULT_CLIENT_TIMEOUT)"
		f.Do += "; if Vault is only slow, raise VAULT_CLIENT_TIMEOUT on the Patch server"
	}
	if f.Cause == nil {
		f.Cause = context.DeadlineExceeded
	}
}

// closed fills in that the server closed the connection. A balancer without nodes does so
// without an answer.
func (p peer) closed(f *fault.Error, err error, unsent bool) {
	f.Detail, f.Cause = "connection closed in the middle of the answer", io.ErrUnexpectedEOF
	switch {
	case unsent:
		f.Detail = "connection closed before the request was sent"
	case errors.Is(err, io.EOF):
		f.Detail = "connection closed without an answer"
	}
	if p.config.Address.Scheme == "http" && !p.dialer.forwards() && !p.isProxy {
		f.Do += "; if the server expects https, use https in the address" // HAProxy closes the connection without an answer
	}
}

// unreachable is the fault for a server that gave no answer, without its detail. The
// proxy becomes the peer if it may be the one.
func (p *peer) unreachable(err error, sending *progress) *fault.Error {
	what, do := "vault unreachable", "check the address, that Vault runs there, and the network"
	switch {
	case p.config.Proxy != nil && isTimeout(err) && (p.isProxy || sending.conn == nil):
		// The time of the request and that of the dial end together, and only the
		// dial knows which part of it hangs. So the text is the same for both.
		p.isProxy = true
		what = "vault unreachable through the proxy"
		do = "check " + p.proxyVariable() + ", that the proxy runs there (http:// or https://, and its port) and lets the agent through to Vault, and the network"
	case p.isProxy, p.dialer.forwards() && isDial(err):
		p.isProxy = true
		what = "the proxy in front of vault is unreachable"
		do = "check " + p.proxyVariable() + ", that the proxy runs there (http:// or https://, and its port), and the network"
	case p.dialer.forwards():
		do = "check the address, that Vault runs there, " + p.proxyVariable() + ", and the network"
	}
	return fault.New(fault.Unreachable, what, do)
}

// refusedByProxy is the failure for a proxy that did not connect to Vault.
func (w *Wire) refusedByProxy(refusal proxyRefusal) *patience.Failure {
	place := " at " + peer{w, true}.place()
	cause := errors.New(refusal.words) // without the schemes, in which a proxy could echo its password
	f := &fault.Error{
		Kind: fault.Unreachable, What: "the proxy does not connect the agent to vault", Detail: refusal.words + place,
		Do:    "check " + w.proxyVariable() + ", the credentials in it, its scheme (http, https or socks5) and port, and that the proxy lets the agent through to Vault",
		Cause: cause,
	}
	switch {
	case refusal.schemes != "":
		f.Detail = refusal.words + " and asks for " + w.Sent.Words(refusal.schemes) + place
		f.Do = "let the proxy accept Basic credentials from " + w.proxyVariable() + ", or none: the agent sends no other kind"
	case refusal.retry == patience.Paced:
		f = reply.LimitedByProxy(f.Detail)
		f.Cause = cause
	case refusal.retry == patience.Later: // Vault may be down behind it
		f.Do = "check the address, that Vault runs there, that the proxy reaches it and lets the agent through, and " + w.proxyVariable()
	}
	return &patience.Failure{Fault: f, Retry: refusal.retry, Unsent: true}
}

// notHTTP is the fault for an answer that is not HTTP.
func (p peer) notHTTP() *fault.Error {
	do := "check the address, and the proxy or balancer in front of Vault"
	if p.isProxy || p.dialer.forwards() {
		do = "check the address, and " + p.proxyVariable() + ": the server there may not be a proxy, or may expect https:// or socks5://"
	}
	return fault.New(fault.BadResponse, "the server at "+p.place()+" does not speak HTTP/1.1 as Vault does", do)
}

// proxyVariable is where the proxy is set, for messages.
func (w *Wire) proxyVariable() string { return w.config.Proxy.Variable + " on the Patch server" }

// isSilence reports whether a request was sent and no answer came in time.
func isSilence(f *patience.Failure) bool {
	return !f.Unsent && f.Fault.Kind == fault.Unreachable && isTimeout(f.Fault.Cause)
}

// mayBeBlocked reports whether a failure may concern one request alone, which a proxy
// blocks.
func mayBeBlocked(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}
