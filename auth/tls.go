package auth

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/session"
)

// trust is how the two sides prove who they are. Its files are read at each
// run.
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

func (t trust) config(found func(session.Finding)) (*tls.Config, error) {
	f := files{found}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.serverName,
		InsecureSkipVerify: t.skipVerify, // the operator's own choice, and a warning of every run
	}
	var err error
	if config.RootCAs, err = t.roots(f); err != nil {
		return nil, err
	}
	if t.certFile != "" {
		certificate, err := t.pair(f)
		if err != nil {
			return nil, err
		}
		// Sent whatever CAs the server names: Vault's refusal says more than the
		// silence of a certificate left out. A func, for no print finds its key.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	}
	return config, nil
}

// roots are the CAs that the operator trusts; nil means the system's.
func (t trust) roots(f files) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	switch {
	case t.caBytes != "":
		if !pool.AppendCertsFromPEM([]byte(t.caBytes)) {
			return nil, fault.New(fault.Environment, "VAULT_CACERT_BYTES holds no certificate", "set it to certificates in PEM form")
		}
	case t.caFile != "":
		data, err := f.read("VAULT_CACERT", t.caFile, maxCAFile)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, badFile("VAULT_CACERT", t.caFile, "holds no certificate", "name a file of certificates in PEM form", nil)
		}
	case t.caPath != "":
		entries, err := os.ReadDir(t.caPath)
		if err != nil {
			f := unreadable("VAULT_CAPATH", t.caPath, err)
			f.Do = "name the folder of the CA files, and let the agent's user read it"
			return nil, f
		}
		found := false
		for _, entry := range entries {
			data, err := f.read("VAULT_CAPATH", filepath.Join(t.caPath, entry.Name()), maxCAFile)
			found = err == nil && pool.AppendCertsFromPEM(data) || found
		}
		if !found {
			return nil, badFile("VAULT_CAPATH", t.caPath, "holds no certificate", "put certificates in PEM form there", nil)
		}
	default:
		return nil, nil
	}
	return pool, nil
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
	f.warnIfExposed(source{variable: "VAULT_CLIENT_KEY", file: t.keyFile})
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		// The cause is left out: it can quote what it failed to parse.
		return tls.Certificate{}, fault.New(fault.Environment, "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not a certificate and its key", "name the two files of one pair, in PEM form")
	}
	return pair, nil
}
