package vaulttest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

// crypto/tls has a text for each of these faults.
func TestCertificate(t *testing.T) {
	t.Parallel()
	type config = vaulttest.CertificateConfig
	make := func(issuer *vaulttest.Certificate, c config) *vaulttest.Certificate {
		return vaulttest.NewCertificate(t, issuer, c)
	}
	root := make(nil, config{CA: true})
	middle := make(root, config{CA: true})
	past := time.Now().Add(-time.Minute)
	expired := make(root, config{CA: true, CommonName: "expired authority", NotAfter: past})
	narrow := make(root, config{CA: true, PermittedDNSDomains: []string{"luumen.example"}})
	without := make(root, config{CA: true, ExcludedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}})
	self := make(nil, config{})
	oldRoot := make(nil, config{CA: true, NotAfter: past})
	misordered := make(middle, config{}).TLS(middle)
	slices.Reverse(misordered.Certificate)
	for _, test := range []struct {
		name   string
		server tls.Certificate
		trust  *vaulttest.Certificate
		says   string // "" for a good one
	}{
		{"leaf of a root", make(root, config{}).TLS(), root, ""},
		{"leaf of an intermediate", make(middle, config{}).TLS(middle), root, ""},
		{"chain with its root in the middle", make(middle, config{}).TLS(root, middle), root, ""},
		{"signs itself", self.TLS(), self, ""},
		{"intermediate is missing", make(middle, config{}).TLS(), root, "certificate signed by unknown authority"},
		{"intermediate before the leaf", misordered, root, "doesn't contain any IP SANs"},
		{"other root", make(root, config{}).TLS(), make(nil, config{CA: true}), "certificate signed by unknown authority"},
		{"expired", make(root, config{NotAfter: past}).TLS(), root, "certificate has expired or is not yet valid"},
		{"not yet valid", make(root, config{NotBefore: time.Now().Add(time.Hour)}).TLS(), root, "is before"},
		{"intermediate is expired", make(expired, config{}).TLS(expired), root, "certificate has expired or is not yet valid"},
		{"root is expired", make(oldRoot, config{}).TLS(), oldRoot, "certificate has expired or is not yet valid"},
		{"other name", make(root, config{DNSNames: []string{"vault.example"}}).TLS(), root, "doesn't contain any IP SANs"},
		{"other address", make(root, config{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}).TLS(), root, "certificate is valid for 192.0.2.1, not 127.0.0.1"},
		{"common name alone", make(root, config{CommonName: "127.0.0.1", NoSAN: true}).TLS(), root, "certificate relies on legacy Common Name field"},
		{"for clients", make(root, config{Client: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}).TLS(), root, "incompatible key usage"},
		{"name constraint", make(narrow, config{}).TLS(narrow), root, "is not permitted by any constraint"},
		{"address constraint", make(without, config{}).TLS(without), root, "is excluded by constraint"},
		{"SHA-1", make(root, config{SHA1: true}).TLS(), root, "insecure algorithm ECDSA-SHA1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{test.server}}, http.HandlerFunc(
				func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: test.trust.Pool()}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			response, err := (&http.Client{Transport: transport}).Get(address)
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, "HTTP/2.0", string(text))
		})
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	root := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true})
	address := vaulttest.ServeTLS(t, &tls.Config{
		Certificates: []tls.Certificate{vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{}).TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    root.Pool(),
	}, http.NotFoundHandler())
	for _, client := range []bool{true, false} {
		leaf := vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{Client: client})
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: root.Pool(), Certificates: []tls.Certificate{leaf.TLS()}}}
		response, err := (&http.Client{Transport: transport}).Get(address)
		if client {
			require.NoError(t, err)
			response.Body.Close()
		} else {
			require.ErrorContains(t, err, "bad certificate")
		}
		transport.CloseIdleConnections()
	}
}

func TestCertificatePEM(t *testing.T) {
	t.Parallel()
	root := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true})
	leaf := vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{})
	pair, err := tls.X509KeyPair([]byte(leaf.PEM(root)), []byte(leaf.KeyPEM(t)))
	require.NoError(t, err)
	assert.Equal(t, [][]byte{leaf.Raw, root.Raw}, pair.Certificate)

	legacy, encrypted := leaf.LegacyEncryptedKeyPEM(t, "s3cret"), leaf.EncryptedKeyPEM(t, "s3cret")
	assert.True(t, strings.HasPrefix(legacy, "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,"))
	assert.True(t, strings.HasPrefix(encrypted, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
	for _, key := range []string{legacy, encrypted} {
		_, err = tls.X509KeyPair([]byte(leaf.PEM()), []byte(key))
		require.Error(t, err, "crypto/tls decrypts nothing")
	}
	assert.Equal(t, "\ufeffa\r\nb\r\n", vaulttest.WithBOM(vaulttest.WithCRLF("a\nb\n")))

	// What was encrypted is the key.
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("openssl is not here; the encrypted keys were not decrypted")
		return
	}
	for _, key := range []string{legacy, encrypted} {
		openssl := exec.CommandContext(t.Context(), program, "pkey", "-passin", "pass:s3cret", "-outform", "PEM")
		openssl.Stdin = strings.NewReader(key)
		output, err := openssl.Output()
		require.NoError(t, err)
		block, _ := pem.Decode(output)
		require.NotNil(t, block)
		decrypted, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		require.NoError(t, err)
		assert.True(t, leaf.Key.Equal(decrypted))
	}
}
