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
	proxyErr, atProxy := errors.AsType[*proxyError](err)
	if atProxy {
		err = proxyErr.error
	}
	if failure := w.tlsFailure(err, atProxy); failure != nil {
		return failure
	}
	if refusal, ok := errors.AsType[proxyRefusal](err); ok {
		return w.refusedByProxy(refusal)
	}
	f, atProxy := w.unreachable(err, atProxy, sending)
	failure := &patience.Failure{Fault: f, Retry: patience.Later, Unsent: !sending.sent.Load() || atProxy || isDial(err)}
	operation, isOperation := errors.AsType[*net.OpError](err)
	if isOperation {
		f.Cause = operation
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS:
		w.noAddress(f, dns, atProxy)
	case isTimeout(err):
		failure.CutShort = sending.limit < w.config.Timeout
		noAnswer(f, sending.limit, failure.CutShort)
	case isRefused(err):
		f.Detail = "connection refused"
	case isReset(err):
		f.Detail = "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		w.closed(f, failure.Unsent, atProxy)
	case isClosedIdle(err):
		f.Detail, f.Cause = "connection closed", io.EOF
	case isOperation:
		f.Detail = w.Sent.Words(operation.Err.Error())
	default:
		failure.Fault = w.notHTTP(atProxy)
		if !sending.reused { // otherwise, it may be the rest of the previous answer
			failure.Retry = patience.Never
		}
		return failure
	}
	f.Detail += " at " + w.at(atProxy)
	return failure
}

// noAddress fills in that a name has no address.
func (w *Wire) noAddress(f *fault.Error, dns *net.DNSError, atProxy bool) {
	f.Detail = "no address for " + w.Sent.Words(dns.Name) + ": " + w.Sent.Words(dns.Err)
	f.Do = "check the name in the address, and the Patch server's DNS"
	if atProxy {
		f.Do = "check the name in " + w.proxyVariable() + ", and its DNS"
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

// closed fills in that the server closed the connection.
func (w *Wire) closed(f *fault.Error, unsent, atProxy bool) {
	f.Detail, f.Cause = "connection closed in the middle of the answer", io.ErrUnexpectedEOF
	if unsent {
		f.Detail = "connection closed before the request was sent"
	}
	if w.config.Address.Scheme == "http" && !w.dialer.forwards() && !atProxy {
		f.Do += "; if the server expects https, use https in the address" // HAProxy closes the connection without an answer
	}
}

// unreachable is the fault for a server that gave no answer, without its detail. It also
// reports whether that is the proxy.
func (w *Wire) unreachable(err error, atProxy bool, sending *progress) (f *fault.Error, isProxy bool) {
	what, do := "vault unreachable", "check the address, that Vault runs there, and the network"
	switch {
	case w.config.Proxy != nil && isTimeout(err) && (atProxy || sending.conn == nil):
		// The time of the request and that of the dial end together, and only the
		// dial knows which part of it hangs. So the text is the same for both.
		what, isProxy = "vault unreachable through the proxy", true
		do = "check " + w.proxyVariable() + ", that the proxy runs there (http:// or https://, and its port) and lets the agent through to Vault, and the network"
	case atProxy, w.dialer.forwards() && isDial(err):
		what, isProxy = "the proxy in front of vault is unreachable", true
		do = "check " + w.proxyVariable() + ", that the proxy runs there, and the network"
	case w.dialer.forwards():
		do = "check the address, that Vault runs there, " + w.proxyVariable() + ", and the network"
	}
	return fault.New(fault.Unreachable, what, do), isProxy
}

// refusedByProxy is the failure for a proxy that did not connect to Vault.
func (w *Wire) refusedByProxy(refusal proxyRefusal) *patience.Failure {
	f := &fault.Error{
		Kind: fault.Unreachable, What: "the proxy does not connect the agent to vault", Detail: refusal.words + " at " + w.at(true),
		Do:    "check " + w.proxyVariable() + ", the credentials in it, and that the proxy lets the agent through to Vault",
		Cause: refusal,
	}
	switch {
	case refusal.schemes != "":
		f.Detail = refusal.words + " and asks for " + w.Sent.Words(refusal.schemes) + " at " + w.at(true)
		f.Do = "let the proxy accept Basic credentials from " + w.proxyVariable() + ", or none: the agent sends no other kind"
	case refusal.retry == patience.Paced:
		f = reply.LimitedByProxy(f.Detail)
		f.Cause = refusal
	}
	return &patience.Failure{Fault: f, Retry: refusal.retry, Unsent: true}
}

// notHTTP is the fault for an answer that is not HTTP.
func (w *Wire) notHTTP(atProxy bool) *fault.Error {
	do := "check the address, and the proxy or balancer in front of Vault"
	if atProxy || w.dialer.forwards() {
		do = "check the address, and " + w.proxyVariable() + ": the server there may not be a proxy"
	}
	return fault.New(fault.BadResponse, "the server at "+w.at(atProxy)+" does not speak HTTP/1.1 as Vault does", do)
}

// proxyVariable is where the proxy is set, for texts.
func (w *Wire) proxyVariable() string { return w.config.Proxy.Variable + " on the Patch server" }

// at names the server of a connection.
func (w *Wire) at(atProxy bool) string {
	if atProxy {
		return "the proxy " + w.config.Proxy.URL.Host + " in front of " + w.Address()
	}
	return w.Address()
}

// isSilence reports whether a request was sent and no answer came in time.
func isSilence(f *patience.Failure) bool {
	return !f.Unsent && f.Fault.Kind == fault.Unreachable && isTimeout(f.Fault.Cause)
}

// mayBeBlocked reports whether a failure may concern one request alone, which a proxy
// blocks.
func mayBeBlocked(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}
