package auth_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// What a file holds when a run logs in is what counts: the process is never
// started again.
//
// Trap 24.
func TestRotatedFiles(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	for _, test := range []struct {
		name   string
		method string
		// setUp makes the variables, and rotates what they point to: what was
		// there before ends, what is there now is good.
		setUp func(t *testing.T, role map[string]any) (v variables, rotate func())
	}{
		{"secret id", "approle", func(t *testing.T, role map[string]any) (variables, func()) {
			a := server.AppRole(t, role)
			old := a.SecretID(t, nil)
			file := inFile(t, old)
			return variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID_FILE": file}, func() {
				a.Destroy(t, old)
				write(t, file, a.SecretID(t, nil))
			}
		}},
		{"role id", "approle", func(t *testing.T, role map[string]any) (variables, func()) {
			role["bind_secret_id"], role["token_bound_cidrs"] = false, "127.0.0.0/8"
			a := server.AppRole(t, role)
			file := inFile(t, a.RoleID)
			return variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID_FILE": file}, func() {
				renewed := vaulttest.Name()
				server.Must(t, "POST", "auth/"+a.Mount+"/role/"+a.Role+"/role-id", map[string]any{"role_id": renewed})
				write(t, file, renewed)
			}
		}},
		{"service-account token", "kubernetes", func(t *testing.T, role map[string]any) (variables, func()) {
			k := server.Kubernetes(t, role)
			file := inFile(t, k.Token(t, nil))
			return variables{"VAULT_KUBERNETES_MOUNT": k.Mount, "VAULT_KUBERNETES_ROLE": k.Role, "VAULT_KUBERNETES_JWT_FILE": file}, func() {
				role["audience"] = "renewed"
				role["bound_service_account_names"], role["bound_service_account_namespaces"] = "runner", "default"
				server.Must(t, "POST", "auth/"+k.Mount+"/role/"+k.Role, role)
				write(t, file, k.Token(t, map[string]any{"aud": []string{"renewed"}}))
			}
		}},
		{"JWT", "jwt", func(t *testing.T, role map[string]any) (variables, func()) {
			j := server.JWT(t, role)
			file := inFile(t, j.Token(t, nil))
			return variables{"VAULT_JWT_MOUNT": j.Mount, "VAULT_JWT_ROLE": j.Role, "VAULT_JWT_FILE": file}, func() {
				server.Must(t, "POST", "auth/"+j.Mount+"/role/"+j.Role, map[string]any{"role_type": "jwt", "user_claim": "sub",
					"bound_audiences": []string{"renewed"}, "token_policies": role["token_policies"]})
				write(t, file, j.Token(t, map[string]any{"aud": "renewed"}))
			}
		}},
		{"client certificate", "cert", func(t *testing.T, role map[string]any) (variables, func()) {
			role["allowed_common_names"] = "before"
			c := server.Cert(t, role)
			certificate, key := c.Issue(t, "before")
			v := variables{"VAULT_CERT_MOUNT": c.Mount, "VAULT_CLIENT_CERT": inFile(t, certificate), "VAULT_CLIENT_KEY": inFile(t, key)}
			return v, func() {
				server.Must(t, "POST", "auth/"+c.Mount+"/certs/"+c.Role, map[string]any{"allowed_common_names": "after", "certificate": c.Authority(), "token_policies": role["token_policies"]})
				certificate, key := c.Issue(t, "after")
				write(t, v["VAULT_CLIENT_CERT"], certificate)
				write(t, v["VAULT_CLIENT_KEY"], key)
			}
		}},
		{"token", "token", func(t *testing.T, role map[string]any) (variables, func()) {
			make := func() string {
				return server.NewToken(t, map[string]any{"policies": []any{role["token_policies"]}, "ttl": "999h"})
			}
			old := make()
			file := inFile(t, old)
			return variables{"VAULT_TOKEN_FILE": file}, func() {
				server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": old})
				write(t, file, make())
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			secret := newSecret(t, server)
			v, rotate := test.setUp(t, map[string]any{"token_policies": secret.policy})
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

// The CA is a file like any other: one that is wrong is mended without a new
// process, one that is good can go bad.
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

// Each source of CAs works, and the operator's client certificate goes along
// with any method.
//
// Trap 36: nothing but VAULT_SKIP_VERIFY turns verification off, and that is a
// warning.
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
				assert.Empty(t, r.summary.Warnings)
			} else if assert.Len(t, r.summary.Warnings, 1) {
				assert.Contains(t, r.summary.Warnings[0], test.warning)
			}
		})
	}
}
