package resolver_test

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// policyOf is a policy that grants the desk's secret.
func policyOf(t *testing.T, server *vaulttest.Server, d *desk) string {
	t.Helper()
	return server.Policy(t, `path "`+d.mount()+`/data/app" { capabilities = ["read"] }`)
}

// useAppRole makes a role for the desk's secret, with which the desk logs in.
func (d *desk) useAppRole(t *testing.T, server *vaulttest.Server, role map[string]any) *vaulttest.AppRole {
	t.Helper()
	settings := map[string]any{"token_policies": policyOf(t, server, d)}
	maps.Copy(settings, role)
	a := server.AppRole(t, settings)
	d.AuthMethod = "approle"
	d.v["VAULT_APPROLE_MOUNT"], d.v["VAULT_ROLE_ID"], d.v["VAULT_SECRET_ID"] = a.Mount, a.RoleID, a.SecretID(t, nil)
	return a
}

// unlock does what the error about a locked role id says: it runs the command, with the
// mount's accessor from vault auth list.
func unlock(t *testing.T, server *vaulttest.Server, mount, user string, err error) {
	t.Helper()
	command := regexp.MustCompile(`vault write -f (sys/locked-users/ACCESSOR/unlock/\w+), with the mount's accessor from vault auth list`).FindStringSubmatch(err.Error())
	require.NotNil(t, command, "%s", err)
	accessor := vaulttest.Text(server.Must(t, http.MethodGet, "sys/auth/"+mount, nil), "data", "accessor")
	server.Must(t, http.MethodPost, strings.NewReplacer("ACCESSOR", accessor, "ROLE_ID", user).Replace(command[1]), nil)
}

