package reply

import "strings"

// Vault has no error codes, only texts. These tables and states hold all texts that this
// library compares, each with the servers that were seen to send it. Other servers were not
// tried, or send other texts, for which the general rules hold.
//
//	1.14  Vault 1.14.10
//	1.21  Vault 1.21.1
//	bao   OpenBao 2.6.2
//	src   read in Vault's source: Enterprise, or hard to provoke

// phrase is part of a text from a server.
type phrase struct{ words, seen string }

var (
	permissionDenied = phrase{"permission denied", "1.14 1.21 bao"}
	invalidToken     = phrase{"invalid token", "1.21"} // since Vault 1.17
	noMount          = phrase{"no handler for route", "1.14 1.21 bao"}
	internalError    = phrase{"internal error", "1.14 1.21 bao"}
	readAsV1         = phrase{"Invalid path for a versioned ", "1.14 1.21 bao"} // a warning beside a 404
)

// telling are the words of an answer that say what it means. They stay even if a secret is
// part of them.
var telling = []string{permissionDenied.words, invalidToken.words, noMount.words, internalError.words, readAsV1.words}

// expectsHTTPS is what HTTPS servers answer to plain HTTP.
var expectsHTTPS = []phrase{
	{"Client sent an HTTP request to an HTTPS server", "1.14 1.21 bao"}, // Go's own
	{"The plain HTTP request was sent to HTTPS port", "nginx 1.22"},
	{"You're speaking plain HTTP to an SSL-enabled server", "Apache"},
}

// wantsCertificate is what proxies that require a client certificate answer.
var wantsCertificate = []phrase{
	{"No required SSL certificate was sent", "nginx 1.22"},
	{"The SSL certificate error", "nginx"},
}

// hint is the advice for a refused login.
type hint struct {
	words, seen string // see phrase
	do          string // what to do about it
}

// hints are the advice for refused logins, by method; the first that matches counts.
// Those of the method "" apply to every method, after its own.
var hints = map[string][]hint{
	"approle": {
		{"invalid role or secret ID", "1.14 1.21 bao",
			"compare VAULT_ROLE_ID, or its file, with the role's id in Vault; if it is right, the secret id is wrong, expired, used up or destroyed: set secret_id_num_uses=0 on the role, then create a new secret id"},
		{"restrictions on the secret ID", "1.21",
			"allow the Patch server's address in the role (secret_id_bound_cidrs), and create a new secret id, without cidr_list or with the address in it"},
		{"missing secret_id", "1.14 1.21 bao",
			"set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or set bind_secret_id=false on the role"},
		{"failed to determine alias name", "1.21", // a 500
			"set VAULT_ROLE_ID or VAULT_ROLE_ID_FILE to the role's id"},
		{permissionDenied.words, "1.14 1.21 bao", // for a locked role id, and for a missing mount
			"after several refused logins Vault locks a role id, for 15 minutes by default: wait, or unlock it: vault write -f sys/locked-users/ACCESSOR/unlock/ROLE_ID, with the mount's accessor from vault auth list; otherwise, check that auth/MOUNT exists in this namespace"},
	},
	"kubernetes": {
		{"invalid role name", "1.14 1.21 bao",
			"check VAULT_KUBERNETES_ROLE, and the roles of this mount in Vault"},
		{"service account name not authorized", "1.14 1.21 bao",
			"add the pod's service account to bound_service_account_names of the role"},
		{"namespace not authorized", "1.14 1.21 bao",
			"add the pod's namespace to bound_service_account_namespaces of the role"},
		{"not yet valid", "1.21",
			"compare the clocks of Vault and the Kubernetes cluster"},
		{"issued in the future", "1.21",
			"compare the clocks of Vault and the Kubernetes cluster"},
		{"audience", "1.14 1.21 bao",
			"set VAULT_KUBERNETES_JWT_FILE to a token projected for the role's audience; the pod's own token has the API server's audience"},
		{"expired", "1.14 1.21 bao",
			"check why the token file is not renewed: its projection into the pod, and the clocks"},
		{"could not load backend configuration", "1.14 1.21 bao", // a 500
			"configure the mount in Vault: vault write auth/MOUNT/config kubernetes_host=…"},
		{permissionDenied.words, "1.14 1.21 bao",
			"run vault monitor -log-level=debug and try again, which shows the cause; check that auth/MOUNT exists, its kubernetes_host, kubernetes_ca_cert and token_reviewer_jwt (missing, expired, without system:auth-delegator), and that pod and service account still exist"},
	},
	"jwt": {
		{"fetching keys", "1.21", keysOfJWT}, // for any reason, such as an expired certificate
		{"keyset configuration error", "1.21", keysOfJWT},
		{"could not be found", "1.14 1.21 bao",
			"check VAULT_JWT_ROLE, and the roles of this mount in Vault"},
		{"expired", "1.14 1.21 bao",
			"check what writes the token file, and why it did not renew it; compare the clocks"},
		{"not yet valid", "1.21",
			"compare the clocks of Vault and the token's issuer"},
		{"issued in the future", "1.21",
			"compare the clocks of Vault and the token's issuer"},
		{"no issued at (iat)", "1.21",
			"let the issuer add exp to the token"},
		{"not before (nbf)", "1.14",
			"compare the clocks of Vault and the token's issuer"},
		{"audience", "1.14 1.21 bao",
			"add the token's audience to bound_audiences of the role"},
		{"signature", "1.14 1.21 bao",
			"configure the mount with the keys of the token's issuer"},
		{"algorithm", "1.21",
			"add the algorithm that signs the token to jwt_supported_algs of auth/MOUNT/config"},
		{"issuer (iss)", "1.21",
			"compare bound_issuer of auth/MOUNT/config with the token's issuer"},
		{"could not load", "1.21", // a 500
			"configure the mount in Vault: vault write auth/MOUNT/config …"},
		{"claim", "1.14 1.21 bao",
			"compare the claims of the token with what the role demands (bound_subject, bound_claims, user_claim, groups_claim)"},
	},
	"cert": {
		{"is before ", "1.21", // of a certificate that is not valid yet
			"compare the clocks of Vault and the CA of the certificate in VAULT_CLIENT_CERT"},
		{"failed to verify client's certificate", "1.21 bao",
			"replace the certificate in VAULT_CLIENT_CERT with a valid one for client authentication (clientAuth)"},
		{"all constraints", "1.14 1.21 bao", // the words before it differ
			certRole},
		{"invalid certificate", "1.14 1.21 bao",
			certRole},
		{"client certificate", "1.14 1.21 bao",
			"connect to Vault's own TLS listener: a proxy that terminates TLS cannot pass the certificate on"},
		{"tls connection required", "1.14 1.21",
			"use https in the address: a certificate proves nothing over http"},
	},
	"": {
		{"failed to determine alias name", "1.21", otherMethod}, // a 500
		{"missing role", "1.14 1.21 bao", otherMethod},          // or missing role_id
		{"invalid role name", "1.14 1.21 bao", otherMethod},
		{"could not be found", "1.14 1.21 bao", otherMethod},
		{"CIDR", "1.14 1.21 bao",
			"allow the Patch server's address in the role"},
		{noMount.words, "1.14 1.21 bao",
			"check the mount and the namespace"},
		{permissionDenied.words, "1.14 1.21 bao",
			"check that auth/MOUNT exists in this namespace, that its role allows the Patch server's address, and that the user is not locked after several refused logins; vault monitor -log-level=debug shows more"},
	},
}

