package vaulttest

import (
	"maps"
	"testing"
	"time"
)

// Cert is a role of a TLS certificate login method that trusts its own authority.
type Cert struct {
	Mount string // without auth/ before it
	Role  string

	authority *Certificate
}

// Cert mounts a TLS certificate login method at a random path and makes a role. The
// settings are those of auth/cert/certs/:name, without the authority. The server must use
// TLS.
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
	return &Cert{authority: NewCertificate(t, nil, CertificateConfig{CA: true})}
}

// Authority is the authority's certificate, in PEM form.
func (c *Cert) Authority() string { return c.authority.PEM() }

// Issue makes a client certificate and its key, in PEM form.
func (c *Cert) Issue(t testing.TB, commonName string) (certificate, key string) {
	t.Helper()
	return c.IssueBetween(t, commonName, time.Time{}, c.authority.NotAfter)
}

// IssueBetween is Issue for a certificate that is valid between two times; see
// CertificateConfig.
func (c *Cert) IssueBetween(t testing.TB, commonName string, notBefore, notAfter time.Time) (certificate, key string) {
	t.Helper()
	leaf := NewCertificate(t, c.authority, CertificateConfig{CommonName: commonName, Client: true, NotBefore: notBefore, NotAfter: notAfter})
	return leaf.PEM(), leaf.KeyPEM(t)
}