// Not proven here: response-wrapped secret ids, for which the only fix is another login.
func TestAdviceAboutLogins(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	appRole := func(spoil func(t *testing.T, d *desk, a *vaulttest.AppRole) (follow func())) func(*testing.T, *desk) func() {
		return func(t *testing.T, d *desk) func() {
			return spoil(t, d, d.useAppRole(t, server, nil))
		}
	}
	// wrong sets a variable of a login with AppRole that was right.
	wrong := func(variable, value string) func(*testing.T, *desk) func() {
		return appRole(func(_ *testing.T, d *desk, _ *vaulttest.AppRole) func() {
			right := d.v[variable]
			d.v[variable] = strings.ReplaceAll(value, "RIGHT", right)
			return func() { d.v[variable] = right }
		})
	}
	encoded := func(variable string) func(*testing.T, *desk) func() {
		return appRole(func(_ *testing.T, d *desk, _ *vaulttest.AppRole) func() {
			right := d.v[variable]
			d.v[variable] = inBase64(right)
			return func() { d.v[variable] = right }
		})
	}
	roleOf := func(t *testing.T, a *vaulttest.AppRole, settings map[string]any) {
		server.Must(t, http.MethodPost, "auth/"+a.Mount+"/role/"+a.Role, settings)
	}
	locked := func(try func(t *testing.T, d *desk)) func(*testing.T, *desk) func() {
		return appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			right := d.v["VAULT_SECRET_ID"]
			d.v["VAULT_SECRET_ID"] = "stale"
			for range 5 {
				try(t, d)
			}
			d.v["VAULT_SECRET_ID"] = right
			return func() { unlock(t, server, a.Mount, a.RoleID, d.run(t)) }
		})
	}
	elsewhere := server.AppRole(t, nil).Mount
	const lockedOut = "after several refused logins Vault locks a role id, for 15 minutes by default: wait, or unlock it"
	prove(t, withToken(server), []advice{
		{"a wrong role id", resolver.Login, "compare VAULT_ROLE_ID, or its file, with the id of the role at auth/approle-", wrong("VAULT_ROLE_ID", "wrong"), ""},
		{"a wrong secret id", resolver.Login, "the secret id is wrong, expired, used up or destroyed", wrong("VAULT_SECRET_ID", "wrong"), ""},
		{"a second factor", resolver.Login, "needs a second factor, which the agent cannot give; exempt it from login MFA in Vault: its mount", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			accessor := vaulttest.Text(server.Must(t, http.MethodGet, "sys/auth/"+a.Mount, nil), "data", "accessor")
			factor := vaulttest.Text(server.Must(t, http.MethodPost, "identity/mfa/method/totp", map[string]any{"issuer": "Vault"}), "data", "method_id")
			enforcement := "identity/mfa/login-enforcement/" + a.Mount
			server.Must(t, http.MethodPost, enforcement, map[string]any{"mfa_method_ids": factor, "auth_method_accessors": accessor})
			return func() { server.Must(t, http.MethodDelete, enforcement, nil) }
		}), ""},
		{"a destroyed secret id", resolver.Login, "used up or destroyed", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			a.Destroy(t, d.v["VAULT_SECRET_ID"])
			return func() { d.v["VAULT_SECRET_ID"] = a.SecretID(t, nil) }
		}), ""},
		{"a used-up secret id", resolver.Login, "set secret_id_num_uses=0 on the role", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			roleOf(t, a, map[string]any{"secret_id_num_uses": 1})
			d.v["VAULT_SECRET_ID"] = a.SecretID(t, nil)
			require.NoError(t, d.run(t))
			return func() {
				roleOf(t, a, map[string]any{"secret_id_num_uses": 0})
				d.v["VAULT_SECRET_ID"] = a.SecretID(t, nil)
				require.NoError(t, d.run(t))
			}
		}), ""},
		{"a role without policies", resolver.Denied, "add to its policy: ", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			roleOf(t, a, map[string]any{"token_policies": "", "token_no_default_policy": true})
			return func() { roleOf(t, a, map[string]any{"token_policies": server.Policy(t, lineIn(t, d.run(t)))}) }
		}), ""},
		{"no secret id", resolver.Login, "set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE", wrong("VAULT_SECRET_ID", ""), ""},
		{"no secret id, and none is meant", resolver.Login, "or set bind_secret_id=false on the role", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			d.v["VAULT_SECRET_ID"] = ""
			return func() {
				roleOf(t, a, map[string]any{"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})
			}
		}), ""},
		{"quotes around the role id", resolver.Login, "the credential in VAULT_ROLE_ID holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_ROLE_ID", `"RIGHT"`), ""},
		{"a variable's name as the secret id", resolver.Login, "VAULT_SECRET_ID holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_SECRET_ID", "$SECRET_ID"), ""},
		{"a template as the role id", resolver.Login, "VAULT_ROLE_ID holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_ROLE_ID", "{{ role_id }}"), ""},
		{"a comma behind the secret id", resolver.Login, `VAULT_SECRET_ID holds a quote, a bracket, a comma, a semicolon,`, wrong("VAULT_SECRET_ID", "RIGHT,"), ""},
		{"a file's name as the secret id", resolver.Login, "VAULT_SECRET_ID looks like the name of a file: set VAULT_SECRET_ID_FILE to it", wrong("VAULT_SECRET_ID", "@/run/secrets/id"), ""},
		{"quotes around the secret id", resolver.Login, "the credential in VAULT_SECRET_ID holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_SECRET_ID", `'RIGHT'`), ""},
		{"white space in the secret id", resolver.Login, "holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_SECRET_ID", `secret_id RIGHT`), ""},
		{"a zero-width space in the role id", resolver.Login, "VAULT_ROLE_ID holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_ROLE_ID", "RIGHT\u200b"), ""},
		{"a soft hyphen in the secret id", resolver.Login, "VAULT_SECRET_ID holds a quote, a bracket, a comma, a semicolon,", wrong("VAULT_SECRET_ID", "\u00adRIGHT"), ""},
		{"a wrapping token as the secret id", resolver.Login, "write the secret id itself", wrong("VAULT_SECRET_ID", "hvs.CAESIJwrappingtoken"), ""},
		{"a secret id that is too long", resolver.Login, "set VAULT_SECRET_ID, or its file, to the secret id alone", wrong("VAULT_SECRET_ID", strings.Repeat("RIGHT", 128)), ""},
		{"a role id that was encoded twice", resolver.Login, "VAULT_ROLE_ID is in base64: write it decoded", encoded("VAULT_ROLE_ID"), ""},
		{"a secret id that was encoded twice", resolver.Login, "VAULT_SECRET_ID is in base64: write it decoded", encoded("VAULT_SECRET_ID"), ""},
		{"a JWT as the secret id", resolver.Login, "choose the method jwt", wrong("VAULT_SECRET_ID", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"), ""},
		{"the name along with the secret id", resolver.Environment, "write the credential alone, without a name before it", wrong("VAULT_SECRET_ID", "VAULT_SECRET_ID=RIGHT"), ""},
		{"the name along with the role id", resolver.Environment, "write the credential alone, without a name before it", wrong("VAULT_ROLE_ID", "export role_id=RIGHT"), ""},
		{"a list in the role id", resolver.Environment, "holds JSON, not the credential alone", wrong("VAULT_ROLE_ID", `["RIGHT"]`), ""},
		{"lines of JSON in the secret id", resolver.Environment, "holds JSON, not the credential alone", wrong("VAULT_SECRET_ID", `{"secret_id":"RIGHT"}`+"\n{}"), ""},
		{"another line of the env file in the role id", resolver.Environment, "write the credential alone, without a name before it", wrong("VAULT_ROLE_ID", "VAULT_ADDR=https://vault.example:8200\r\nVAULT_ROLE_ID=RIGHT"), ""},
		{"JSON in the secret id", resolver.Environment, "write the credential alone", wrong("VAULT_SECRET_ID", `{"secret_id":"RIGHT"}`), ""},
		{"a source address that the secret id is not for", resolver.Login, "allow the Patch server's address, as Vault sees it, in the role", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			roleOf(t, a, map[string]any{"secret_id_bound_cidrs": "192.0.2.0/24"})
			d.v["VAULT_SECRET_ID"] = a.SecretID(t, nil)
			return func() {
				roleOf(t, a, map[string]any{"secret_id_bound_cidrs": "127.0.0.0/8"})
				d.v["VAULT_SECRET_ID"] = a.SecretID(t, nil)
			}
		}), ""},
		{"a source address that is not in the secret id's own list", resolver.Login, "create a new secret id, without cidr_list", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			d.v["VAULT_SECRET_ID"] = a.SecretID(t, map[string]any{"cidr_list": "192.0.2.0/24"})
			return func() { d.v["VAULT_SECRET_ID"] = a.SecretID(t, nil) }
		}), ""},
		{"a source address that the token is not for", resolver.Token, "check that it may be used from the Patch server's address as Vault sees it (token_bound_cidrs)", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			roleOf(t, a, map[string]any{"token_bound_cidrs": "192.0.2.0/24"})
			return func() { roleOf(t, a, map[string]any{"token_bound_cidrs": "127.0.0.0/8"}) }
		}), ""},
		{"a path in the address of a server without web pages", resolver.BadResponse, "omit /vault from the address", appRole(func(t *testing.T, d *desk, _ *vaulttest.AppRole) func() {
			right := d.Address
			d.Address = wrongServer(t, always(http.StatusNotFound, `{"errors":[]}`+"\n")) + "/vault"
			return func() { d.Address = right }
		}), ""},
		{"a mount with /login", resolver.Login, "write VAULT_APPROLE_MOUNT without /login", wrong("VAULT_APPROLE_MOUNT", "RIGHT/login"), ""},
		{"a mount that is not there", resolver.Login, "check that auth/nowhere (VAULT_APPROLE_MOUNT) exists in this namespace", wrong("VAULT_APPROLE_MOUNT", "nowhere"), ""},
		{"the credentials of another mount", resolver.Login, "with the id of the role at auth/" + elsewhere + " in this namespace", wrong("VAULT_APPROLE_MOUNT", elsewhere), ""},
		{"a disabled entity", resolver.Login, notDisabled, appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() { return d.disableEntity(t, server, a.Mount) }), ""},
		{"JWT, a disabled entity", resolver.Login, notDisabled, jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() { return d.disableEntity(t, server, j.Mount) }), ""},
		{"a certificate, a disabled entity", resolver.Login, notDisabled, certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() { return d.disableEntity(t, server, c.Mount) }), ""},
		{"JWT with an empty user claim", resolver.Login, demandedClaims, jwtOf(server, map[string]any{"sub": ""}), ""},
		{"JWT, a role of type oidc", resolver.Login, "set role_type=jwt on the role", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			role := map[string]any{"role_type": "oidc", "user_claim": "sub", "bound_audiences": "vault", "allowed_redirect_uris": "http://localhost/oidc", "token_policies": policyOf(t, server, d)}
			server.Must(t, http.MethodPost, "auth/"+j.Mount+"/role/"+j.Role, role)
			return func() {
				server.Must(t, http.MethodPost, "auth/"+j.Mount+"/role/"+j.Role, map[string]any{"role_type": "jwt"})
			}
		}), ""},
		{"a certificate without a common name", resolver.Login, "replace the certificate in VAULT_CLIENT_CERT with one that has a common name", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			key := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{Client: true}).Key
			template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			require.NoError(t, err)
			nameless := vaulttest.Certificate{Certificate: &x509.Certificate{Raw: der}, Key: key}
			server.Must(t, http.MethodPost, "auth/"+c.Mount+"/certs/nameless", map[string]any{"certificate": nameless.PEM(), "token_policies": policyOf(t, server, d)})
			d.v["VAULT_CLIENT_CERT"], d.v["VAULT_CLIENT_KEY"] = inFile(t, nameless.PEM()), inFile(t, nameless.KeyPEM(t))
			return func() { d.usePair(t, c) }
		}), ""},
		{"locked by five runs", resolver.Login, lockedOut, locked(func(t *testing.T, d *desk) { assert.ErrorIs(t, d.run(t), resolver.Login) }), ""},
		{"locked by five checks", resolver.Login, lockedOut, locked(func(t *testing.T, d *desk) {
			v := resolver.Check(t.Context(), d.vault(), nil, resolver.CheckOptions{})
			assert.Equal(t, resolver.Login, v.Connection.Kind)
		}), ""},
		{"locked by somebody else", resolver.Login, lockedOut, locked(func(t *testing.T, d *desk) {
			status, _, err := server.DoAs("", http.MethodPut, "auth/"+d.v["VAULT_APPROLE_MOUNT"]+"/login", map[string]any{"role_id": d.v["VAULT_ROLE_ID"], "secret_id": "guessed"})
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, status)
		}), ""},
		{"JWT, a wrong role", resolver.Login, "check VAULT_JWT_ROLE", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			d.v["VAULT_JWT_ROLE"] = "nobody"
			return func() { d.v["VAULT_JWT_ROLE"] = j.Role }
		}), ""},
		{"JWT, expired", resolver.Login, "check what writes the token file, and why it did not renew it", jwtOf(server, map[string]any{"exp": ago(time.Hour), "iat": ago(2 * time.Hour), "nbf": ago(2 * time.Hour)}), ""},
		{"JWT, not valid yet", resolver.Login, "compare the clocks of Vault and the token's issuer", jwtOf(server, map[string]any{"nbf": ago(-10 * time.Minute)}), ""},
		{"JWT, issued in the future", resolver.Login, "compare the clocks of Vault and the token's issuer", jwtOf(server, map[string]any{"iat": ago(-10 * time.Minute)}), ""},
		{"JWT, from a clock that is ahead", resolver.Login, "compare the clocks of Vault and the token's issuer", jwtOf(server, map[string]any{"iat": ago(-time.Hour), "nbf": ago(-time.Hour), "exp": ago(-2 * time.Hour)}), ""},
		{"JWT with a number as its subject", resolver.Login, "let the issuer write the claims as JWTs have them: iss and sub as strings", jwtOf(server, map[string]any{"sub": 7}), ""},
		{"JWT with a text as its time", resolver.Login, "exp, nbf and iat as numbers", jwtOf(server, map[string]any{"exp": time.Now().Add(time.Hour).Format(time.RFC3339)}), ""},
		{"JWT without a time", resolver.Login, "let the issuer add exp to the token", jwtOf(server, map[string]any{"iat": nil, "nbf": nil, "exp": nil}), ""},
		{"JWT of another audience", resolver.Login, demandedClaims, jwtWith(server, map[string]any{"aud": "luumen"}, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			return func() {
				server.Must(t, http.MethodPost, "auth/"+j.Mount+"/role/"+j.Role, map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "luumen", "token_policies": policyOf(t, server, d)})
			}
		}), ""},
		{"JWT of another subject", resolver.Login, demandedClaims, jwtWith(server, map[string]any{"sub": "other"}, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			role := map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_subject": "agent", "bound_audiences": "vault", "token_policies": policyOf(t, server, d)}
			server.Must(t, http.MethodPost, "auth/"+j.Mount+"/role/"+j.Role, role)
			return func() { d.v["VAULT_JWT_FILE"] = inFile(t, j.Token(t, nil)) }
		}), ""},
		{"JWT in quotes", resolver.Login, "VAULT_JWT_FILE does not hold a JWT alone: write it without anything before or after it", jwtAs(server, func(jwt string) string { return `"` + jwt + `"` }), ""},
		{"a JWT that was encoded twice", resolver.Login, "VAULT_JWT_FILE is in base64: write it decoded", jwtAs(server, inBase64), ""},
		{"Bearer before the JWT", resolver.Login, "VAULT_JWT_FILE does not hold a JWT alone", jwtAs(server, func(jwt string) string { return "Bearer " + jwt }), ""},
		{"half a JWT", resolver.Login, "VAULT_JWT_FILE does not hold a JWT alone", jwtAs(server, func(jwt string) string { return jwt[:strings.LastIndex(jwt, ".")] }), ""},
		{"another algorithm than the mount takes", resolver.Login, "and with its algorithm in jwt_supported_algs", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			config := map[string]any{"jwt_validation_pubkeys": []string{j.PublicKey(t)}, "jwt_supported_algs": "RS256"}
			server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", config)
			config["jwt_supported_algs"] = "RS256,ES256"
			return func() { server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", config) }
		}), ""},
		{"JWT of another issuer", resolver.Login, demandedClaims, jwtWith(server, map[string]any{"iss": "https://issuer.example/"}, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			config := map[string]any{"jwt_validation_pubkeys": []string{j.PublicKey(t)}, "bound_issuer": "https://issuer.example"}
			server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", config)
			config["bound_issuer"] = "https://issuer.example/"
			return func() { server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", config) }
		}), ""},
		{"JWT of another key", resolver.Login, "configure the mount with the keys of the token's issuer", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			other := vaulttest.NewJWT(t)
			d.v["VAULT_JWT_FILE"] = inFile(t, other.Token(t, nil))
			return func() {
				server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", map[string]any{"jwt_validation_pubkeys": []string{other.PublicKey(t)}})
			}
		}), ""},
		{"JWT whose keys Vault cannot fetch", resolver.Login, "vault cannot fetch the keys of the token's issuer: check oidc_discovery_url or jwks_url in auth/", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			keys := httptest.NewServer(always(http.StatusOK, `{"keys":[]}`))
			server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", map[string]any{"jwks_url": keys.URL})
			keys.Close()
			return func() {
				server.Must(t, http.MethodPost, "auth/"+j.Mount+"/config", map[string]any{"jwt_validation_pubkeys": []string{j.PublicKey(t)}})
			}
		}), ""},
		{"JWT at a mount of AppRole", resolver.Login, "check VAULT_JWT_MOUNT: auth/approle-", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			d.v["VAULT_JWT_MOUNT"] = server.AppRole(t, map[string]any{"token_policies": "default"}).Mount
			return func() { d.v["VAULT_JWT_MOUNT"] = j.Mount }
		}), ""},
		{"AppRole at a mount of JWTs", resolver.Login, "check VAULT_APPROLE_MOUNT: auth/", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			d.v["VAULT_APPROLE_MOUNT"] = server.JWT(t, map[string]any{"token_policies": "default"}).Mount
			return func() { d.v["VAULT_APPROLE_MOUNT"] = a.Mount }
		}), ""},
		{"AppRole at a mount of JWTs without a configuration", resolver.Login, "check VAULT_APPROLE_MOUNT: auth/jwt-", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			d.v["VAULT_APPROLE_MOUNT"] = "jwt-" + vaulttest.Name()
			server.Must(t, http.MethodPost, "sys/auth/"+d.v["VAULT_APPROLE_MOUNT"], map[string]any{"type": "jwt"})
			return func() { d.v["VAULT_APPROLE_MOUNT"] = a.Mount }
		}), ""},
		{"AppRole at a mount of certificates", resolver.Login, "check VAULT_APPROLE_MOUNT: auth/cert-", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			d.v["VAULT_APPROLE_MOUNT"] = server.Cert(t, nil).Mount
			return func() { d.v["VAULT_APPROLE_MOUNT"] = a.Mount }
		}), ""},
		{"AppRole at a mount of certificates, with a pair", resolver.Login, "check VAULT_APPROLE_MOUNT: auth/cert-", appRole(func(t *testing.T, d *desk, a *vaulttest.AppRole) func() {
			d.v["VAULT_APPROLE_MOUNT"] = server.Cert(t, nil).Mount
			d.usePair(t, vaulttest.NewCert(t))
			return func() { d.v["VAULT_APPROLE_MOUNT"] = a.Mount }
		}), ""},
		{"a certificate that is not valid yet", resolver.Login, "compare the clocks of Vault and the CA of the certificate in VAULT_CLIENT_CERT", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			certificate, key := c.IssueBetween(t, "agent", time.Now().Add(10*time.Minute), time.Now().Add(time.Hour))
			d.v["VAULT_CLIENT_CERT"], d.v["VAULT_CLIENT_KEY"] = inFile(t, certificate), inFile(t, key)
			return func() { d.usePair(t, c) }
		}), ""},
		{"JWT at a mount without a configuration", resolver.Login, "configure the mount in Vault: vault write auth/", jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
			mount := "jwt-" + vaulttest.Name()
			server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "jwt"})
			d.v["VAULT_JWT_MOUNT"] = mount
			config := map[string]any{"jwt_validation_pubkeys": []string{j.PublicKey(t)}}
			return func() {
				server.Must(t, http.MethodPost, "auth/"+mount+"/config", config)
				server.Must(t, http.MethodPost, "auth/"+mount+"/role/"+j.Role, map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": policyOf(t, server, d)})
			}
		}), ""},
		{"a certificate of another authority", resolver.Login, "add the certificate, or the CA that signed it", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			stranger := vaulttest.NewCert(t)
			d.usePair(t, stranger)
			return func() {
				server.Must(t, http.MethodPost, "auth/"+c.Mount+"/certs/"+c.Role, map[string]any{"certificate": stranger.Authority(), "token_policies": policyOf(t, server, d)})
			}
		}), ""},
		{"a certificate, a wrong role", resolver.Login, "check VAULT_CERT_ROLE", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			d.v["VAULT_CERT_ROLE"] = "nobody"
			return func() { d.v["VAULT_CERT_ROLE"] = c.Role }
		}), ""},
		{"a certificate of another name", resolver.Login, "and its name (allowed_common_names) to a role", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			role := map[string]any{"certificate": c.Authority(), "allowed_common_names": "other", "token_policies": policyOf(t, server, d)}
			server.Must(t, http.MethodPost, "auth/"+c.Mount+"/certs/"+c.Role, role)
			return func() {
				role["allowed_common_names"] = "agent"
				server.Must(t, http.MethodPost, "auth/"+c.Mount+"/certs/"+c.Role, role)
			}
		}), ""},
		{"an expired certificate", resolver.Login, "replace the certificate in VAULT_CLIENT_CERT with a valid one", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			certificate, key := c.IssueBetween(t, "agent", time.Time{}, time.Now().Add(-time.Minute))
			d.v["VAULT_CLIENT_CERT"], d.v["VAULT_CLIENT_KEY"] = inFile(t, certificate), inFile(t, key)
			return func() { d.usePair(t, c) }
		}), ""},
		{"a certificate that names no OCSP server", resolver.Login, "or set ocsp_enabled=false on the role", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			role := map[string]any{"certificate": c.Authority(), "token_policies": policyOf(t, server, d), "ocsp_enabled": true}
			server.Must(t, http.MethodPost, "auth/"+c.Mount+"/certs/"+c.Role, role)
			return func() {
				role["ocsp_enabled"] = false
				server.Must(t, http.MethodPost, "auth/"+c.Mount+"/certs/"+c.Role, role)
			}
		}), ""},
		{"a certificate before a proxy that ends TLS", resolver.Login, "connect to Vault's own TLS listener, and remove tls_disable_client_certs from it; a proxy that terminates TLS must", certWith(server, func(t *testing.T, d *desk, c *vaulttest.Cert) func() {
			d.behindTLS(t, server)
			return func() { d.Address = server.Address }
		}), ""},
	})
}

