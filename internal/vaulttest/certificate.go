package vaulttest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CertificateConfig describes a certificate. Its zero value is a server's certificate for
// localhost and 127.0.0.1.
type CertificateConfig struct {
	// CommonName is the subject. "" is a name of this package's own.
	CommonName string
	// DNSNames and IPAddresses are the names in the SAN extension. If both are
	// nil they are localhost and 127.0.0.1; an authority and a client have none.
	DNSNames    []string
	IPAddresses []net.IP
	// NoSAN omits the extension, so the common name is the only name.
	NoSAN bool

	// NotBefore and NotAfter are when it is valid. Zero is an hour ago and a
	// day from now.
	NotBefore, NotAfter time.Time

	// CA makes it an authority that can issue others.
	CA bool
	// Client makes it valid for client authentication only; otherwise it is valid for
	// server authentication only. An authority is valid for both.
	Client bool
	// These are the name constraints of an authority. A nil slice is none.
	PermittedDNSDomains, ExcludedDNSDomains []string
	PermittedIPRanges, ExcludedIPRanges     []*net.IPNet

	// SHA1 signs it with SHA-1, which crypto/x509 rejects.
	SHA1 bool
}

// Certificate is a certificate and its key.
type Certificate struct {
	*x509.Certificate
	Key *ecdsa.PrivateKey
}

// NewCertificate makes a certificate signed by the issuer, or by itself if that is nil.
//
//	root := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true})
//	middle := vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{CA: true})
//	leaf := vaulttest.NewCertificate(t, middle, vaulttest.CertificateConfig{})
//	address := vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS(middle)}}, handler)
func NewCertificate(t testing.TB, issuer *Certificate, config CertificateConfig) *Certificate {
	t.Helper()
	c, err := newCertificate(issuer, config)
	require.NoError(t, err)
	return c
}

// PEM is the certificate in PEM form, followed by the others.
func (c *Certificate) PEM(others ...*Certificate) string {
	var text strings.Builder
	text.WriteString(inPEM("CERTIFICATE", c.Raw))
	for _, other := range others {
		text.WriteString(inPEM("CERTIFICATE", other.Raw))
	}
	return text.String()
}

// KeyPEM is the key in PEM form (PKCS #8).
func (c *Certificate) KeyPEM(t testing.TB) string {
	t.Helper()
	return inPEM("PRIVATE KEY", c.keyDER(t))
}

// EncryptedKeyPEM is the key as "openssl pkcs8 -topk8" writes it: an ENCRYPTED
// PRIVATE KEY.
func (c *Certificate) EncryptedKeyPEM(t testing.TB, password string) string {
	t.Helper()
	der, err := encryptPKCS8(c.keyDER(t), password)
	require.NoError(t, err)
	return inPEM("ENCRYPTED PRIVATE KEY", der)
}

// LegacyEncryptedKeyPEM is the key as "openssl ec -aes256" writes it: an EC
// PRIVATE KEY with the header Proc-Type: 4,ENCRYPTED.
func (c *Certificate) LegacyEncryptedKeyPEM(t testing.TB, password string) string {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(c.Key)
	require.NoError(t, err)
	//lint:ignore SA1019 a test that such a key is refused needs one
	block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte(password), x509.PEMCipherAES256)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// TLS is the certificate with its key and the rest of the chain, in the order sent.
func (c *Certificate) TLS(chain ...*Certificate) tls.Certificate {
	pair := tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: c.Key}
	for _, other := range chain {
		pair.Certificate = append(pair.Certificate, other.Raw)
	}
	return pair
}

// Pool is a pool with only this certificate.
func (c *Certificate) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Certificate)
	return pool
}

// WithBOM puts a byte order mark before a text, as some editors of Windows do.
func WithBOM(text string) string { return "\ufeff" + text }

// WithCRLF ends the lines of a text as Windows does.
func WithCRLF(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func newCertificate(issuer *Certificate, config CertificateConfig) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := config.template()
	if err != nil {
		return nil, err
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.Certificate, issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &Certificate{Certificate: certificate, Key: key}, err
}

// template fills in the defaults.
func (c CertificateConfig) template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:        serial,
		Subject:             pkix.Name{CommonName: c.CommonName},
		NotBefore:           c.NotBefore,
		NotAfter:            c.NotAfter,
		DNSNames:            c.DNSNames,
		IPAddresses:         c.IPAddresses,
		KeyUsage:            x509.KeyUsageDigitalSignature,
		ExtKeyUsage:         []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomains: c.PermittedDNSDomains,
		ExcludedDNSDomains:  c.ExcludedDNSDomains,
		PermittedIPRanges:   c.PermittedIPRanges,
		ExcludedIPRanges:    c.ExcludedIPRanges,
		// As RFC 5280 asks; x509 then heeds the constraints whatever this says.
		PermittedDNSDomainsCritical: true,
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	name := "localhost"
	switch {
	case c.CA:
		name = "vaulttest authority " + Name()
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign, nil
	case c.Client:
		name = "vaulttest client"
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case c.DNSNames == nil && c.IPAddresses == nil:
		template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if c.CommonName == "" {
		template.Subject.CommonName = name
	}
	if c.NoSAN {
		template.DNSNames, template.IPAddresses = nil, nil
	}
	if c.SHA1 {
		template.SignatureAlgorithm = x509.ECDSAWithSHA1
	}
	return template, nil
}

func (c *Certificate) keyDER(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	require.NoError(t, err)
	return der
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// encryptPKCS8 encrypts a key by PBES2 (RFC 8018) with AES-256-CBC.
func encryptPKCS8(key []byte, password string) ([]byte, error) {
	type algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters any `asn1:"optional"`
	}
	type derivation struct {
		Salt       []byte
		Iterations int
		Hash       algorithm
	}
	type encryption struct{ Derivation, Cipher algorithm }
	type encrypted struct {
		Algorithm algorithm
		Key       []byte
	}
	const iterations = 2048
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	rand.Read(salt)
	rand.Read(iv)
	secret, err := pbkdf2.Key(sha256.New, password, salt, iterations, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(key)%aes.BlockSize
	text := append(key[:len(key):len(key)], strings.Repeat(string(rune(padding)), padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	return asn1.Marshal(encrypted{
		Algorithm: algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, encryption{ // PBES2
			Derivation: algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, derivation{ // PBKDF2
				salt, iterations, algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, asn1.NullRawValue}, // hmacWithSHA256
			}},
			Cipher: algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, iv}, // AES-256-CBC
		}},
		Key: text,
	})
}

// The TLS files of a cluster. A single server uses Vault's own -dev-tls.
const (
	caFile   = "ca.pem"
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// writeCertificates makes an authority and one certificate for localhost and 127.0.0.1 for
// all nodes of a cluster. It does not keep the authority's key.
func writeCertificates(dir string) error {
	authority, err := newCertificate(nil, CertificateConfig{CA: true})
	if err != nil {
		return err
	}
	leaf, err := newCertificate(authority, CertificateConfig{})
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.Key)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		caFile:   authority.PEM(),
		certFile: leaf.PEM(),
		keyFile:  inPEM("PRIVATE KEY", key),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