const (
	certRole    = "add the certificate, or the CA that signed it, and its name (allowed_common_names) to a role of this mount, and check VAULT_CERT_ROLE, the role's other conditions (token_bound_cidrs, allowed_…, required_extensions), and whether a CRL of the mount lists the certificate"
	keysOfJWT   = "vault cannot fetch the keys of the token's issuer: check oidc_discovery_url or jwks_url in auth/MOUNT/config, and the network from Vault to it"
	otherMethod = "check VAULT_METHOD_MOUNT: auth/MOUNT seems to be of another method (vault auth list)"
)

// LoginHint returns what to do about a login that was refused with these errors; empty
// if the texts are unknown. The mount is empty for a method of Options, whatever its
// name.
func LoginHint(method, mount string, errors []string) string {
	if mount == "" {
		method = ""
	}
	text := strings.Join(errors, "; ")
	for _, of := range []string{method, ""} {
		for _, h := range hints[of] {
			if strings.Contains(text, h.words) && (mount != "" || h.do != otherMethod) {
				return naming(method, mount, h.do)
			}
		}
	}
	return ""
}

// naming names the mount in a hint, and its variable.
func naming(method, mount, hint string) string {
	if mount == "" {
		return strings.ReplaceAll(hint, "auth/MOUNT", "its mount")
	}
	return strings.NewReplacer("VAULT_METHOD_MOUNT", "VAULT_"+strings.ToUpper(method)+"_MOUNT", "auth/MOUNT", "auth/"+mount).Replace(hint)
}

// WaitHint returns what to do about a login that Vault does not answer while its health
// is good. Vault then waits for another server, or for its own disk.
func WaitHint(method, mount string) string {
	if mount == "" {
		method = ""
	}
	do := "check the server that Vault asks for this login, and the network from Vault to it"
	switch method {
	case "approle":
		do = "vault's storage or audit device hangs, such as a full disk, or a pipe or socket without a reader: see Vault's own log"
	case "kubernetes":
		do = "vault waits for the Kubernetes API server: check kubernetes_host in auth/MOUNT/config, and the network from Vault to it"
	case "jwt":
		do = "vault waits for the issuer of the keys: check oidc_discovery_url or jwks_url in auth/MOUNT/config, and the network from Vault to it"
	case "cert":
		do = "vault waits for an OCSP server: check ocsp_servers_override of the role, and the network from Vault to it"
	}
	return naming(method, mount, do) + "; if it is only slow, raise VAULT_CLIENT_TIMEOUT on the Patch server"
}

// says reports whether a line contains one of the phrases.
func says(lines []string, phrases ...phrase) bool {
	for _, line := range lines {
		for _, p := range phrases {
			if strings.Contains(line, p.words) {
				return true
			}
		}
	}
	return false
}
