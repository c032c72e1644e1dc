package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// tlsFailure returns the failure for an error of TLS, or nil for any other error.
func (p peer) tlsFailure(err error) *patience.Failure {
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &patience.Failure{Fault: p.untrusted(unverified), Unsent: true}
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &patience.Failure{Fault: p.notTLS(record), Unsent: true}
	}
	failed, inHandshake := errors.AsType[*handshakeError](err)
	if operation, ok := errors.AsType[*net.OpError](err); ok && (operation.Op == "remote error" || isRenegotiation(operation.Err)) {
		// In TLS 1.3 the server may refuse after the request was sent.
		return &patience.Failure{Fault: p.alert(operation), Unsent: inHandshake}
	}
	if !inHandshake || isNetwork(failed.error) {
		return nil
	}
	return &patience.Failure{Fault: p.badHandshake(failed), Unsent: true}
}

// isRenegotiation reports whether the server asked for another handshake after the request.
// crypto/tls refuses that, with an error of a type that it does not export.
func isRenegotiation(err error) bool { return strings.Contains(err.Error(), "no renegotiation") }

// notTLS is the fault for a server that does not speak TLS.
func (p peer) notTLS(record tls.RecordHeaderError) *fault.Error {
	if p.isProxy {
		return fault.New(fault.TLS, "the proxy in "+p.config.Proxy.Variable+" does not speak TLS",
			"check the port in "+p.proxyVariable()+", and use http:// in it if the proxy speaks plain HTTP to its clients")
	}
	name := "the server at " + p.Address()
	if string(record.RecordHeader[:]) != "HTTP/" {
		f := fault.New(fault.TLS, name+" does not speak TLS", "check the port in the address")
		f.Fix = f.Do
		return f
	}
	f := fault.New(fault.TLS, name+" expects http, not https",
		"check the port in the address, and configure Vault's listener with TLS: over http, anyone on the network could read its secrets")
	f.Fix = "check the scheme and the port in the address: the server there does not speak https"
	return f
}

// alert is the fault for a server that refuses the TLS connection.
func (p peer) alert(operation *net.OpError) *fault.Error {
	alert := operation.Err.Error()
	f := &fault.Error{
		Kind: fault.TLS, What: p.name() + " refused the TLS connection", Detail: p.Sent.Words(alert) + " at " + p.place(),
		Cause: operation,
	}
	switch {
	case isRenegotiation(operation.Err):
		f.What = p.name() + " asks for a second TLS handshake, which the agent does not support"
		f.Do = "configure the server to ask for the client certificate in the first handshake, not per location"
	case strings.Contains(alert, "protocol version"):
		f.Do = "enable TLS 1.2 or later on the server"
	case p.isProxy:
		f.Do = "check the name in " + p.proxyVariable() + ", and that the proxy demands no client certificate: VAULT_CLIENT_CERT is for Vault alone"
	case strings.Contains(alert, "certificate"):
		f.Do = "set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to a client certificate that the server accepts"
		if strings.Contains(alert, "expired") {
			f.Do += ": by the server's clock, the present one is expired or not yet valid"
		}
	case strings.Contains(alert, "unrecognized name"):
		f.Do = p.orServerName("use a host name in the address that the server knows, or set VAULT_TLS_SERVER_NAME on the Patch server")
		f.Fix = f.Do
	default:
		f.Do = "if the server demands a client certificate, set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to one that it accepts; check that it speaks TLS 1.2 or later, with ECDHE"
		if strings.Contains(alert, "internal error") {
			f.Do = "use the port of Vault's API in the address, 8200 by default: the cluster port, 8201, refuses all but Vault itself; " + f.Do
			f.Fix = f.Do
		}
	}
	return f
}

// orServerName is the advice for an address with a wrong name, unless a variable replaces it.
func (w *Wire) orServerName(do string) string {
	if w.config.TLS.ServerName != "" {
		return "correct or unset VAULT_TLS_SERVER_NAME on the Patch server, which replaces the name in the address"
	}
	return do
}

// badHandshake is the fault for a handshake that fails for another reason.
func (p peer) badHandshake(failed *handshakeError) *fault.Error {
	f := &fault.Error{
		Kind: fault.TLS, What: "cannot establish a TLS connection to " + p.name(), Detail: p.Sent.Words(failed.Error()) + " at " + p.place(),
		Do: "check that the server speaks TLS 1.2 or later",
	}
	if strings.Contains(failed.Error(), "certificate") {
		f.What = p.name() + "'s certificate cannot be used"
		f.Do = "reissue it as a valid X.509 certificate; an RSA key must have 1,024 to 8,192 bits"
	}
	return f
}