// notDisabled is part of the advice about a login that was denied.
const notDisabled = "that the entity of this login is not disabled"

// demandedClaims is the beginning of the advice about the claims of a JWT.
const demandedClaims = "compare the claims of the token with what auth/"

// disableEntity disables the entity of a login that works. The func returned enables it.
func (d *desk) disableEntity(t *testing.T, server *vaulttest.Server, mount string) (enable func()) {
	t.Helper()
	require.NoError(t, d.run(t)) // which makes the entity
	accessor := vaulttest.Text(server.Must(t, http.MethodGet, "sys/auth/"+mount, nil), "data", "accessor")
	aliases, _ := server.Must(t, "LIST", "identity/entity-alias/id", nil)["data"].(map[string]any)["key_info"].(map[string]any)
	set := func(disabled bool) {
		for _, alias := range aliases {
			if alias := alias.(map[string]any); alias["mount_accessor"] == accessor {
				server.Must(t, http.MethodPost, "identity/entity/id/"+alias["canonical_id"].(string), map[string]any{"disabled": disabled})
			}
		}
	}
	set(true)
	return func() { set(false) }
}

func ago(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

func jwtWith(server *vaulttest.Server, claims map[string]any, spoil func(t *testing.T, d *desk, j *vaulttest.JWT) (follow func())) func(*testing.T, *desk) func() {
	return func(t *testing.T, d *desk) func() {
		j := server.JWT(t, map[string]any{"token_policies": policyOf(t, server, d)})
		d.AuthMethod = "jwt"
		d.v["VAULT_JWT_MOUNT"], d.v["VAULT_JWT_ROLE"], d.v["VAULT_JWT_FILE"] = j.Mount, j.Role, inFile(t, j.Token(t, claims))
		return spoil(t, d, j)
	}
}

// jwtOf writes a token with these claims, and then a good one.
func jwtOf(server *vaulttest.Server, claims map[string]any) func(*testing.T, *desk) func() {
	return jwtWith(server, claims, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
		return func() { require.NoError(t, os.WriteFile(d.v["VAULT_JWT_FILE"], []byte(j.Token(t, nil)), 0o600)) }
	})
}

