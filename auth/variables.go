package auth

import (
	"slices"
	"strings"
)

// SecretVariables returns the names of the variables that can hold secrets, to keep from
// processes that the agent starts. It omits the standard proxy variables, which other
// programs need. Windows ignores the case of names.
func SecretVariables() []string {
	var names []string
	for _, m := range methods {
		for _, v := range m.variables {
			if !v.plain {
				names = append(names, v.name)
			}
		}
	}
	return append(names, "VAULT_PROXY_ADDR",
		// The library does not read these, but they hold secrets if they are set.
		"VAULT_HEADERS", "VAULT_HTTP_PROXY", "VAULT_MFA", "VAULT_APPROLE_ROLE_ID", "VAULT_APPROLE_SECRET_ID", "VAULT_JWT", "VAULT_ID_TOKEN", "VAULT_K8S_SERVICE_ACCOUNT_TOKEN",
		"VAULT_DEV_ROOT_TOKEN_ID", "BAO_DEV_ROOT_TOKEN_ID", "ANSIBLE_HASHI_VAULT_TOKEN", "BAO_TOKEN", "BAO_HEADERS", "BAO_HTTP_PROXY", "BAO_PROXY_ADDR", "BAO_MFA")
}

// variable is an environment variable that the library reads.
type variable struct {
	name      string
	plain     bool   // it cannot hold a secret, so its value may be shown
	otherwise string // the default
}

