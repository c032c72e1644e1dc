package transport

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
)

// distrust fills in why a certificate is not trusted, from crypto/x509's reason.
type distrust struct {
	peer
	fault *fault.Error        // to fill in
	chain []*x509.Certificate // as the server sent it
}

// untrusted is the fault for a certificate that is not trusted.
func (p peer) untrusted(unverified *tls.CertificateVerificationError) *fault.Error {
	f := &fault.Error{
		Kind: fault.TLS, What: p.name() + "'s certificate is not trusted", Detail: p.Sent.Words(strings.TrimPrefix(unverified.Err.Error(), "x509: ")),
		Do:    "set VAULT_CACERT on the Patch server to the certificate of the CA that signed it",
		Cause: &untrustedError{p.Sent.Text(unverified.Error()), withoutCertificate(unverified.Err)},
	}
	d := distrust{p, f, unverified.UnverifiedCertificates}
	switch err := unverified.Err.(type) {
	case x509.CertificateInvalidError:
		d.invalid(err)
	case x509.HostnameError:
		d.wrongName(err.Certificate)
	case x509.UnhandledCriticalExtension:
		f.Do = "reissue it without the critical extension, which Go does not know"
	case x509.UnknownAuthorityError:
		d.unsigned(err)
	}
	f.Detail += " at " + p.place()
	return f
}

func (d distrust) invalid(err x509.CertificateInvalidError) {
	f := d.fault
	switch err.Reason {
	case x509.Expired:
		d.outdated(findOutdated(err.Cert, d.chain))
	case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage:
		f.What = d.name() + "'s certificate is not meant for a server"
		f.Do = "reissue it with the extended key usage serverAuth"
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.NameConstraintsWithoutSANs, x509.TooManyConstraints:
		f.What = d.name() + "'s certificate is for a name that its CA may not certify"
		f.Do = "reissue it with a CA whose name constraints allow the name"
	default:
		f.Do = "reissue it: " + f.Detail
	}
}

func (d distrust) wrongName(leaf *x509.Certificate) {
	f := d.fault
	switch {
	case len(d.chain) > 1 && leaf.IsCA:
		f.What = d.name() + "'s certificates are in the wrong order"
		f.Detail += ", the CA certificate " + d.subject(leaf) + " is sent first"
		f.Do = "put the server's own certificate first in its chain"
	case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
		f.What = d.name() + "'s certificate has no subject alternative name"
		f.Do = "reissue it with the host name of the address as a subject alternative name: the common name is ignored"
	default:
		f.What = d.name() + "'s certificate is for another host name"
		if !strings.Contains(f.Detail, ", not ") { // Go lists no names of another kind than the address, nor a hundred
			f.Detail += ", it is for " + d.namesOf(leaf)
		}
		f.Do = d.orServerName("use a name of the certificate in the address, or set VAULT_TLS_SERVER_NAME on the Patch server to one")
		if d.isProxy {
			f.Do = "use a name of the certificate in " + d.proxyVariable()
		}
		f.Fix = f.Do
	}
}

// namesOf returns up to three names that a certificate is for.
func (w *Wire) namesOf(c *x509.Certificate) string {
	var names []string
	for _, name := range c.DNSNames[:min(len(c.DNSNames), 3)] {
		names = append(names, w.Sent.Words(name))
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), 3-len(names))] {
		names = append(names, ip.String())
	}
	return strings.Join(names, ", ")
}

// unsigned fills in why no trusted CA signed the certificate.
func (d distrust) unsigned(err x509.UnknownAuthorityError) {
	f := d.fault
	if strings.Contains(err.Error(), "insecure algorithm") {
		f.What = d.name() + "'s certificate has a weak signature"
		f.Do = "reissue it with SHA-256 or better"
		return
	}
	if d.config.CAs != "" {
		f.Do = "add the certificate of the CA that signed it to " + d.config.CAs + " on the Patch server: none of the CAs there did"
	}
	switch last := d.chain[len(d.chain)-1]; {
	case isSelfSigned(last):
		f.Detail += ", self-signed: " + d.subject(last)
	case len(d.chain) == 1:
		f.Detail += ", issued by " + d.named(last.Issuer) + ", sent without an intermediate certificate"
		f.Do += "; if that CA is an intermediate one, configure the server with its whole chain"
	default:
		f.Detail += ", its chain ends with a certificate issued by " + d.named(last.Issuer)
	}
}

// untrustedError is the cause if a certificate is not trusted. crypto/tls's own error holds
// the certificates, in which a server may echo a secret.
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
func (d distrust) outdated(c *x509.Certificate) {
	f, cas := d.fault, cmp.Or(d.config.CAs, "VAULT_CACERT")+" on the Patch server"
	f.What, f.Do = d.name()+"'s CA certificate", "renew it on the server"
	switch i := slices.IndexFunc(d.chain, c.Equal); {
	case i == 0:
		f.What = d.name() + "'s certificate"
	case i < 0:
		f.What = "a CA certificate on the Patch server"
		f.Do = "replace it in " + cas + " with the CA's current certificate"
	case isSelfSigned(c):
		f.Do = "renew it on the server and in " + cas
	}
	if time.Now().Before(c.NotBefore) {
		f.What += " is not valid yet"
		f.Do = "set the clock of the Patch server if that is wrong, or wait"
	} else {
		f.What += " is expired"
		f.Do += ", or set the clock of the Patch server if that is wrong"
	}
	f.Detail = d.subject(c) + ", valid from " + fault.Time(c.NotBefore) + " to " + fault.Time(c.NotAfter) + ", it is " + fault.Time(time.Now()) + " here,"
}

func isSelfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

func (w *Wire) subject(c *x509.Certificate) string { return w.named(c.Subject) }

// named formats a name in a certificate. It omits attributes of unknown types, which would
// be in hexadecimal.
func (w *Wire) named(name pkix.Name) string {
	sequence := name.ToRDNSequence()
	for n, values := range sequence {
		sequence[n] = values[:min(len(values), 4)] // a server can send thousands
		for i, v := range sequence[n] {
			values[i].Value = w.Sent.Words(v.Value.(string)) // before it is escaped
		}
	}
	return cmp.Or(mask.Line(sequence.String()), "an empty name")
}
