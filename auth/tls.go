package auth

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
)

// trust is the TLS configuration. Its files are read at each run.
type trust struct {
	caVariable        string // the variable with the CAs; empty if they are the system's
	ca                string // its value
	certFile, keyFile string
	serverName        string
	skipVerify        bool
}

func (e *environment) trust() trust {
	t := trust{
		certFile:   e.text("VAULT_CLIENT_CERT"),
		keyFile:    e.text("VAULT_CLIENT_KEY"),
		serverName: e.name("VAULT_TLS_SERVER_NAME"),
		skipVerify: e.boolean("VAULT_SKIP_VERIFY"),
	}
	if isID(t.serverName) || hasUser(t.serverName) { // the error of the handshake would show it
		e.reject("VAULT_TLS_SERVER_NAME", "is not a host name; write it alone, such as vault.example")
	}
	for _, variable := range []string{"VAULT_CACERT", "VAULT_CACERT_BYTES", "VAULT_CAPATH"} {
		switch {
		case !e.isSet(variable):
		case t.caVariable != "":
			e.problem(t.caVariable + " and " + variable + " are both set; unset one")
		case variable == "VAULT_CACERT_BYTES": // PEM has line breaks inside
			t.caVariable, t.ca = variable, strings.TrimPrefix(strings.TrimSpace(e.getenv(variable)), bom)
		default:
			t.caVariable, t.ca = variable, e.text(variable)
		}
	}
	switch cert, key := e.isSet("VAULT_CLIENT_CERT"), e.isSet("VAULT_CLIENT_KEY"); {
	case cert && !key:
		e.problem("VAULT_CLIENT_CERT is set without VAULT_CLIENT_KEY; set both or neither")
	case key && !cert:
		e.problem("VAULT_CLIENT_KEY is set without VAULT_CLIENT_CERT; set both or neither")
	}
	return t
}

// configs returns the configurations for Vault and for an https proxy in front of it. The
// proxy gets neither Vault's server name nor the client certificate, and its own
// certificate is always verified, against the system's CAs, too. Loading those takes as
// long as hundreds of reads, so it is done only for a proxy.
func (t trust) configs(found *findings, httpsProxy bool) (vault, proxy *tls.Config, err error) {
	vault = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.serverName,
		InsecureSkipVerify: t.skipVerify, // the operator's choice; every run warns of it
	}
	proxy = &tls.Config{MinVersion: tls.VersionTLS12}
	pem, err := t.cas(found)
	if err != nil {
		return nil, nil, err
	}
	if pem != nil {
		vault.RootCAs = x509.NewCertPool()
		vault.RootCAs.AppendCertsFromPEM(pem)
	}
	if pem != nil && httpsProxy {
		if proxy.RootCAs, err = x509.SystemCertPool(); err != nil {
			proxy.RootCAs = x509.NewCertPool()
		}
		proxy.RootCAs.AppendCertsFromPEM(pem)
	}
	if t.certFile != "" {
		certificate, err := t.pair(found)
		if err != nil {
			return nil, nil, err
		}
		// The certificate is sent whatever CAs the server names, because Vault's
		// refusal says more than a missing certificate. Printing cannot find the key
		// in a func.
		vault.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return vault, proxy, nil
}
