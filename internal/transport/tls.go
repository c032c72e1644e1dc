package transport

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/patience"
)

// tlsFailure returns the failure for an error of TLS, or nil for any other error.
func (w *Wire) tlsFailure(err error, atProxy bool) *patience.Failure {
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &patience.Failure{Fault: w.untrusted(unverified, atProxy), Unsent: true}
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &patience.Failure{Fault: w.notTLS(record, atProxy), Unsent: true}
	}
	failed, inHandshake := errors.AsType[*handshakeError](err)
	if operation, ok := errors.AsType[*net.OpError](err); ok && (operation.Op == "remote error" || isRenegotiation(operation.Err)) {
		// In TLS 1.3 the server may refuse after the request was sent.
		return &patience.Failure{Fault: w.alert(operation, atProxy), Unsent: inHandshake}
	}
	if !inHandshake || isNetwork(failed.error) {
		return nil
	}
	return &patience.Failure{Fault: w.badHandshake(failed, atProxy), Unsent: true}
}

// isRenegotiation reports whether the server asked for another handshake after the request.
// crypto/tls refuses that, with an error of a type that it does not export.
func isRenegotiation(err error) bool { return strings.Contains(err.Error(), "no renegotiation") }

// peer names the server of a TLS connection.
func peer(atProxy bool) string {
	if atProxy {
		return "the proxy"
	}
	return "vault"
}

// notTLS is the fault for a server that does not speak TLS.
func (w *Wire) notTLS(record tls.RecordHeaderError, atProxy bool) *fault.Error {
	if atProxy {
		return fault.New(fault.TLS, "the proxy in "+w.config.Proxy.Variable+" does not speak TLS",
			"check the port in "+w.proxyVariable()+", and use http:// in it if the proxy speaks plain HTTP to its clients")
	}
	name := "the server at " + w.Address()
	if string(record.RecordHeader[:]) != "HTTP/" {
		return fault.New(fault.TLS, name+" does not speak TLS", "check the port in the address")
	}
	f := fault.New(fault.TLS, name+" expects http, not https",
		"check the port in the address, and configure Vault's listener with TLS: over http, anyone on the network could read its secrets")
	f.Fix = "check the scheme and the port in the address: the server there does not speak https"
	return f
}

