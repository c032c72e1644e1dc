package auth_test

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// The client certificate and key are used as people store them, or the error names the
// bad file and what to do.
func TestClientCertificateAndKey(t *testing.T) {
	t.Parallel()
	root := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true})
	middle := vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{CA: true})
	leaf := vaulttest.NewCertificate(t, middle, vaulttest.CertificateConfig{Client: true, CommonName: "agent"})
	other := vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{Client: true, CommonName: "other"})
	server := vaulttest.NewCertificate(t, root, vaulttest.CertificateConfig{})
	address := vaulttest.ServeTLS(t, &tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say(w, 200, `{"request_id":"1","data":{"ttl":0,"accessor":"a"},"mount_type":"token"}`)
	}))
	block, _ := pem.Decode([]byte(leaf.PEM()))
	whole, key := leaf.PEM(middle), leaf.KeyPEM(t)
	const noPair = "are not a certificate and its key in PEM form; name the two files of one pair"
	for _, test := range []struct {
		name             string
		certificate, key string
		variable, says   string // empty where the pair is good
	}{
		{"as it should be", whole, key, "", ""},
		{"with Windows line ends", vaulttest.WithCRLF(whole), vaulttest.WithCRLF(key), "", ""},
		{"with a byte order mark", vaulttest.WithBOM(whole), vaulttest.WithBOM(key), "", ""},
		{"certificate and key in one file, twice", whole + key, whole + key, "", ""},
		{"encrypted key, PKCS#8", whole, leaf.EncryptedKeyPEM(t, "Kq7canaryZ9"), "VAULT_CLIENT_KEY", "is encrypted; decrypt it"},
		{"encrypted key, old form", whole, leaf.LegacyEncryptedKeyPEM(t, "Kq7canaryZ9"), "VAULT_CLIENT_KEY", "is encrypted; decrypt it"},
		{"swapped", key, whole, "VAULT_CLIENT_CERT", noPair},
		{"certificate in DER", string(block.Bytes), key, "VAULT_CLIENT_CERT", noPair},
		{"key in PKCS#12", whole, "\x30\x82\x09\x11\x02\x01\x03\x30\x82", "VAULT_CLIENT_KEY", noPair},
		{"public key", whole, strings.ReplaceAll(key, "PRIVATE KEY-----", "PUBLIC KEY-----"), "VAULT_CLIENT_KEY", noPair},
		{"certificate in one line", strings.ReplaceAll(whole, "\n", " "), key, "VAULT_CLIENT_CERT", noPair},
		{"key with line ends as escapes", whole, strings.ReplaceAll(key, "\n", `\n`), "VAULT_CLIENT_KEY", noPair},
		{"key of another certificate", whole, other.KeyPEM(t), "VAULT_CLIENT_KEY", "are not a certificate and its key"},
		{"chain in the wrong order", middle.PEM(leaf), key, "VAULT_CLIENT_CERT", "the client's own certificate first in its file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: address}, variables{
				"VAULT_TOKEN": "t", "VAULT_CACERT": inFile(t, root.PEM()),
				"VAULT_CLIENT_CERT": inFile(t, test.certificate), "VAULT_CLIENT_KEY": inFile(t, test.key),
			}.options()), "secret/app")
			if test.variable == "" {
				require.NoError(t, r.err)
				return
			}
			assertKind(t, r.err, fault.Environment, test.variable, test.says)
			assert.NotContains(t, r.err.Error(), "canary")
		})
	}
}
