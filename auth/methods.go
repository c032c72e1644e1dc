package auth

import "slices"

// podTokenFile is where Kubernetes puts the token of a pod's service account.
const podTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// method is a way to log in. To add one: an entry in methods, its variables in
// the README's table, a test.
//
// The official packages for AppRole and Kubernetes are not used: the former
// refuses a role without secret id, the latter reads the token once in its
// constructor, not at each login, and both need an api.Client, which cannot be
// made while any VAULT_* variable is malformed.
type method struct {
	name      string
	mountVar  string            // names the variable with the mount; empty for token
	variables []string          // the others that belong to it alone
	defaults  map[string]string // of its variables, the mount's among them
	prepare   func(e *environment) body
	hints     []hint
}

func (m *method) allVariables() []string {
	if m.mountVar == "" {
		return m.variables
	}
	return append([]string{m.mountVar}, m.variables...)
}

// body makes the JSON that a login sends, and says which of its values are
// secret. It reads the files afresh.
type body func(*files) (members map[string]string, secrets []string, err error)

// hint is what a refused login means, where Vault's words allow to tell.
type hint struct{ says, do string }

var methods = []method{
	{
		name:      tokenMethod,
		variables: []string{"VAULT_TOKEN", "VAULT_TOKEN_FILE"},
	},
	{
		name:      "approle",
		mountVar:  "VAULT_APPROLE_MOUNT",
		defaults:  map[string]string{"VAULT_APPROLE_MOUNT": "approle"},
		variables: []string{"VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE", "VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE"},
		prepare: func(e *environment) body {
			role, secret := e.required("VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE"), e.oneOf("VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE")
			if !secret.isSet() {
				return fields(field{"role_id", role}) // a role with bind_secret_id=false
			}
			return fields(field{"role_id", role}, field{"secret_id", secret})
		},
		hints: []hint{
			{"invalid role or secret ID", "check the role id, and that the secret id is neither expired nor used up: the role needs secret_id_num_uses=0"},
			{"missing secret_id", "set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or give the role bind_secret_id=false"},
		},
	},
	{
		name:      "kubernetes",
		mountVar:  "VAULT_KUBERNETES_MOUNT",
		defaults:  map[string]string{"VAULT_KUBERNETES_MOUNT": "kubernetes", "VAULT_KUBERNETES_JWT_FILE": podTokenFile},
		variables: []string{"VAULT_KUBERNETES_ROLE", "VAULT_KUBERNETES_JWT_FILE"},
		prepare: func(e *environment) body {
			role, file := e.requiredText("VAULT_KUBERNETES_ROLE"), e.text("VAULT_KUBERNETES_JWT_FILE")
			if file == "" {
				file = podTokenFile
			}
			return fields(given("role", role), field{"jwt", source{variable: "VAULT_KUBERNETES_JWT_FILE", file: file}})
		},
		hints: []hint{
			{"invalid role name", "check VAULT_KUBERNETES_ROLE, and the roles of this mount in Vault"},
			{"not authorized", "add the pod's service account and namespace to the role in Vault"},
			{"audience", "give the role the audience of the pod's token"},
			{"expired", "the token file is not renewed: check its projection into the pod"},
			{"could not load backend configuration", "configure the mount in Vault: vault write auth/kubernetes/config"},
			{permissionDenied, "check that the mount exists, that Vault's token reviewer may ask Kubernetes and reaches it, and that the role allows the Patch server's address; Vault's log has the cause"},
		},
	},
	{
		name:      "jwt",
		mountVar:  "VAULT_JWT_MOUNT",
		defaults:  map[string]string{"VAULT_JWT_MOUNT": "jwt"},
		variables: []string{"VAULT_JWT_ROLE", "VAULT_JWT_FILE"},
		prepare: func(e *environment) body {
			role, file := e.requiredText("VAULT_JWT_ROLE"), e.requiredText("VAULT_JWT_FILE")
			return fields(given("role", role), field{"jwt", source{variable: "VAULT_JWT_FILE", file: file}})
		},
		hints: []hint{
			{"could not be found", "check VAULT_JWT_ROLE, and the roles of this mount in Vault"},
			{"expired", "the token file is not renewed: check what writes it"},
			{"audience", "give the role the audience of the token in bound_audiences"},
			{"signature", "have the mount trust the keys of what signs the token"},
			{"claim", "have the role accept the claims of the token"},
		},
	},
	{
		name:      "cert",
		mountVar:  "VAULT_CERT_MOUNT",
		defaults:  map[string]string{"VAULT_CERT_MOUNT": "cert"},
		variables: []string{"VAULT_CERT_ROLE"},
		prepare: func(e *environment) body {
			if !e.isSet("VAULT_CLIENT_CERT") && !e.isSet("VAULT_CLIENT_KEY") {
				e.problem("neither VAULT_CLIENT_CERT nor VAULT_CLIENT_KEY is set; set both on the Patch server")
			}
			if role := e.text("VAULT_CERT_ROLE"); role != "" {
				return fields(given("name", role))
			}
			return fields()
		},
		hints: []hint{
			{"failed to verify client's certificate", "renew the certificate in VAULT_CLIENT_CERT"}, // expired
			{"match all constraints", "have the certificate, or the CA that signed it, configured as a role of this mount, and check VAULT_CERT_ROLE"},
			{"invalid certificate", "have the certificate, or the CA that signed it, configured as a role of this mount, and check VAULT_CERT_ROLE"},
			{"client certificate", "let the connection reach Vault's own TLS: a proxy that ends it cannot pass the certificate on"},
			{"tls connection required", "write https in the address: a certificate proves nothing over http"},
		},
	},
}

// anyMethod are the hints that hold for every method, after its own.
var anyMethod = []hint{
	{"CIDR", "allow the Patch server's address in the role in Vault"},
	{"no handler for route", "check the mount and the namespace"},
	{permissionDenied, "check that the mount exists in this namespace, that the role allows the Patch server's address, and what Vault's log says"},
}

const (
	tokenMethod      = "token"
	permissionDenied = "permission denied"
)

func methodNamed(name string) *method {
	if name == "" {
		name = tokenMethod
	}
	i := slices.IndexFunc(methods, func(m method) bool { return m.name == name })
	if i < 0 {
		return nil
	}
	return &methods[i]
}

func methodNames() []string {
	names := make([]string, len(methods))
	for i, m := range methods {
		names[i] = m.name
	}
	return names
}

// field is one member of a login's JSON.
type field struct {
	name string
	source
}

// given is a field that is no secret.
func given(name, value string) field { return field{name, source{value: value}} }

func fields(all ...field) body {
	return func(f *files) (members map[string]string, secrets []string, err error) {
		members = make(map[string]string, len(all))
		for _, one := range all {
			value, err := f.credential(one.source)
			if err != nil {
				return nil, nil, err
			}
			members[one.name] = value
			if one.variable != "" {
				secrets = append(secrets, value)
			}
		}
		return members, secrets, nil
	}
}