// jwtAs writes the func's result, and then the token alone.
func jwtAs(server *vaulttest.Server, content func(jwt string) string) func(*testing.T, *desk) func() {
	return jwtWith(server, nil, func(t *testing.T, d *desk, j *vaulttest.JWT) func() {
		jwt := j.Token(t, nil)
		d.v["VAULT_JWT_FILE"] = inFile(t, content(jwt))
		return func() { d.v["VAULT_JWT_FILE"] = inFile(t, jwt) }
	})
}

func certWith(server *vaulttest.Server, spoil func(t *testing.T, d *desk, c *vaulttest.Cert) (follow func())) func(*testing.T, *desk) func() {
	return func(t *testing.T, d *desk) func() {
		c := server.Cert(t, map[string]any{"token_policies": policyOf(t, server, d)})
		d.AuthMethod, d.v["VAULT_CERT_MOUNT"] = "cert", c.Mount
		d.usePair(t, c)
		return spoil(t, d, c)
	}
}

func (d *desk) usePair(t *testing.T, c *vaulttest.Cert) {
	t.Helper()
	certificate, key := c.Issue(t, "agent")
	d.v["VAULT_CLIENT_CERT"], d.v["VAULT_CLIENT_KEY"] = inFile(t, certificate), inFile(t, key)
}

