package auth_test

import (
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// ofVaultAPI returns the variables that vault/api reads and this library does not,
// well-formed and malformed. Addresses in them are those of a server that must get no
// request.
func ofVaultAPI(decoy string) (good, malformed variables) {
	return variables{
			api.EnvVaultAgentAddr:        decoy,
			api.EnvVaultMaxRetries:       "7",
			api.EnvVaultSRVLookup:        "true",
			api.EnvVaultDisableRedirects: "false",
			api.EnvHTTPProxy:             decoy,
			api.EnvVaultHeaders:          `{"x-vault-wrap-ttl":"60s","Authorization":"Bearer Kq7canaryZ9","X-Other":"Kq7canaryZ9"}`,
			api.EnvVaultWrapTTL:          "60s",
			api.EnvVaultMFA:              "Kq7canaryZ9",
		}, variables{
			api.EnvVaultAgentAddr:        "://Kq7canaryZ9",
			api.EnvVaultMaxRetries:       "Kq7canaryZ9",
			api.EnvVaultSRVLookup:        "Kq7canaryZ9",
			api.EnvVaultDisableRedirects: "Kq7canaryZ9",
			api.EnvHTTPProxy:             "://Kq7canaryZ9",
			api.EnvVaultHeaders:          `{"Kq7canaryZ9"`,
			api.EnvVaultWrapTTL:          "Kq7canaryZ9",
			api.EnvVaultMFA:              "Kq7canaryZ9",
		}
}

// The process's environment, which vault/api reads, does not change what is sent.
func TestVaultAPIsEnvironmentHasNoEffect(t *testing.T) {
	decoy := newStandIn(t, nil)
	good, malformed := ofVaultAPI(decoy.address)
	credentials := map[string]variables{
		"token":   {"VAULT_TOKEN": "hvs.given"},
		"approle": {"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s", "VAULT_TOKEN": "hvs.of-another-method"},
		"custom":  {"VAULT_TOKEN": "hvs.of-another-method"},
	}
	for _, test := range []struct {
		name string
		v    variables
		fail bool // no client of vault/api can be made
	}{
		{"unset", nil, false},
		{"well-formed", good, false},
		{"malformed", malformed, true},
	} {
		for method, own := range credentials {
			for _, where := range []string{"process", "Getenv"} {
				t.Run(test.name+" "+method+" "+where, func(t *testing.T) {
					server := newStandIn(t, nil)
					v := own.and(test.v).and(variables{"VAULT_ADDR": server.address})
					options := v.options()
					if where == "process" {
						for name, value := range v {
							t.Setenv(name, value)
						}
						options = auth.Options{}
					}
					options.Methods = handIn(map[string]api.AuthMethod{"custom": userpass{"userpass", "agent", password}})
					r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: method}, options), "secret/app")
					if test.fail && where == "process" {
						assertKind(t, r.err, fault.Environment, "VAULT_MAX_RETRIES is malformed")
						assert.NotContains(t, r.err.Error(), "canary")
						assert.Empty(t, server.requests())
						return
					}
					require.NoError(t, r.err)
					token := map[string]string{"token": "hvs.given"}[method]
					want := []string{"GET auth/token/lookup-self", "GET secret/app"}
					switch method {
					case "approle":
						want = []string{"PUT auth/approle/login", "GET secret/app", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}
					case "custom":
						want = []string{"PUT auth/userpass/login/agent", "GET secret/app", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}
					}
					assert.Equal(t, want, server.requests())
					for i, request := range server.all() {
						headers := http.Header{"User-Agent": {"luumen-patch-vault/devel run/" + r.id}, "X-Vault-Request": {"true"}}
						switch {
						case token != "":
							headers.Set("X-Vault-Token", token)
						case i > 0:
							headers.Set("X-Vault-Token", standInToken)
						}
						seen := request.Header.Clone()
						for _, transport := range []string{"Content-Length", "Accept-Encoding"} {
							seen.Del(transport)
						}
						assert.Equal(t, headers, seen, "%s %s: headers %v", request.Method, request.URL.Path, slices.Sorted(maps.Keys(seen)))
						assert.Empty(t, request.URL.RawQuery)
					}
				})
			}
		}
	}
	assert.Empty(t, decoy.requests())
}

// This library reads the variables that it honors, and reports malformed ones in its
// own words.
func TestHonoredVariablesAreReadHereAlone(t *testing.T) {
	server := newStandIn(t, nil)
	for name, value := range map[string]string{
		api.EnvVaultAddress:       "://Kq7canaryZ9",
		api.EnvVaultCACert:        "/nowhere/at/all",
		api.EnvVaultCACertBytes:   "Kq7canaryZ9",
		api.EnvVaultCAPath:        "/nowhere/at/all",
		api.EnvVaultClientCert:    "/nowhere/at/all",
		api.EnvVaultClientKey:     "/nowhere/at/all",
		api.EnvVaultClientTimeout: "Kq7canaryZ9",
		api.EnvVaultSkipVerify:    "Kq7canaryZ9",
		api.EnvVaultNamespace:     "/Kq7canaryZ9",
		api.EnvRateLimit:          "Kq7canaryZ9",
		api.EnvVaultProxyAddr:     "Kq7canaryZ9",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			// Not through Getenv: no effect, except if vault/api cannot parse it.
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options()))
			if name == api.EnvVaultAddress || name == api.EnvVaultNamespace || name == api.EnvVaultProxyAddr {
				require.NoError(t, r.err)
			} else {
				assertKind(t, r.err, fault.Environment, name)
				assert.NotContains(t, r.err.Error(), "canary")
			}
			asked := len(server.requests())
			// Through Getenv: an error, and nothing is sent.
			t.Setenv("VAULT_TOKEN", "t")
			r = readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, auth.Options{}))
			assertKind(t, r.err, fault.Environment, name)
			assert.NotContains(t, r.err.Error(), "canary")
			assert.Len(t, server.requests(), asked)
		})
	}
}

// vault/api rejects what we accept, such as a byte order mark. The error names the variable
// that it rejects, and not another one that is set, too.
func TestVariableThatVaultAPIRejects(t *testing.T) {
	server := newStandIn(t, nil)
	certificate, key := vaulttest.Pair(t, "agent")
	const bom = "\ufeff"
	t.Run("a key without a certificate", func(t *testing.T) {
		t.Setenv("VAULT_CAPATH", filepath.Dir(inFile(t, certificate)))
		t.Setenv("VAULT_CLIENT_KEY", inFile(t, key))
		t.Setenv("VAULT_RATE_LIMIT", "100:20x") // vault/api takes it
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options()))
		assertKind(t, r.err, fault.Environment, "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not accepted by vault/api")
	})
	for _, test := range []struct {
		name, ca, certificate string
		want                  string
	}{
		{"the CA", bom + certificate, certificate, "VAULT_CACERT is not accepted by vault/api"},
		{"the client certificate", certificate, bom + certificate, "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not accepted by vault/api"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, content := range map[string]string{"VAULT_CACERT": test.ca, "VAULT_CLIENT_CERT": test.certificate, "VAULT_CLIENT_KEY": key} {
				t.Setenv(name, inFile(t, content))
			}
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options()), "secret/app")
			assertKind(t, r.err, fault.Environment, test.want)
		})
	}
}
