package reply

import (
	"cmp"
	"slices"
	"strings"
)

// method is the advice for the logins of one method.
type method struct {
	refused []hint // the first that matches counts; then those for all methods
	silent  string // what to do if Vault does not answer although it is well
}

// hint is the advice for a login that Vault refused.
type hint struct {
	says []phrase // the answer says one of them
	do   string
}

// methods has the advice for each login method of the settings.
var methods = map[string]method{
	"approle": {
		refused: []hint{
			{[]phrase{{"invalid role or secret ID", "1.14 1.21 bao"}, {"invalid secret_id", "src"}}, // the second if it was used up just now
				"compare VAULT_ROLE_ID, or its file, with the id of the role at auth/MOUNT in this namespace; if it is right, the secret id is wrong, expired, used up or destroyed: set secret_id_num_uses=0 on the role, then create a new secret id"},
			{[]phrase{{"invalid IP address", "1.21"}, {"failed to get connection information", "1.21"}}, // the second is a 500
				"let the proxy in front of Vault write the address alone into X-Forwarded-For: some, such as Azure Application Gateway, add the port"},
			{[]phrase{{"restrictions on the secret ID", "1.21"}},
				"allow the Patch server's address, as Vault sees it, in the role (secret_id_bound_cidrs), and create a new secret id, without cidr_list or with the address in it"},
			{[]phrase{{"missing secret_id", "1.14 1.21 bao"}},
				"set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or set bind_secret_id=false on the role"},
			{[]phrase{{"failed to create HMAC of secret_id", "1.21"}}, // a 500
				"set VAULT_SECRET_ID, or its file, to the secret id alone: this one is too long"},
			{[]phrase{{"failed to determine alias name", "1.21"}}, // a 500
				"set VAULT_ROLE_ID or VAULT_ROLE_ID_FILE to the role's id"},
			{[]phrase{permissionDenied}, // for a locked role id, and for a missing mount
				"after several refused logins Vault locks a role id, for 15 minutes by default: wait, or unlock it: vault write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID, with the mount's accessor from vault auth list; otherwise, check that auth/MOUNT (VAULT_METHOD_MOUNT) exists in this namespace, and that the entity of this login is not disabled"},
		},
		silent: "vault's storage or audit device hangs, such as a full disk, or a pipe or socket without a reader: see Vault's own log",
	},
	"kubernetes": {
		refused: []hint{
			{[]phrase{{"invalid role name", "1.14 1.21 bao"}},
				"check VAULT_KUBERNETES_ROLE, and the roles of this mount in Vault"},
			{[]phrase{{"service account name not authorized", "1.14 1.21 bao"}},
				"add the pod's service account to bound_service_account_names of the role"},
			{[]phrase{{"namespace not authorized", "1.14 1.21 bao"}},
				"add the pod's namespace to bound_service_account_namespaces of the role"},
			{[]phrase{{"not yet valid", "1.21"}, {"issued in the future", "1.21"}},
				"compare the clocks of Vault and the Kubernetes cluster"},
			{[]phrase{{"audience", "1.14 1.21 bao"}},
				"set VAULT_KUBERNETES_JWT_FILE to a token projected for the role's audience; the pod's own token has the API server's audience"},
			{[]phrase{{"expired", "1.14 1.21 bao"}},
				"check why the token file is not renewed: its projection into the pod, and the clocks"},
			{[]phrase{{"could not parse UID from claims", "1.21"}, {"service account namespace and name must be set", "1.21"}}, // a 500
				"set VAULT_KUBERNETES_JWT_FILE to a service account's token: this JWT is not one"},
			{[]phrase{{"could not load backend configuration", "1.14 1.21 bao"}}, // a 500
				"configure the mount in Vault: vault write auth/MOUNT/config kubernetes_host=…"},
			{[]phrase{permissionDenied},
				"run vault monitor -log-level=debug and try again, which often shows the cause; check that auth/MOUNT (VAULT_METHOD_MOUNT) exists, its kubernetes_host, kubernetes_ca_cert and token_reviewer_jwt (missing, expired, without system:auth-delegator), that its role allows the Patch server's address as Vault sees it (token_bound_cidrs), that the entity of this login is not disabled, and that pod and service account still exist"},
		},
		silent: "vault waits for the Kubernetes API server: check kubernetes_host in auth/MOUNT/config, and the network from Vault to it",
	},
	"jwt": {
		refused: []hint{
			{[]phrase{{"fetching keys", "1.21"}, {"keyset configuration error", "1.21"}}, // for any reason, such as an expired certificate
				"vault cannot fetch the keys of the token's issuer: check oidc_discovery_url or jwks_url in auth/MOUNT/config, and the network from Vault to it"},
			{[]phrase{{"could not be found", "1.14 1.21 bao"}},
				"check VAULT_JWT_ROLE, and the roles of this mount in Vault"},
			{[]phrase{{"expired", "1.14 1.21 bao"}},
				"check what writes the token file, and why it did not renew it; compare the clocks"},
			{[]phrase{{"unmarshal", "1.21"}},
				"let the issuer write the claims as JWTs have them: iss and sub as strings, aud as a string or a list of them, exp, nbf and iat as numbers"},
			{[]phrase{{"no issued at (iat)", "1.21"}},
				"let the issuer add exp to the token"},
			{[]phrase{{"not yet valid", "1.21"}, {"issued in the future", "1.21"}, {"not before (nbf)", "1.14"}},
				"compare the clocks of Vault and the token's issuer"},
			{[]phrase{{"signature", "1.14 1.21 bao"}, {"algorithm", "1.21"}},
				"configure the mount with the keys of the token's issuer, and with its algorithm in jwt_supported_algs"},
			{[]phrase{{"oidc role_type", "1.21"}},
				"set role_type=jwt on the role, or VAULT_JWT_ROLE to a role that has it"},
			{[]phrase{{"could not load", "1.21"}}, // a 500
				"configure the mount in Vault: vault write auth/MOUNT/config …"},
			{[]phrase{{"claim", "1.14 1.21 bao"}, {"missing name in alias", "1.21"}}, // the second is a 500
				"compare the claims of the token with what auth/MOUNT/config and the role demand (bound_issuer, bound_audiences, bound_subject, bound_claims, user_claim, groups_claim)"},
		},
		silent: "vault waits for the issuer of the keys: check oidc_discovery_url or jwks_url in auth/MOUNT/config, and the network from Vault to it",
	},
	"cert": {
		refused: []hint{
			{[]phrase{{"is before ", "1.21"}}, // of a certificate that is not valid yet
				"compare the clocks of Vault and the CA of the certificate in VAULT_CLIENT_CERT"},
			{[]phrase{{"failed to verify client's certificate", "1.21 bao"}},
				"replace the certificate in VAULT_CLIENT_CERT with a valid one for client authentication (clientAuth)"},
			{[]phrase{{"additionally got errors during verification", "1.21"}}, // beside the words below; only OCSP has any
				"vault cannot verify the certificate by OCSP: check that an OCSP server is named in it or in ocsp_servers_override of the role and answers, and the network from Vault to it, or set ocsp_enabled=false on the role"},
			{[]phrase{{"all constraints", "1.14 1.21 bao"}, {"invalid certificate", "1.14 1.21 bao"}}, // the words before all constraints differ
				"add the certificate, or the CA that signed it, and its name (allowed_common_names) to a role of this mount, and check VAULT_CERT_ROLE, the role's other conditions (token_bound_cidrs, allowed_…, required_extensions), and whether a CRL of the mount or an OCSP server says that the certificate is revoked"},
			{[]phrase{{"missing name in alias", "1.21"}}, // a 500
				"replace the certificate in VAULT_CLIENT_CERT with one that has a common name"},
			{[]phrase{{"client certificate", "1.14 1.21 bao"}},
				"connect to Vault's own TLS listener, and remove tls_disable_client_certs from it; a proxy that terminates TLS must pass the certificate on in a header that the listener names in x_forwarded_for_client_cert_header"},
			{[]phrase{{"tls connection required", "1.14 1.21"}},
				"use https in the address: a certificate proves nothing over http"},
		},
		silent: "vault waits for an OCSP server: check ocsp_servers_override of the role, and the network from Vault to it",
	},
}