// alert is the fault for a server that refuses the TLS connection.
func (w *Wire) alert(operation *net.OpError, atProxy bool) *fault.Error {
	alert := operation.Err.Error()
	f := &fault.Error{
		Kind: fault.TLS, What: peer(atProxy) + " refused the TLS connection", Detail: w.Sent.Words(alert) + " at " + w.at(atProxy),
		Cause: operation,
	}
	switch {
	case isRenegotiation(operation.Err):
		f.What = peer(atProxy) + " asks for a second TLS handshake, which the agent does not support"
		f.Do = "configure the server to ask for the client certificate in the first handshake, not per location"
	case strings.Contains(alert, "protocol version"):
		f.Do = "enable TLS 1.2 or later on the server"
	case atProxy:
		f.Do = "check the name in " + w.proxyVariable() + ", and that the proxy demands no client certificate: VAULT_CLIENT_CERT is for Vault alone"
	case strings.Contains(alert, "certificate"):
		f.Do = "set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to a client certificate that the server accepts"
	case strings.Contains(alert, "unrecognized name"):
		f.Do = w.orServerName("use a host name in the address that the server knows, or set VAULT_TLS_SERVER_NAME on the Patch server")
	default:
		f.Do = "if the server demands a client certificate, set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to one that it accepts; check that it speaks TLS 1.2 or later, with ECDHE"
		if strings.Contains(alert, "internal error") {
			f.Do = "use the port of Vault's API in the address, 8200 by default: the cluster port, 8201, refuses all but Vault itself; " + f.Do
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
func (w *Wire) badHandshake(failed *handshakeError, atProxy bool) *fault.Error {
	f := &fault.Error{
		Kind: fault.TLS, What: "cannot establish a TLS connection to " + peer(atProxy), Detail: w.Sent.Words(failed.Error()) + " at " + w.at(atProxy),
		Do: "check that the server speaks TLS 1.2 or later",
	}
	if strings.Contains(failed.Error(), "certificate") {
		f.What = peer(atProxy) + "'s certificate cannot be used"
		f.Do = "reissue it as a valid X.509 certificate; an RSA key must have 1,024 to 8,192 bits"
	}
	return f
}

// untrustedError is the cause if a certificate is not trusted. crypto/tls's own holds the
// certificates, in which a server may send back what it was sent before.
type untrustedError struct {
	text   string
	reason error // of crypto/x509; may be nil
}

func (e *untrustedError) Error() string { return e.text }
func (e *untrustedError) Unwrap() error { return e.reason }

// withoutCertificate returns what a caller can compare of an error of crypto/x509, or nil.
func withoutCertificate(err error) error {
	switch err := err.(type) {
	case x509.UnknownAuthorityError:
		return x509.UnknownAuthorityError{}
	case x509.CertificateInvalidError:
		return x509.CertificateInvalidError{Reason: err.Reason}
	}
	return nil
}

// cas is where the CAs for Vault are.
func (w *Wire) cas() string { return cmp.Or(w.config.CAs, "VAULT_CACERT") }

// untrusted is the fault for a certificate that is not trusted, from crypto/x509's reason.
func (w *Wire) untrusted(unverified *tls.CertificateVerificationError, atProxy bool) *fault.Error {
	chain, whose := unverified.UnverifiedCertificates, peer(atProxy)+"'s"
	f := &fault.Error{
		Kind: fault.TLS, What: whose + " certificate is not trusted", Detail: w.Sent.Words(strings.TrimPrefix(unverified.Err.Error(), "x509: ")),
		Do:    "set VAULT_CACERT on the Patch server to the certificate of the CA that signed it",
		Cause: &untrustedError{w.Sent.Text(unverified.Error()), withoutCertificate(unverified.Err)},
	}
	switch err := unverified.Err.(type) {
	case x509.CertificateInvalidError:
		switch err.Reason {
		case x509.Expired:
			w.outdated(f, findOutdated(err.Cert, chain), chain, whose)
		case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage:
			f.What = whose + " certificate is not meant for a server"
			f.Do = "reissue it with the extended key usage serverAuth"
		case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.TooManyConstraints:
			f.What = whose + " certificate is for a name that its CA may not certify"
			f.Do = "reissue it with a CA whose name constraints allow the name"
		default:
			f.Do = "reissue it: " + f.Detail
		}
	case x509.HostnameError:
		w.wrongName(f, err.Certificate, chain, whose, atProxy)
	case x509.UnhandledCriticalExtension:
		f.Do = "reissue it without the critical extension, which Go does not know"
	case x509.UnknownAuthorityError:
		w.unsigned(f, err, chain, whose)
	}
	f.Detail += " at " + w.at(atProxy)
	return f
}

// wrongName fills in why a certificate is not for the name of the server.
func (w *Wire) wrongName(f *fault.Error, leaf *x509.Certificate, chain []*x509.Certificate, whose string, atProxy bool) {
	switch {
	case len(chain) > 1 && leaf.IsCA:
		f.What = whose + " certificates are in the wrong order"
		f.Detail += ", the CA certificate " + w.subject(leaf) + " is sent first"
		f.Do = "put the server's own certificate first in its chain"
	case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		f.What = whose + " certificate has no subject alternative name"
		f.Do = "reissue it with the host name of the address as a subject alternative name: the common name is ignored"
	default:
		f.What = whose + " certificate is for another host name"
		f.Do = w.orServerName("use a name of the certificate in the address, or set VAULT_TLS_SERVER_NAME on the Patch server to one")
		if atProxy {
			f.Do = "use a name of the certificate in " + w.proxyVariable()
		}
	}
}

// unsigned fills in why no trusted CA signed a certificate.
func (w *Wire) unsigned(f *fault.Error, err x509.UnknownAuthorityError, chain []*x509.Certificate, whose string) {
	if strings.Contains(err.Error(), "insecure algorithm") {
		f.What = whose + " certificate has a weak signature"
		if i := slices.IndexFunc(chain, isWeak); i >= 0 {
			f.Detail += ", " + w.subject(chain[i])
		}
		f.Do = "reissue it with SHA-256 or better"
		return
	}
	if w.config.CAs != "" {
		f.Do = "add the certificate of the CA that signed it to " + w.config.CAs + " on the Patch server: none of the CAs there did"
	}
	switch last := chain[len(chain)-1]; {
	case isSelfSigned(last):
		f.Detail += ", self-signed: " + w.subject(last)
	case len(chain) == 1:
		f.Detail += ", issued by " + w.named(last.Issuer) + ", sent without an intermediate certificate"
		f.Do += "; if that CA is an intermediate one, configure the server with its whole chain"
	default:
		f.Detail += ", its chain ends with a certificate issued by " + w.named(last.Issuer)
	}
}

// findOutdated returns the certificate that is expired or not valid yet. Only on Linux
// is it always the one that crypto/x509 names.
func findOutdated(named *x509.Certificate, chain []*x509.Certificate) *x509.Certificate {
	now := time.Now()
	for _, c := range append([]*x509.Certificate{named}, chain...) {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return c
		}
	}
	return named
}

// outdated fills in what to do about a certificate that is expired or not valid yet.
func (w *Wire) outdated(f *fault.Error, c *x509.Certificate, chain []*x509.Certificate, whose string) {
	f.What, f.Do = whose+" CA certificate", "renew it on the server"
	switch i := slices.IndexFunc(chain, c.Equal); {
	case i == 0:
		f.What = whose + " certificate"
	case i < 0:
		f.What = "a CA certificate on the Patch server"
		f.Do = "replace it in " + w.cas() + " on the Patch server with the CA's current certificate"
	case isSelfSigned(c):
		f.Do = "renew it on the server and in " + w.cas() + " on the Patch server"
	}
	if time.Now().Before(c.NotBefore) {
		f.What += " is not valid yet"
		f.Do = "set the clock of the Patch server if that is wrong, or wait"
	} else {
		f.What += " is expired"
		f.Do += ", or set the clock of the Patch server if that is wrong"
	}
	f.Detail = w.subject(c) + ", valid from " + fault.Time(c.NotBefore) + " to " + fault.Time(c.NotAfter) + ", it is " + fault.Time(time.Now()) + " here,"
}

func isSelfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// isWeak reports whether crypto/x509 rejects the signature algorithm.
func isWeak(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	}
	return false
}

func (w *Wire) subject(c *x509.Certificate) string { return w.named(c.Subject) }

// named formats a name in a certificate. It masks the values before they are escaped, and
// omits attributes of unknown types, which would be in hexadecimal.
func (w *Wire) named(name pkix.Name) string {
	masked := func(values []string) []string {
		var all []string
		for _, value := range values[:min(len(values), 4)] {
			all = append(all, w.Sent.Words(value))
		}
		return all
	}
	return cmp.Or(mask.Line(pkix.Name{
		SerialNumber:       w.Sent.Words(name.SerialNumber),
		CommonName:         w.Sent.Words(name.CommonName),
		OrganizationalUnit: masked(name.OrganizationalUnit),
		Organization:       masked(name.Organization),
		PostalCode:         masked(name.PostalCode),
		StreetAddress:      masked(name.StreetAddress),
		Locality:           masked(name.Locality),
		Province:           masked(name.Province),
		Country:            masked(name.Country),
	}.String()), "an empty name")
}
