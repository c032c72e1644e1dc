package auth_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
)

// Each setting has its value, or "set", and its source. Variables of other methods are
// unused; variables that are never read have the name to use instead.
func TestEffective(t *testing.T) {
	t.Parallel()
	v := variables{
		"VAULT_KUBERNETES_ROLE": "patch", "VAULT_KUBERNETES_MOUNT": "team/kubernetes",
		"VAULT_TOKEN": "x", "VAULT_SECRET_ID_FILE": "/f", "VAULT_JWT_MOUNT": "jwt", "VAULT_CERT_ROLE": "r",
		"LUUMEN_VAULT_PATHS": "secret/luumen", "VAULT_CACERT_BYTES": "PEM", "VAULT_SKIP_VERIFY": "true", "VAULT_RATE_LIMIT": "100:20", "VAULT_CLIENT_TIMEOUT": "5s",
		"VAULT_PROXY_ADDR": "http://user:password@proxy", "HTTPS_PROXY": "http://user:password@proxy",
		"VAULT_AGENT_ADDR": "x", "VAULT_HEADERS": "x", "VAULT_ROLE": "x", "VAULT_MFA": " ",
	}
	settings := auth.Settings{Enabled: new(true), Address: "https://vault.example", KVVersion: "v1", AuthMethod: "kubernetes", Namespace: "team", Mounts: []string{"team/kv", "kv"}}
	report := auth.New(settings, v.options()).Effective()
	assert.Equal(t, []auth.Setting{
		{Name: "enabled", Value: "true", Source: "UI"},
		{Name: "address", Value: "https://vault.example", Source: "UI"},
		{Name: "kv_version", Value: "v1", Source: "UI"},
		{Name: "auth_method", Value: "kubernetes", Source: "UI"},
		{Name: "namespace", Value: "team", Source: "UI"},
		{Name: "mounts", Value: "team/kv, kv", Source: "UI"},
		{Name: "kubernetes_mount", Value: "team/kubernetes", Source: "VAULT_KUBERNETES_MOUNT"},
		{Name: "kubernetes_role", Value: "patch", Source: "VAULT_KUBERNETES_ROLE"},
		{Name: "kubernetes_jwt_file", Value: "/var/run/secrets/kubernetes.io/serviceaccount/token", Source: "default"},
		{Name: "pinned_paths", Value: "secret/luumen", Source: "LUUMEN_VAULT_PATHS"},
		{Name: "cacert_bytes", Value: "set", Source: "VAULT_CACERT_BYTES"},
		{Name: "skip_verify", Value: "true", Source: "VAULT_SKIP_VERIFY"},
		{Name: "rate_limit", Value: "100:20", Source: "VAULT_RATE_LIMIT"},
		{Name: "client_timeout", Value: "5s", Source: "VAULT_CLIENT_TIMEOUT"},
		{Name: "proxy_addr", Value: "set", Source: "VAULT_PROXY_ADDR"},
	}, report.Used)
	var unused []string
	for _, s := range report.Unused {
		unused = append(unused, s.Source)
		assert.Equal(t, "set", s.Value)
	}
	assert.ElementsMatch(t, []string{"VAULT_TOKEN", "VAULT_SECRET_ID_FILE", "VAULT_JWT_MOUNT", "VAULT_CERT_ROLE", "HTTPS_PROXY"}, unused)
	assert.Equal(t, []auth.Setting{
		{Name: "VAULT_AGENT_ADDR", Value: "set", Source: "VAULT_AGENT_ADDR", Note: "use the UI's settings: address"},
		{Name: "VAULT_HEADERS", Value: "set", Source: "VAULT_HEADERS", Note: "has no effect"},
		{Name: "VAULT_ROLE", Value: "set", Source: "VAULT_ROLE", Note: "use VAULT_KUBERNETES_ROLE, VAULT_JWT_ROLE or VAULT_CERT_ROLE"},
	}, report.NotRead)

	text, err := json.Marshal(report)
	require.NoError(t, err)
	var again auth.Effective
	require.NoError(t, json.Unmarshal(text, &again))
	assert.Equal(t, report, again)
	assert.Equal(t, len(report.Used)+len(report.Unused)+len(report.NotRead), strings.Count(report.String(), "\n"))
}

