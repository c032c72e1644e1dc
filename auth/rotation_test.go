package auth_test

import (
	"crypto/tls"
	"encoding/pem"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// Each run uses what the files hold when it logs in, without a restart.
func TestRotatedFiles(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	for _, test := range loginCases {
		if !test.rotates {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			secret := newSecret(t, server)
			v, rotate := test.setUp(t, server, map[string]any{"token_policies": secret.policy})
			vault := at(server, test.method, v)
			for range 2 {
				r := readOnce(t.Context(), vault, secret.path)
				require.NoError(t, r.err)
				assert.Equal(t, []int{200}, r.status)
				rotate()
			}
			assert.NoError(t, readOnce(t.Context(), vault, secret.path).err)
		})
	}
}

// A CA file can be corrected, or become wrong, without a restart.
func TestRotatedCA(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	good, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	stranger, _ := vaulttest.Pair(t, "stranger")
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "999h"})
	file := inFile(t, stranger)
	vault := auth.New(auth.Settings{Address: server.Address}, variables{"VAULT_TOKEN": token, "VAULT_CACERT": file}.options())

	assertKind(t, readOnce(t.Context(), vault, secret.path).err, fault.TLS, "VAULT_CACERT")
	write(t, file, string(good))
	require.NoError(t, readOnce(t.Context(), vault, secret.path).err)
	write(t, file, stranger)
	assertKind(t, readOnce(t.Context(), vault, secret.path).err, fault.TLS, "VAULT_CACERT")
}

// Each source of CAs works, and the client certificate is sent with any method.
//
// Only VAULT_SKIP_VERIFY turns verification off, with a warning.
func TestTrust(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	good, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	folder := t.TempDir()
	write(t, folder+"/a-readme.txt", "not a certificate")
	write(t, folder+"/z-ca.pem", string(good))
	pair := newPair(t)
	for _, name := range []string{"VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"} {
		content, err := os.ReadFile(pair[name])
		require.NoError(t, err)
		pair[name] = inFile(t, "\ufeff"+string(content))
	}
	require.NoError(t, os.Mkdir(folder+"/below", 0o700))
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "999h"})
	for _, test := range []struct {
		name    string
		v       variables
		kind    error
		says    string
		warning string
	}{
		{"a file", variables{"VAULT_CACERT": server.CAFile}, nil, "", ""},
		{"a file with a BOM", variables{"VAULT_CACERT": inFile(t, "\ufeff"+string(good))}, nil, "", ""},
		{"the bytes with a BOM", variables{"VAULT_CACERT_BYTES": "\ufeff" + string(good)}, nil, "", ""},
		{"mTLS from files with a BOM", pair.and(variables{"VAULT_CACERT": server.CAFile}), nil, "", ""},
		{"the bytes", variables{"VAULT_CACERT_BYTES": "\n" + string(good) + "\n"}, nil, "", ""},
		{"a folder", variables{"VAULT_CAPATH": folder}, nil, "", ""},
		{"mTLS with a token", newPair(t).and(variables{"VAULT_CACERT": server.CAFile}), nil, "", ""},
		{"another name in the certificate", variables{"VAULT_CACERT": server.CAFile, "VAULT_TLS_SERVER_NAME": "localhost"}, nil, "", ""},
		{"a name that it is not for", variables{"VAULT_CACERT": server.CAFile, "VAULT_TLS_SERVER_NAME": "vault.example"}, fault.TLS, "VAULT_TLS_SERVER_NAME", ""},
		{"nothing, at 127.0.0.1", variables{}, fault.TLS, "VAULT_CACERT", ""},
		{"skip-verify is false", variables{"VAULT_SKIP_VERIFY": "false"}, fault.TLS, "VAULT_CACERT", ""},
		{"skip-verify", variables{"VAULT_SKIP_VERIFY": "true"}, nil, "", "VAULT_SKIP_VERIFY is set"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vault := auth.New(auth.Settings{Address: server.Address}, test.v.and(variables{"VAULT_TOKEN": token}).options())
			r := readOnce(t.Context(), vault, secret.path)
			if test.kind != nil {
				assertKind(t, r.err, test.kind, test.says)
				assert.Empty(t, r.requests(t, server))
			} else {
				assert.NoError(t, r.err)
			}
			if test.warning == "" {
				assert.Empty(t, r.warnings())
			} else if assert.Len(t, r.warnings(), 1) {
				assert.Contains(t, r.warnings()[0], test.warning)
			}
		})
	}
}

// TLS 1.1 is never used, whatever the server offers.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	certificate := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{})
	config := &tls.Config{Certificates: []tls.Certificate{certificate.TLS()}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	address := vaulttest.ServeTLS(t, config, http.NotFoundHandler())
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: address}, variables{"VAULT_TOKEN": "t", "VAULT_CACERT_BYTES": certificate.PEM()}.options()))
	assertKind(t, r.err, fault.TLS, "protocol version not supported", "enable TLS 1.2 or later")
}