// Vault locks the user of a method of Options as it locks a role id.
func TestLockedUserOfAHandedInMethod(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	d := withToken(server)(t)
	mount := "userpass-" + vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "userpass"})
	server.Must(t, http.MethodPost, "auth/"+mount+"/users/agent", map[string]any{"password": "pass", "token_policies": policyOf(t, server, d)})
	d.AuthMethod = "userpass"
	run := func(password string) error {
		options := environment(nil)
		options.Methods = handIn(map[string]api.AuthMethod{"userpass": logIn{"auth/" + mount + "/login/agent", map[string]any{"password": password}}})
		return resolver.One(t.Context(), auth.New(d.Settings, options), host("h", "password", d.field.Ref().String()), resolver.Options{}).Err()
	}
	require.NoError(t, run("pass"))
	for range 5 {
		require.ErrorIs(t, run("stale"), resolver.Login)
	}
	err := run("pass")
	require.ErrorIs(t, err, resolver.Login)
	require.ErrorContains(t, err, "that the user is not locked after several refused logins")
	accessor := vaulttest.Text(server.Must(t, http.MethodGet, "sys/auth/"+mount, nil), "data", "accessor")
	server.Must(t, http.MethodPost, "sys/locked-users/"+accessor+"/unlock/agent", nil)
	require.NoError(t, run("pass"))
}

