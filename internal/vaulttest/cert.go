package vaulttest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Cert is a role of a TLS certificate login method that trusts an authority made
// for it alone.
type Cert struct {
	Mount string // without auth/ before it
	Role  string

	authority *x509.Certificate
	key       *ecdsa.PrivateKey
}

// Cert mounts a TLS certificate login method at a random path and makes a role.
// The settings are those of auth/cert/certs/:name; which authority it trusts is
// set already. The server must speak TLS.
func (s *Server) Cert(t testing.TB, settings map[string]any) *Cert {
	t.Helper()
	c := NewCert(t)
	c.Mount, c.Role = s.loginMount(t, "cert"), "patch"
	role := map[string]any{"certificate": c.Authority()}
	maps.Copy(role, settings)
	s.Must(t, "POST", "auth/"+c.Mount+"/certs/"+c.Role, role)
	return c
}

// Pair makes a client certificate of an authority that nobody trusts, and its
// key, in PEM form.
func Pair(t testing.TB, commonName string) (certificate, key string) {
	t.Helper()
	return NewCert(t).Issue(t, commonName)
}

// NewCert makes the authority alone, for a test that mounts the method itself.
func NewCert(t testing.TB) *Cert {
	t.Helper()
	c := &Cert{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "vaulttest client authority " + Name()},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.key.PublicKey, c.key)
	require.NoError(t, err)
	c.authority, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

// Authority is the authority's certificate, in PEM form.
func (c *Cert) Authority() string { return inPEM("CERTIFICATE", c.authority.Raw) }

// Issue makes a client certificate and its key, in PEM form.
func (c *Cert) Issue(t testing.TB, commonName string) (certificate, key string) {
	t.Helper()
	return c.IssueUntil(t, commonName, c.authority.NotAfter)
}

// IssueUntil is Issue with an end of the certificate's time.
func (c *Cert) IssueUntil(t testing.TB, commonName string, notAfter time.Time) (certificate, key string) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	leafKey := newKey(t)
	leaf := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    c.authority.NotBefore,
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, c.authority, &leafKey.PublicKey, c.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	require.NoError(t, err)
	return inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", keyDER)
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
