package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
)

// trust is the TLS configuration. Its files are read at each run.
type trust struct {
	caFile, caBytes, caPath string
	certFile, keyFile       string
	serverName              string
	skipVerify              bool
}

func (e *environment) trust() trust {
	t := trust{
		caFile:     e.text("VAULT_CACERT"),
		caBytes:    strings.TrimPrefix(strings.TrimSpace(e.getenv("VAULT_CACERT_BYTES")), bom), // PEM has line breaks inside
		caPath:     e.text("VAULT_CAPATH"),
		certFile:   e.text("VAULT_CLIENT_CERT"),
		keyFile:    e.text("VAULT_CLIENT_KEY"),
		serverName: e.text("VAULT_TLS_SERVER_NAME"),
		skipVerify: e.boolean("VAULT_SKIP_VERIFY"),
	}
	var cas []string
	for _, name := range []string{"VAULT_CACERT", "VAULT_CACERT_BYTES", "VAULT_CAPATH"} {
		if e.isSet(name) {
			cas = append(cas, name)
		}
	}
	if len(cas) > 1 {
		e.problem(cas[0] + " and " + cas[1] + " are both set; unset one")
	}
	switch cert, key := e.isSet("VAULT_CLIENT_CERT"), e.isSet("VAULT_CLIENT_KEY"); {
	case cert && !key:
		e.problem("VAULT_CLIENT_CERT is set without VAULT_CLIENT_KEY; set both or neither")
	case key && !cert:
		e.problem("VAULT_CLIENT_KEY is set without VAULT_CLIENT_CERT; set both or neither")
	}
	return t
}

// configs returns the configurations for Vault and for an https proxy before it. The
// proxy gets neither Vault's server name nor the client certificate, and its own
// certificate is always verified, also with the system's CAs. Loading those takes as
// long as hundreds of reads, so it is done only for a proxy.
func (t trust) configs(f files, httpsProxy bool) (vault, proxy *tls.Config, err error) {
	vault = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.serverName,
		InsecureSkipVerify: t.skipVerify, // the operator's choice; every run warns of it
	}
	proxy = &tls.Config{MinVersion: tls.VersionTLS12}
	pem, err := t.cas(f)
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
		certificate, err := t.pair(f)
		if err != nil {
			return nil, nil, err
		}
		// The certificate is sent whatever CAs the server names, because Vault's
		// refusal says more than a missing certificate. Printing cannot find the key
		// in a func.
		vault.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	}
	return vault, proxy, nil
}

// cas returns the CA certificates in PEM form; nil means the system's.
func (t trust) cas(f files) ([]byte, error) {
	holdsOne := func(pem []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(pem) }
	switch {
	case t.caBytes != "":
		if !holdsOne([]byte(t.caBytes)) {
			return nil, fault.New(fault.Environment, "VAULT_CACERT_BYTES holds no certificate", "set it to certificates in PEM form")
		}
		return []byte(t.caBytes), nil
	case t.caFile != "":
		data, err := f.read("VAULT_CACERT", t.caFile, maxCAFile)
		if err != nil {
			return nil, err
		}
		if !holdsOne(data) {
			return nil, badFile("VAULT_CACERT", t.caFile, "holds no certificate", "name a file of certificates in PEM form", nil)
		}
		return data, nil
	case t.caPath != "":
		entries, err := os.ReadDir(t.caPath)
		if err != nil {
			f := unreadable("VAULT_CAPATH", t.caPath, err)
			f.Do = "name the folder of the CA files, and give the agent's user the right to read it"
			return nil, f
		}
		var all []byte
		for _, entry := range entries {
			data, err := f.read("VAULT_CAPATH", filepath.Join(t.caPath, entry.Name()), maxCAFile)
			if err == nil && holdsOne(data) {
				all = append(append(all, data...), '\n')
			}
		}
		if all == nil {
			return nil, badFile("VAULT_CAPATH", t.caPath, "holds no certificate", "put certificates in PEM form there", nil)
		}
		return all, nil
	}
	return nil, nil
}

func (t trust) pair(f files) (tls.Certificate, error) {
	certificate, err := f.read("VAULT_CLIENT_CERT", t.certFile, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := f.read("VAULT_CLIENT_KEY", t.keyFile, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err == nil {
		return pair, nil
	}
	// The cause is omitted: it can quote the text that could not be parsed.
	switch {
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return tls.Certificate{}, badFile("VAULT_CLIENT_KEY", t.keyFile, "is encrypted", "decrypt it: openssl pkey -in KEY -out NEW, and let the agent's user alone read it", nil)
	case bytes.Contains(certificate, []byte("PRIVATE KEY-----")) && !bytes.Contains(certificate, []byte("BEGIN CERTIFICATE")):
		return tls.Certificate{}, badFile("VAULT_CLIENT_CERT", t.certFile, "holds a key, not a certificate", "swap VAULT_CLIENT_CERT and VAULT_CLIENT_KEY", nil)
	case !bytes.Contains(certificate, []byte("BEGIN CERTIFICATE")):
		return tls.Certificate{}, badFile("VAULT_CLIENT_CERT", t.certFile, "holds no certificate in PEM form", "name one, or convert it from DER: openssl x509 -inform der -in FILE -out NEW", nil)
	case !bytes.Contains(key, []byte("PRIVATE KEY-----")):
		return tls.Certificate{}, badFile("VAULT_CLIENT_KEY", t.keyFile, "holds no key in PEM form", "name one, or convert it from DER: openssl pkey -inform der -in FILE -out NEW", nil)
	}
	return tls.Certificate{}, fault.New(fault.Environment, "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not a certificate and its key", "name the two files of one pair, the client's own certificate first in its file")
}