// otherMethod is the advice for a mount of another method than that of the settings. The
// mount of a method that was handed in is not known.
var otherMethod = hint{
	[]phrase{
		{"failed to determine alias name", "1.21"}, // a 500
		{"missing role", "1.14 1.21 bao"},          // or missing role_id
		{"invalid role name", "1.14 1.21 bao"},
		{"could not be found", "1.14 1.21 bao"},
		{"could not load configuration", "1.21"}, // jwt and oidc
		{"client certificate", "1.14 1.21 bao"},  // cert
		{"tls connection required", "1.14 1.21"}, // cert, over http
		{"all constraints", "1.14 1.21 bao"},     // cert, if the agent has a pair for mTLS
	},
	"check VAULT_METHOD_MOUNT: auth/MOUNT seems to be of another method (vault auth list)",
}

// anyMethod is the advice for every method.
var anyMethod = method{
	refused: []hint{
		{[]phrase{{"CIDR", "1.14 1.21 bao"}},
			"allow the Patch server's address, as Vault sees it, in the role"},
		{[]phrase{noMount},
			"check the mount and the namespace"},
		{[]phrase{permissionDenied},
			"check that auth/MOUNT (VAULT_METHOD_MOUNT) exists in this namespace, that its role allows the Patch server's address as Vault sees it, that the entity of this login is not disabled, and that the user is not locked after several refused logins; vault monitor -log-level=debug shows more"},
	},
	silent: "check the server that Vault asks for this login, and the network from Vault to it",
}

// LoginHint returns what to do about a login that was refused with these errors; empty
// if the texts are unknown. The mount is empty for a method of Options, whatever its
// name.
func LoginHint(name, mount string, errors []string) string {
	hints := anyMethod.refused
	if mount != "" {
		hints = slices.Concat(methods[name].refused, []hint{otherMethod}, hints)
	}
	for _, h := range hints {
		if says(errors, h.says...) {
			return naming(name, mount, h.do)
		}
	}
	return ""
}

// WaitHint returns what to do about a login that Vault does not answer while its health
// is good. Vault then waits for another server, or for its own disk.
func WaitHint(name, mount string) string {
	do := anyMethod.silent
	if mount != "" {
		do = cmp.Or(methods[name].silent, do)
	}
	return naming(name, mount, do)
}

// naming names the mount in the advice, and its variable.
func naming(name, mount, do string) string {
	if mount == "" {
		return strings.NewReplacer("auth/MOUNT (VAULT_METHOD_MOUNT)", "its mount", "auth/MOUNT", "its mount").Replace(do)
	}
	return strings.NewReplacer("VAULT_METHOD_MOUNT", "VAULT_"+strings.ToUpper(name)+"_MOUNT", "auth/MOUNT", "auth/"+mount).Replace(do)
}
