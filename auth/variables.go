package auth

// SecretVariables names the variables whose values are secrets, or can hold
// one, and which the agent should keep from the processes it starts.
func SecretVariables() []string {
	return []string{
		"VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_PROXY_ADDR",
		// Not read here, but as secret where somebody has set them.
		"VAULT_HEADERS", "VAULT_HTTP_PROXY", "VAULT_APPROLE_ROLE_ID", "VAULT_APPROLE_SECRET_ID", "VAULT_JWT", "VAULT_K8S_SERVICE_ACCOUNT_TOKEN",
	}
}

// notRead are variables of vault/api, of Vault's own programs and of similar
// products that have no effect here, with what to use instead.
var notRead = map[string]string{
	// vault/api
	"VAULT_AGENT_ADDR":        inSettings + "address",
	"VAULT_HEADERS":           "",
	"VAULT_WRAP_TTL":          "",
	"VAULT_MAX_RETRIES":       "the run's patience",
	"VAULT_SRV_LOOKUP":        inSettings + "address, with a port",
	"VAULT_DISABLE_REDIRECTS": "nothing: redirects are never followed",
	"VAULT_HTTP_PROXY":        "VAULT_PROXY_ADDR",
	"VAULT_MFA":               "",

	// others
	"VAULT_ADDRESS":                        inSettings + "address, and VAULT_ADDR to pin it",
	"VAULT_URL":                            inSettings + "address, and VAULT_ADDR to pin it",
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
	anyMount   = "VAULT_APPROLE_MOUNT, VAULT_KUBERNETES_MOUNT, VAULT_JWT_MOUNT or VAULT_CERT_MOUNT"
)
