package reply

import "strings"

// Vault has no codes for what it answers but the words of its errors. The
// constants here are all the words that this library compares, with the servers
// that said so. Servers not named were not tried, or say something else that
// the rules of this library do without.
//
//	"1.14"  Vault 1.14.10
//	"1.21"  Vault 1.21.1
//	"bao"   OpenBao 2.6.2
//	"src"   read in Vault's source: Enterprise, or hard to provoke
const (
	PermissionDenied = "permission denied"             // 1.14, 1.21, bao
	invalidToken     = "invalid token"                 // 1.21; since Vault 1.17
	noMount          = "no handler for route"          // 1.14, 1.21, bao
	noNamespace      = "namespace not found"           // bao; src
	missingIndex     = "required index state"          // src
	internalError    = "internal error"                // 1.14, 1.21, bao
	wrongPath        = "relative paths not supported"  // 1.14, 1.21, bao
	readAsV1         = "Invalid path for a versioned " // 1.14, 1.21, bao; a warning beside a 404
)

// sealed are the words of a server, or a namespace, that is sealed or locked.
var sealed = []string{
	"Vault is sealed",                              // 1.14, 1.21, bao
	"namespace is sealed",                          // bao
	"API access to this namespace has been locked", // src
}

// notActive are the words of a node that knows no leader.
var notActive = []string{
	"local node not active but active cluster node not found", // 1.14, 1.21, bao
	"no active Vault instance found",                          // src
	"node is not active",                                      // src
}

// upgrading are the words of a mount that is upgraded from KV v1 to v2.
var upgrading = []string{
	"Upgrading from non-versioned to versioned data",                          // 1.14, 1.21, bao
	"Waiting for the primary to upgrade from non-versioned to versioned data", // bao; src
}

// badToken are the words of a 5xx that is the token's own fault: no repetition
// makes it better.
var badToken = []string{
	"failed to look up namespace from the token", // 1.21, bao
	"error parsing token",                        // src
}

// Hint is what the refusal of a login means.
type Hint struct {
	Says string // in Vault's words
	Do   string // what to do about it
}