// isFileVariable reports whether a variable names a file or a folder.
func isFileVariable(variable string) bool {
	return strings.HasSuffix(variable, "_FILE") || slices.Contains([]string{"VAULT_CACERT", "VAULT_CAPATH", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR"}, variable)
}

// general are the variables of all login methods, except the standard proxy
// variables.
var general = []variable{
	{name: "VAULT_ADDR", plain: true}, {name: "VAULT_NAMESPACE", plain: true}, {name: "LUUMEN_VAULT_PATHS", plain: true},
	{name: "VAULT_CACERT", plain: true}, {name: "VAULT_CACERT_BYTES"}, {name: "VAULT_CAPATH", plain: true},
	{name: "VAULT_CLIENT_CERT", plain: true}, {name: "VAULT_CLIENT_KEY", plain: true}, // names of files
	{name: "VAULT_TLS_SERVER_NAME", plain: true}, {name: "VAULT_SKIP_VERIFY", plain: true},
	{name: "VAULT_RATE_LIMIT", plain: true}, {name: "VAULT_CLIENT_TIMEOUT", plain: true, otherwise: defaultTimeout.String()},
	{name: "VAULT_PROXY_ADDR"},
	{name: "SSL_CERT_FILE", plain: true}, {name: "SSL_CERT_DIR", plain: true}, // crypto/x509 reads them from the process's environment
}

// notRead are variables of vault/api, of Vault's own programs and of similar products
// that have no effect, with what to use instead. See ignored for OpenBao's.
var notRead = map[string]string{
	// vault/api
	"VAULT_AGENT_ADDR":        inSettings + "address",
	"VAULT_HEADERS":           "",
	"VAULT_WRAP_TTL":          "",
	"VAULT_MAX_RETRIES":       "the run's patience",
	"VAULT_SRV_LOOKUP":        inSettings + "address, with a port",
	"VAULT_DISABLE_REDIRECTS": "",
	"VAULT_HTTP_PROXY":        "VAULT_PROXY_ADDR",
	"VAULT_MFA":               "",

	// OpenBao
	"BAO_ADDR": pinned, // VAULT_ADDR alone does not configure Vault

	// misspelt
	"LUUMEN_VAULT_PATH":      "LUUMEN_VAULT_PATHS",
	"LUUMEN_PATHS":           "LUUMEN_VAULT_PATHS",
	"VAULT_PATHS":            "LUUMEN_VAULT_PATHS",
	"LUUMEN_VAULT_ADDR":      pinned,
	"LUUMEN_VAULT_NAMESPACE": "VAULT_NAMESPACE",
	"VAULT_CA_CERT":          "VAULT_CACERT",
	"VAULT_CA_PATH":          "VAULT_CAPATH",
	"VAULT_TLS_SKIP_VERIFY":  "VAULT_SKIP_VERIFY",
	"VAULT_SSL_VERIFY":       "VAULT_CACERT, or VAULT_SKIP_VERIFY with the opposite value",

	// others
	"ALL_PROXY":                            "VAULT_PROXY_ADDR",
	"all_proxy":                            "VAULT_PROXY_ADDR",
	"ANSIBLE_HASHI_VAULT_TOKEN":            "VAULT_TOKEN",
	"VAULT_ADDRESS":                        pinned,
	"VAULT_URL":                            pinned,
	"VAULT_SERVER_URL":                     pinned,
	"VAULT_ID_TOKEN":                       "VAULT_JWT_FILE",
	"VAULT_TOKEN_PATH":                     "VAULT_TOKEN_FILE",
	"VAULT_ROLE":                           "VAULT_KUBERNETES_ROLE, VAULT_JWT_ROLE or VAULT_CERT_ROLE",
	"VAULT_AUTH_METHOD":                    inSettings + "auth_method",
	"VAULT_AUTH_ROLE":                      "VAULT_KUBERNETES_ROLE, VAULT_JWT_ROLE or VAULT_CERT_ROLE",
	"VAULT_AUTH_MOUNT":                     anyMount,
	"VAULT_AUTH_PATH":                      anyMount,
	"VAULT_LOGIN_MOUNT_POINT":              anyMount,
	"VAULT_APPROLE_ROLE_ID":                "VAULT_ROLE_ID",
	"VAULT_APPROLE_ROLE_ID_FILE":           "VAULT_ROLE_ID_FILE",
	"VAULT_APPROLE_SECRET_ID":              "VAULT_SECRET_ID",
	"VAULT_APPROLE_SECRET_ID_FILE":         "VAULT_SECRET_ID_FILE",
	"VAULT_APPROLE_PATH":                   "VAULT_APPROLE_MOUNT",
	"VAULT_KUBERNETES_PATH":                "VAULT_KUBERNETES_MOUNT",
	"VAULT_KUBERNETES_JWT_PATH":            "VAULT_KUBERNETES_JWT_FILE",
	"VAULT_K8S_ROLE":                       "VAULT_KUBERNETES_ROLE",
	"VAULT_K8S_AUTH_ROLE_NAME":             "VAULT_KUBERNETES_ROLE",
	"VAULT_K8S_MOUNT":                      "VAULT_KUBERNETES_MOUNT",
	"VAULT_K8S_MOUNT_PATH":                 "VAULT_KUBERNETES_MOUNT",
	"VAULT_K8S_AUTH_MOUNT":                 "VAULT_KUBERNETES_MOUNT",
	"VAULT_K8S_SERVICE_MOUNT_PATH":         "VAULT_KUBERNETES_MOUNT",
	"VAULT_K8S_JWT_FILE":                   "VAULT_KUBERNETES_JWT_FILE",
	"VAULT_K8S_JWT_PATH":                   "VAULT_KUBERNETES_JWT_FILE",
	"VAULT_K8S_TOKEN_PATH":                 "VAULT_KUBERNETES_JWT_FILE",
	"VAULT_K8S_SERVICE_ACCOUNT_TOKEN":      "VAULT_KUBERNETES_JWT_FILE",
	"VAULT_K8S_SERVICE_ACCOUNT_TOKEN_PATH": "VAULT_KUBERNETES_JWT_FILE",
	"VAULT_JWT":                            "VAULT_JWT_FILE",
}

const (
	inSettings = "the UI's settings: "
	pinned     = inSettings + "address, and VAULT_ADDR to pin it"
	anyMount   = "VAULT_APPROLE_MOUNT, VAULT_KUBERNETES_MOUNT, VAULT_JWT_MOUNT or VAULT_CERT_MOUNT"
)