// A CA in DER form works once converted as the error says.
func TestCAInDERForm(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	server := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{})
	address := vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{server.TLS()}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		say(w, 200, `{"request_id":"1","data":{"ttl":0,"accessor":"a"},"mount_type":"token"}`)
	}))
	block, _ := pem.Decode([]byte(server.PEM()))
	file := inFile(t, string(block.Bytes))
	at := func(file string) *run {
		return readOnce(t.Context(), auth.New(auth.Settings{Address: address}, variables{"VAULT_TOKEN": "t", "VAULT_CACERT": file}.options()))
	}
	const conversion = "openssl x509 -inform der -in FILE -out NEW"
	assertKind(t, at(file).err, fault.Environment, "VAULT_CACERT", "holds no certificate in PEM form", conversion)
	command := strings.Fields(strings.NewReplacer("FILE", file, "NEW", file+".new").Replace(conversion))
	output, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.NoError(t, at(file+".new").err)
}

// The folder of CAs may hold other files, too. What cannot be used is reported.
func TestFolderOfCAs(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	ca, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy, "default"}, "ttl": "400h"})
	utf16 := "\xff\xfe" + strings.Join(strings.Split(string(ca), ""), "\x00") + "\x00"
	for _, test := range []struct {
		name     string
		files    map[string]string
		mode     fs.FileMode
		err      string // empty if it can be used
		warnings string
	}{
		{"alone", map[string]string{"ca.pem": string(ca)}, 0o755, "", ""},
		{"beside others", map[string]string{"ca.pem": string(ca), "README": "text", "empty": ""}, 0o755, "", ""},
		{"beside one in UTF-16", map[string]string{"ca.pem": string(ca), "old.pem": utf16}, 0o755, "", "old.pem is UTF-16; save it as UTF-8"},
		{"in UTF-16", map[string]string{"ca.pem": utf16}, 0o755, "ca.pem is UTF-16; save it as UTF-8", ""},
		{"in a folder below", map[string]string{"below/ca.pem": string(ca)}, 0o755, "holds no certificate; put files with certificates in PEM form directly into it", ""},
		{"of too many", map[string]string{"a": string(ca) + strings.Repeat("\n", 3<<20), "b": string(ca) + strings.Repeat("\n", 3<<20)}, 0o755, "holds more than 4 MiB", ""},
		{"beside a large file that is none", map[string]string{"a.jks": strings.Repeat("x", 3<<20), "ca.pem": string(ca), "z.jks": strings.Repeat("x", 3<<20)}, 0o755, "", ""},
		{"where others may write", map[string]string{"ca.pem": string(ca)}, 0o777, "", "every user of the Patch server can write "},
		{"with a key", map[string]string{"ca.pem": string(ca) + "-----BEGIN PRIVATE KEY-----\n"}, 0o755, "", "every user of the Patch server can read "},
	} {
		folder := filepath.Join(t.TempDir(), "cas")
		for name, content := range test.files {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755))
			write(t, filepath.Join(folder, name), content)
			require.NoError(t, os.Chmod(filepath.Join(folder, name), 0o644))
		}
		require.NoError(t, os.Chmod(folder, test.mode))
		r := readOnce(t.Context(), at(server, "", variables{"VAULT_TOKEN": token, "VAULT_CACERT": "", "VAULT_CAPATH": folder}), secret.path)
		if test.err != "" {
			assertKind(t, r.err, fault.Environment, "VAULT_CAPATH", test.err)
			continue
		}
		require.NoError(t, r.err, test.name)
		if test.warnings == "" || runtime.GOOS == "windows" {
			assert.Empty(t, r.warnings(), test.name)
		} else {
			require.Len(t, r.warnings(), 1, test.name)
			assert.Contains(t, r.warnings()[0], test.warnings, test.name)
		}
	}
}

// A login can wait for Vault so long that its secret id is replaced in the meantime.
func TestSecretIDIsRotatedDuringAnOutage(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	a := server.AppRole(t, map[string]any{"token_policies": "default"})
	old := a.SecretID(t, nil)
	file := inFile(t, old)
	target, err := url.Parse(server.Address)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	var logins atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") && logins.Add(1) == 1 {
			a.Destroy(t, old)
			write(t, file, a.SecretID(t, nil))
			say(w, http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	v := variables{"VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID_FILE": file, "VAULT_APPROLE_MOUNT": a.Mount}
	vault := auth.New(auth.Settings{Address: front.URL, AuthMethod: "approle"}, v.options())
	assert.NoError(t, readOnce(t.Context(), vault).err)
	assert.EqualValues(t, 3, logins.Load())

	write(t, file, old)
	assertKind(t, readOnce(t.Context(), vault).err, fault.Login, "400 invalid role or secret ID")
	assert.EqualValues(t, 4, logins.Load(), "the same secret id is not sent again")
}