// Hints are what refused logins mean, by method, in the order of precedence.
// Those of the method "" hold for every method, after its own.
var hints = map[string][]Hint{
	"approle": {
		{"invalid role or secret ID", // 1.14, 1.21, bao
			"compare VAULT_ROLE_ID with the role's id in Vault; if it is right, the secret id is wrong, expired, used up or destroyed: create a new one, and set secret_id_num_uses=0 on the role"},
		{"missing secret_id", // 1.14, 1.21, bao
			"set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or set bind_secret_id=false on the role"},
		{"failed to determine alias name", // 1.21; a 500
			"set VAULT_ROLE_ID or VAULT_ROLE_ID_FILE to the role's id"},
		{PermissionDenied, // 1.14, 1.21, bao; a locked role id as well as a mount that is not there
			"after several refused logins Vault locks a role id, for 15 minutes by default: wait, or unlock it: vault write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID, with the mount's accessor from vault auth list; otherwise, check that auth/MOUNT exists in this namespace"},
	},
	"kubernetes": {
		{"invalid role name", // 1.14, 1.21, bao
			"check VAULT_KUBERNETES_ROLE, and the roles of this mount in Vault"},
		{"service account name not authorized", // 1.14, 1.21, bao
			"add the pod's service account to bound_service_account_names of the role"},
		{"namespace not authorized", // 1.14, 1.21, bao
			"add the pod's namespace to bound_service_account_namespaces of the role"},
		{"not yet valid", // 1.21
			"compare the clocks of Vault and the Kubernetes cluster"},
		{"issued in the future", // 1.21
			"compare the clocks of Vault and the Kubernetes cluster"},
		{"audience", // 1.14, 1.21, bao
			"set VAULT_KUBERNETES_JWT_FILE to a token projected for the role's audience; the pod's own token has the API server's audience"},
		{"expired", // 1.14, 1.21, bao
			"check why the token file is not renewed: its projection into the pod, and the clocks"},
		{"could not load backend configuration", // 1.14, 1.21, bao; a 500
			"configure the mount in Vault: vault write auth/MOUNT/config kubernetes_host=…"},
		{PermissionDenied, // 1.14, 1.21, bao
			"run vault monitor -log-level=debug and try again, which shows the cause; check that auth/MOUNT exists, its kubernetes_host, kubernetes_ca_cert and token_reviewer_jwt (missing, expired, without system:auth-delegator), and that pod and service account still exist"},
	},
	"jwt": {
		{"could not be found", // 1.14, 1.21, bao
			"check VAULT_JWT_ROLE, and the roles of this mount in Vault"},
		{"expired", // 1.14, 1.21, bao
			"check what writes the token file, and why it did not renew it; compare the clocks"},
		{"not yet valid", // 1.21
			"compare the clocks of Vault and of what issues the token"},
		{"issued in the future", // 1.21
			"compare the clocks of Vault and of what issues the token"},
		{"no issued at (iat)", // 1.21
			"let the issuer add exp to the token"},
		{"not before (nbf)", // 1.14
			"compare the clocks of Vault and of what issues the token"},
		{"audience", // 1.14, 1.21, bao
			"add the token's audience to bound_audiences of the role"},
		{"signature", // 1.14, 1.21, bao
			"configure the mount with the keys of what signs the token"},
		{"could not load", // 1.21; a 500
			"configure the mount in Vault: vault write auth/MOUNT/config …"},
		{"claim", // 1.14, 1.21, bao
			"compare the claims of the token with what the role demands (bound_subject, bound_claims, user_claim)"},
	},
	"cert": {
		{"failed to verify client's certificate", // 1.21
			"renew the certificate in VAULT_CLIENT_CERT"},
		{"match all constraints", // 1.14, 1.21
			certRole},
		{"invalid certificate", // 1.14, 1.21
			certRole},
		{"client certificate", // 1.14, 1.21
			"let the connection reach Vault's own TLS: a proxy that ends TLS cannot pass the certificate on"},
		{"tls connection required", // 1.14, 1.21
			"use https in the address: a certificate proves nothing over http"},
	},
	"": {
		{"CIDR", // 1.14, 1.21, bao
			"allow the Patch server's address in the role"},
		{noMount, // 1.14, 1.21, bao
			"check the mount and the namespace"},
		{PermissionDenied, // 1.14, 1.21, bao
			"check that auth/MOUNT exists in this namespace, that its role allows the Patch server's address, and that the user is not locked after several refused logins; vault monitor -log-level=debug shows more"},
	},
}

const certRole = "add the certificate, or the CA that signed it, and its name (allowed_common_names) to a role of this mount, and check VAULT_CERT_ROLE"

// LoginHint returns what to do about a login that was refused with these
// errors; empty if the words say nothing. A method that is not one of the
// library's own has the hints of every method.
func LoginHint(method, mount string, errors []string) string {
	text := strings.Join(errors, "; ")
	for _, of := range []string{method, ""} {
		for _, h := range hints[of] {
			if strings.Contains(text, h.Says) {
				return strings.ReplaceAll(h.Do, "MOUNT", mount)
			}
		}
	}
	return ""
}

// WaitHint returns what to do about a login that Vault does not answer while its
// health is good: it waits for whatever it asks.
func WaitHint(method, mount string) string {
	do := "check what Vault asks for this login, and the network from Vault to it"
	switch method {
	case "kubernetes":
		do = "vault waits for the Kubernetes API server: check kubernetes_host in auth/MOUNT/config, and the network from Vault to it"
	case "jwt":
		do = "vault waits for the issuer of the keys: check oidc_discovery_url or jwks_url in auth/MOUNT/config, and the network from Vault to it"
	case "cert":
		do = "vault waits for an OCSP server: check ocsp_servers_override of the role, and the network from Vault to it"
	}
	return strings.ReplaceAll(do, "MOUNT", mount) + "; if it is only slow, raise VAULT_CLIENT_TIMEOUT on the Patch server"
}

// isLoginFault reports whether the words of a 5xx are those of a login that no
// repetition makes better.
func isLoginFault(errors []string) bool {
	return says(errors, "failed to verify client's certificate", "could not load backend configuration", "could not load configuration", "failed to determine alias name")
}

// says reports whether a line holds one of the words.
func says(lines []string, words ...string) bool {
	for _, line := range lines {
		for _, word := range words {
			if strings.Contains(line, word) {
				return true
			}
		}
	}
	return false
}