// With a method of Options, the variables of all built-in methods are unused.
// A standard proxy variable is in use if it is for the address.
func TestEffectiveProxies(t *testing.T) {
	t.Parallel()
	const proxy = "http://proxy.example:3128"
	for _, test := range []struct {
		address string
		v       variables
		used    []string
	}{
		{"https://vault.example", variables{"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}, []string{"HTTPS_PROXY"}},
		{"http://vault.example", variables{"HTTPS_PROXY": proxy, "http_proxy": proxy}, []string{"http_proxy"}},
		{"https://vault.example", variables{"HTTPS_PROXY": proxy, "NO_PROXY": "vault.example"}, []string{"NO_PROXY"}},
		{"https://127.0.0.1:8200", variables{"HTTPS_PROXY": proxy}, nil},
		{"https://vault.example", variables{"HTTPS_PROXY": "socks4://proxy.example"}, []string{"HTTPS_PROXY"}}, // not valid
		{"https://vault.example", variables{"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "other", "no_proxy": "vault.example"}, []string{"HTTPS_PROXY", "NO_PROXY"}},
		{"https://vault.example", variables{"HTTPS_PROXY": "socks4://proxy.example", "https_proxy": proxy}, []string{"HTTPS_PROXY"}},
	} {
		report := auth.New(auth.Settings{Address: test.address}, test.v.and(variables{"VAULT_TOKEN": "t"}).options()).Effective()
		var used []string
		for _, s := range report.Used {
			if test.v[s.Source] != "" {
				used = append(used, s.Source)
			}
		}
		assert.Equal(t, test.used, used, "%v", test.v)
		assert.Len(t, report.Unused, len(test.v)-len(used), "%v", test.v)
		for _, s := range report.Unused {
			assert.Equal(t, "not for this address, or another variable comes first", s.Note, "%v", test.v)
		}
	}
}

func TestEffectiveWithMethodHandedIn(t *testing.T) {
	t.Parallel()
	report := withMethod("https://vault.example", userpass{}, variables{"VAULT_TOKEN": "t", "VAULT_ROLE_ID": "r"}).Effective()
	assert.Len(t, report.Unused, 2)
	assert.Contains(t, report.Used, auth.Setting{Name: "auth_method", Value: "custom", Source: "UI", Note: "handed in by the agent"})
}

func TestEffectiveWithoutVault(t *testing.T) {
	t.Parallel()
	report := auth.New(auth.Settings{}, variables{}.options()).Effective()
	assert.Contains(t, report.Used, auth.Setting{Name: "enabled", Value: "false", Source: "default"})
	assert.Contains(t, report.Used, auth.Setting{Name: "address", Value: "none", Source: "default"})
	assert.Contains(t, report.Used, auth.Setting{Name: "client_timeout", Value: "10s", Source: "default"})
}

// Every variable that vault/api reads is either honored or listed as not read,
// and so are the names that similar products use.
func TestNoVariableIsPassedOver(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		api.EnvVaultAddress, api.EnvVaultAgentAddr, api.EnvVaultCACert, api.EnvVaultCACertBytes, api.EnvVaultCAPath, api.EnvVaultClientCert, api.EnvVaultClientKey,
		api.EnvVaultClientTimeout, api.EnvVaultHeaders, api.EnvVaultSRVLookup, api.EnvVaultSkipVerify, api.EnvVaultNamespace, api.EnvVaultTLSServerName,
		api.EnvVaultWrapTTL, api.EnvVaultMaxRetries, api.EnvVaultToken, api.EnvVaultMFA, api.EnvRateLimit, api.EnvHTTPProxy, api.EnvVaultProxyAddr, api.EnvVaultDisableRedirects,
		"VAULT_ADDRESS", "VAULT_ROLE", "VAULT_AUTH_METHOD", "VAULT_LOGIN_MOUNT_POINT", "VAULT_APPROLE_ROLE_ID", "VAULT_APPROLE_SECRET_ID",
		"VAULT_K8S_ROLE", "VAULT_K8S_MOUNT", "VAULT_K8S_AUTH_ROLE_NAME", "VAULT_K8S_SERVICE_ACCOUNT_TOKEN_PATH", "VAULT_K8S_SERVICE_MOUNT_PATH", "VAULT_TOKEN_PATH", "VAULT_JWT",
		"BAO_TOKEN", "BAO_ADDR", "BAO_CACERT_BYTES", "BAO_CLIENT_TIMEOUT", "BAO_TLS_SERVER_NAME", "BAO_PROXY_ADDR", "BAO_RATE_LIMIT", "BAO_HEADERS", "BAO_HTTP_PROXY", "BAO_AGENT_ADDR", "BAO_WRAP_TTL",
		"VAULT_SERVER_URL", "VAULT_ID_TOKEN", "VAULT_CA_CERT", "VAULT_TLS_SKIP_VERIFY", "VAULT_SSL_VERIFY", "ALL_PROXY", "all_proxy", "LUUMEN_VAULT_PATH", "LUUMEN_PATHS", "LUUMEN_VAULT_NAMESPACE",
	} {
		report := auth.New(auth.Settings{Address: "https://vault.example"}, variables{name: "1"}.options()).Effective()
		isListed := slices.ContainsFunc(slices.Concat(report.Used, report.Unused, report.NotRead), func(s auth.Setting) bool { return s.Source == name })
		assert.True(t, isListed, name)
	}
}

func TestSecretVariables(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_PROXY_ADDR", "BAO_HEADERS", "VAULT_ID_TOKEN", "ANSIBLE_HASHI_VAULT_TOKEN"} {
		assert.Contains(t, auth.SecretVariables(), name)
	}
	auth.SecretVariables()[0] = "changed"
	assert.Equal(t, "VAULT_TOKEN", auth.SecretVariables()[0])
}

// A plain variable shows neither a malformed value nor what looks like a credential.
func TestEffectiveShowsNothingMalformed(t *testing.T) {
	t.Parallel()
	pasted := []string{
		"hvs.CAESIKq7canaryZ9", "s.Kq7canaryZ9Kq7canaryZ9Kq7", "hvb.AAAAAKq7canaryZ9",
		"eyJhbGciOiJFUzI1NiJ9.eyJLcTdjYW5hcnlaOSI6MX0.Kq7canaryZ9", `{"token":"Kq7canaryZ9"}`, "VAULT_TOKEN=Kq7canaryZ9",
		"https://user:Kq7canaryZ9@vault.example:8200", "user:Kq7canaryZ9@vault.example",
		"5f1c7d3a-1111-4c5b-9a1e-2b8f0c6d4e11", "-----BEGIN PRIVATE KEY-----\nKq7canaryZ9\n-----END PRIVATE KEY-----",
	}
	malformed := map[string][]string{
		"VAULT_ADDR":            {"Kq7canaryZ9", "https://Kq7canaryZ9@vault.example"},
		"VAULT_NAMESPACE":       {"/Kq7canaryZ9", "Kq7canaryZ9\x1b[2J"},
		"LUUMEN_VAULT_PATHS":    {"/Kq7canaryZ9", "secret/luumen,,Kq7canaryZ9"},
		"VAULT_RATE_LIMIT":      {"Kq7canaryZ9", "100:Kq7canaryZ9"},
		"VAULT_CLIENT_TIMEOUT":  {"Kq7canaryZ9", "10 Kq7canaryZ9"},
		"VAULT_SKIP_VERIFY":     {"Kq7canaryZ9"},
		"VAULT_APPROLE_MOUNT":   {"auth/Kq7canaryZ9", "/Kq7canaryZ9"},
		"VAULT_JWT_MOUNT":       {"auth/Kq7canaryZ9", "Kq7canaryZ9//"},
		"VAULT_CERT_ROLE":       {"Kq7\ncanaryZ9"},
		"VAULT_TLS_SERVER_NAME": {"Kq7\tcanaryZ9"},
	}
	tried := 0
	for _, method := range auth.MethodNames() {
		settings := auth.Settings{Address: "https://vault.example", AuthMethod: method}
		for _, name := range auth.PlainVariables(method) {
			for _, value := range slices.Concat(pasted, malformed[name]) {
				tried++
				report := auth.New(settings, variables{name: value}.options()).Effective()
				i := slices.IndexFunc(report.Used, func(s auth.Setting) bool { return s.Source == name })
				require.GreaterOrEqual(t, i, 0, name)
				assert.Contains(t, []string{"not valid", "set"}, report.Used[i].Value, "%s", name)
				text, err := json.Marshal(report)
				require.NoError(t, err)
				assert.NotContains(t, string(text)+report.String(), "canary", name)
				assert.NotContains(t, string(text)+report.String(), "1111", name)
			}
		}
	}
	assert.Greater(t, tried, 100)
	for _, s := range []auth.Settings{{Namespace: pasted[len(pasted)-2]}, {Mounts: []string{pasted[len(pasted)-2]}}} {
		s.Address = "https://vault.example"
		assert.NotContains(t, auth.New(s, variables{}.options()).Effective().String(), "1111")
	}

	// A well-formed value of a malformed neighbor is still shown.
	report := auth.New(auth.Settings{Address: "https://vault.example"}, variables{"VAULT_RATE_LIMIT": "hvs.pasted", "VAULT_CLIENT_TIMEOUT": "30s"}.options()).Effective()
	assert.Contains(t, report.Used, auth.Setting{Name: "rate_limit", Value: "not valid", Source: "VAULT_RATE_LIMIT"})
	assert.Contains(t, report.Used, auth.Setting{Name: "client_timeout", Value: "30s", Source: "VAULT_CLIENT_TIMEOUT"})
}

// A variable that is not read names one that is, or a setting.
func TestVariablesToUseInstead(t *testing.T) {
	t.Parallel()
	read := auth.SecretVariables()
	for _, method := range auth.MethodNames() {
		read = append(read, auth.PlainVariables(method)...)
	}
	for name, instead := range auth.NotRead {
		assert.NotContains(t, auth.PlainVariables("token"), name)
		for _, word := range regexp.MustCompile(`[A-Z]+(_[A-Z0-9]+)+`).FindAllString(instead, -1) {
			assert.Contains(t, append(read, "VAULT_CACERT_BYTES"), word, name)
		}
	}
}

// Go itself reads these two variables if no CA is set.
func TestEffectiveShowsGosOwnVariables(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	report := auth.New(auth.Settings{Address: "https://vault.example"}, variables{"SSL_CERT_FILE": file, "SSL_CERT_DIR": "hvs.pasted"}.options()).Effective()
	assert.Contains(t, report.Used, auth.Setting{Name: "ssl_cert_file", Value: file, Source: "SSL_CERT_FILE"})
	assert.Contains(t, report.Used, auth.Setting{Name: "ssl_cert_dir", Value: "set", Source: "SSL_CERT_DIR"})
}