// Kubernetes as a real API server answers; see the README for what works.
func TestAdviceAboutKubernetes(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	type cluster struct {
		*vaulttest.Kubernetes
		config, role map[string]any
	}
	// with makes a mount whose configuration, role and token are as wrong as the
	// test wants them; repair says what is to be done.
	with := func(spoil func(t *testing.T, k *cluster) (claims map[string]any), repair func(t *testing.T, d *desk, k *cluster)) func(*testing.T, *desk) func() {
		return func(t *testing.T, d *desk) func() {
			k := &cluster{Kubernetes: vaulttest.NewKubernetes(t)}
			k.Mount, k.Role = "kubernetes-"+vaulttest.Name(), "luumen-patch"
			server.Must(t, http.MethodPost, "sys/auth/"+k.Mount, map[string]any{"type": "kubernetes"})
			k.config = k.Config(t)
			k.role = map[string]any{"bound_service_account_names": "runner", "bound_service_account_namespaces": "default", "audience": "vault", "token_policies": policyOf(t, server, d)}
			claims := spoil(t, k)
			if k.config != nil {
				server.Must(t, http.MethodPost, "auth/"+k.Mount+"/config", k.config)
			}
			server.Must(t, http.MethodPost, "auth/"+k.Mount+"/role/"+k.Role, k.role)
			d.AuthMethod = "kubernetes"
			d.v["VAULT_KUBERNETES_MOUNT"], d.v["VAULT_KUBERNETES_ROLE"] = k.Mount, k.Role
			d.v["VAULT_KUBERNETES_JWT_FILE"] = inFile(t, k.Token(t, claims))
			d.v["VAULT_CLIENT_TIMEOUT"] = "5s"
			return func() { repair(t, d, k) }
		}
	}
	token := func(claims map[string]any) func(*testing.T, *desk, *cluster) {
		return func(t *testing.T, d *desk, k *cluster) {
			require.NoError(t, os.WriteFile(d.v["VAULT_KUBERNETES_JWT_FILE"], []byte(k.Token(t, claims)), 0o600))
		}
	}
	config := func(change func(t *testing.T, k *cluster)) func(*testing.T, *desk, *cluster) {
		return func(t *testing.T, _ *desk, k *cluster) {
			k.config = k.Config(t)
			change(t, k)
			server.Must(t, http.MethodPost, "auth/"+k.Mount+"/config", k.config)
		}
	}
	role := func(name string, value any) func(*testing.T, *desk, *cluster) {
		return func(t *testing.T, _ *desk, k *cluster) {
			k.role[name] = value
			server.Must(t, http.MethodPost, "auth/"+k.Mount+"/role/"+k.Role, k.role)
		}
	}
	right := func(*testing.T, *cluster) {}
	podsOwn := map[string]any{"aud": []string{vaulttest.APIServerAudience}}
	const monitored = "run vault monitor -log-level=debug and try again, which often shows the cause"
	prove(t, withToken(server), []advice{
		{"a wrong role", resolver.Login, "check VAULT_KUBERNETES_ROLE",
			func(t *testing.T, d *desk) func() {
				follow := with(func(*testing.T, *cluster) map[string]any { return nil },
					func(_ *testing.T, d *desk, k *cluster) { d.v["VAULT_KUBERNETES_ROLE"] = k.Role })(t, d)
				d.v["VAULT_KUBERNETES_ROLE"] = "nobody"
				return follow
			}, ""},
		{"the pod's own token", resolver.Login, "set VAULT_KUBERNETES_JWT_FILE to a token projected for the role's audience",
			with(func(*testing.T, *cluster) map[string]any { return podsOwn }, token(nil)), ""},
		{"a token of another audience", resolver.Login, "set VAULT_KUBERNETES_JWT_FILE to a token projected for the role's audience",
			with(func(*testing.T, *cluster) map[string]any { return map[string]any{"aud": []string{"nomad"}} }, token(nil)), ""},
		{"another service account", resolver.Login, "add the pod's service account to bound_service_account_names",
			with(func(_ *testing.T, k *cluster) map[string]any {
				k.role["bound_service_account_names"] = "other"
				return nil
			}, role("bound_service_account_names", "other,runner")), ""},
		{"another namespace", resolver.Login, "add the pod's namespace to bound_service_account_namespaces",
			with(func(_ *testing.T, k *cluster) map[string]any {
				k.role["bound_service_account_namespaces"] = "other"
				return nil
			}, role("bound_service_account_namespaces", "default")), ""},
		{"an expired token", resolver.Login, "check why the token file is not renewed",
			with(func(*testing.T, *cluster) map[string]any { return map[string]any{"exp": ago(time.Hour)} }, token(nil)), ""},
		{"a token that is not valid yet", resolver.Login, "compare the clocks of Vault and the Kubernetes cluster",
			with(func(*testing.T, *cluster) map[string]any { return map[string]any{"nbf": ago(-200 * time.Second)} }, token(nil)), ""},
		{"a token that was issued in the future", resolver.Login, "compare the clocks of Vault and the Kubernetes cluster",
			with(func(*testing.T, *cluster) map[string]any { return map[string]any{"iat": ago(-200 * time.Second)} }, token(nil)), ""},
		{"no configuration", resolver.Login, "configure the mount in Vault: vault write auth/kubernetes-",
			with(func(_ *testing.T, k *cluster) map[string]any { k.config = nil; return nil }, config(right)), ""},
		{"no reviewer", resolver.Login, "token_reviewer_jwt (missing, expired, without system:auth-delegator)",
			with(func(_ *testing.T, k *cluster) map[string]any { delete(k.config, "token_reviewer_jwt"); return nil }, config(right)), ""},
		{"a reviewer without the right", resolver.Login, "without system:auth-delegator",
			with(func(t *testing.T, k *cluster) map[string]any {
				k.config["token_reviewer_jwt"] = k.SecretToken(t, "kube-system/other")
				return nil
			}, func(_ *testing.T, _ *desk, k *cluster) { k.Delegate("kube-system/other") }), ""},
		{"an expired reviewer", resolver.Login, monitored,
			with(func(t *testing.T, k *cluster) map[string]any {
				k.config["token_reviewer_jwt"] = k.TokenOf(t, vaulttest.Reviewer, map[string]any{"aud": []string{vaulttest.APIServerAudience}, "exp": ago(time.Hour)})
				return nil
			}, config(right)), ""},
		{"a reviewer that was deleted", resolver.Login, "token_reviewer_jwt (missing",
			with(func(t *testing.T, k *cluster) map[string]any {
				k.config["token_reviewer_jwt"] = k.SecretToken(t, vaulttest.Reviewer)
				k.Recreate(vaulttest.Reviewer)
				return nil
			}, config(right)), ""},
		{"no CA", resolver.Login, "its kubernetes_host, kubernetes_ca_cert and token_reviewer_jwt",
			with(func(_ *testing.T, k *cluster) map[string]any { delete(k.config, "kubernetes_ca_cert"); return nil }, config(right)), ""},
		{"a wrong host", resolver.Login, "its kubernetes_host, kubernetes_ca_cert",
			with(func(t *testing.T, k *cluster) map[string]any {
				k.config["kubernetes_host"] = "https://" + vaulttest.ClosedPort(t)
				return nil
			}, config(right)), ""},
		{"the service account was recreated", resolver.Login, "that pod and service account still exist",
			func(t *testing.T, d *desk) func() {
				var made *cluster
				follow := with(func(_ *testing.T, k *cluster) map[string]any { made = k; return nil }, token(nil))(t, d)
				made.Recreate("default/runner")
				return follow
			}, ""},
		{"an address that the role does not allow", resolver.Login, "that its role allows the Patch server's address as Vault sees it (token_bound_cidrs)",
			with(func(_ *testing.T, k *cluster) map[string]any {
				k.role["token_bound_cidrs"] = "192.0.2.0/24"
				return nil
			}, role("token_bound_cidrs", "127.0.0.0/8")), ""},
		{"a disabled entity", resolver.Login, notDisabled,
			func(t *testing.T, d *desk) func() {
				with(func(*testing.T, *cluster) map[string]any { return nil }, nil)(t, d)
				return d.disableEntity(t, server, d.v["VAULT_KUBERNETES_MOUNT"])
			}, ""},
		{"a JWT of no service account", resolver.Login, "set VAULT_KUBERNETES_JWT_FILE to a service account's token",
			with(func(_ *testing.T, k *cluster) map[string]any {
				k.role["bound_service_account_names"], k.role["bound_service_account_namespaces"] = "*", "*"
				return map[string]any{"kubernetes.io": nil}
			}, token(nil)), ""},
		{"the API server hangs", resolver.Login, "vault waits for the Kubernetes API server: check kubernetes_host in auth/kubernetes-",
			func(t *testing.T, d *desk) func() {
				follow := with(func(_ *testing.T, k *cluster) map[string]any { k.Hang.Store(true); return nil },
					func(_ *testing.T, d *desk, k *cluster) {
						d.v["VAULT_CLIENT_TIMEOUT"] = "30"
						k.Hang.Store(false)
					})(t, d)
				d.v["VAULT_CLIENT_TIMEOUT"], d.patience = "2s", 5*brief // two attempts
				return follow
			}, ""},
	})

	// What works, beside the README's recipe: the pod's own token, with a role of
	// no audience or the API server's.
	for _, audience := range []string{"", vaulttest.APIServerAudience} {
		t.Run("the pod's own token, for the audience "+cmp.Or(audience, "of nobody"), func(t *testing.T) {
			t.Parallel()
			d := withToken(server)(t)
			with(func(_ *testing.T, k *cluster) map[string]any { k.role["audience"] = audience; return podsOwn }, nil)(t, d)
			require.NoError(t, d.run(t))
		})
	}
}

// behindTLS puts a proxy that terminates TLS between the desk and the server.
func (d *desk) behindTLS(t *testing.T, server *vaulttest.Server) {
	t.Helper()
	ca, err := os.ReadFile(server.CAFile)
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	target, err := url.Parse(server.Address)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	t.Cleanup(transport.CloseIdleConnections)
	proxy.Transport = transport
	authority := vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true})
	leaf := vaulttest.NewCertificate(t, authority, vaulttest.CertificateConfig{})
	d.Address = vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, proxy)
	d.v["VAULT_CACERT"] = inFile(t, string(ca)+authority.PEM())
}
