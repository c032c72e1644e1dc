package auth

import (
	"slices"
	"strings"
)

// podTokenFile is where Kubernetes puts the token of a pod's service account.
const podTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// method is a way to log in, at the mount that VAULT_<NAME>_MOUNT names; without
// it, at the one of the method's own name. To add one: an entry in methods, a row
// in the tables of the tests that range over them, one in the README's.
//
// The official packages for AppRole and Kubernetes are not used: the former
// refuses a role without secret id, the latter reads the token once in its
// constructor, not at each login, and both need an api.Client, which cannot be
// made while any VAULT_* variable is malformed.
type method struct {
	name      string
	variables []variable // that belong to it alone, beside that of the mount
	prepare   func(e *environment) body
	hints     []hint
}

// variable is one that the library reads.
type variable struct {
	name      string
	plain     bool   // it cannot hold a secret; any other is never shown
	otherwise string // what an unset one stands for
}

// mount is the variable with the mount; its name is empty for token, which has
// none.
func (m *method) mount() variable {
	if m.prepare == nil {
		return variable{}
	}
	return variable{name: "VAULT_" + strings.ToUpper(m.name) + "_MOUNT", plain: true, otherwise: m.name}
}

func (m *method) allVariables() []variable {
	if m.prepare == nil {
		return m.variables
	}
	return append([]variable{m.mount()}, m.variables...)
}

// body makes what a login sends. It reads the files afresh.
type body func(*files) (login, error)

type login struct {
	path    string // below the mount
	members map[string]string
	secrets []string // those of the members' values that are
}

// hint is what a refused login means, where Vault's words allow to tell.
type hint struct{ says, do string }

var methods = []method{
	{
		name:      tokenMethod,
		variables: []variable{{name: "VAULT_TOKEN"}, {name: "VAULT_TOKEN_FILE", plain: true}},
	},
	{
		name:      "approle",
		variables: []variable{{name: "VAULT_ROLE_ID"}, {name: "VAULT_ROLE_ID_FILE", plain: true}, {name: "VAULT_SECRET_ID"}, {name: "VAULT_SECRET_ID_FILE", plain: true}},
		prepare: func(e *environment) body {
			role, secret := e.required("VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE"), e.oneOf("VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE")
			if !secret.isSet() {
				return fields("login", field{"role_id", role}) // a role with bind_secret_id=false
			}
			return fields("login", field{"role_id", role}, field{"secret_id", secret})
		},
		hints: []hint{
			{"invalid role or secret ID", "check the role id, and that the secret id is neither expired nor used up: the role needs secret_id_num_uses=0"},
			{"missing secret_id", "set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or give the role bind_secret_id=false"},
		},
	},
	{
		name:      "kubernetes",
		variables: []variable{{name: "VAULT_KUBERNETES_ROLE", plain: true}, {name: "VAULT_KUBERNETES_JWT_FILE", plain: true, otherwise: podTokenFile}},
		prepare: func(e *environment) body {
			role, file := e.requiredText("VAULT_KUBERNETES_ROLE"), e.text("VAULT_KUBERNETES_JWT_FILE")
			if file == "" {
				file = podTokenFile
			}
			return fields("login", public("role", role), field{"jwt", source{variable: "VAULT_KUBERNETES_JWT_FILE", file: file}})
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
		variables: []variable{{name: "VAULT_JWT_ROLE", plain: true}, {name: "VAULT_JWT_FILE", plain: true}},
		prepare: func(e *environment) body {
			role, file := e.requiredText("VAULT_JWT_ROLE"), e.requiredText("VAULT_JWT_FILE")
			return fields("login", public("role", role), field{"jwt", source{variable: "VAULT_JWT_FILE", file: file}})
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
		variables: []variable{{name: "VAULT_CERT_ROLE", plain: true}},
		prepare: func(e *environment) body {
			if !e.isSet("VAULT_CLIENT_CERT") && !e.isSet("VAULT_CLIENT_KEY") {
				e.problem("neither VAULT_CLIENT_CERT nor VAULT_CLIENT_KEY is set; set both on the Patch server")
			}
			if role := e.text("VAULT_CERT_ROLE"); role != "" {
				return fields("login", public("name", role))
			}
			return fields("login")
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

// public is a field that is no secret.
func public(name, value string) field { return field{name, source{value: value}} }

func fields(path string, all ...field) body {
	return func(f *files) (login, error) {
		l := login{path: path, members: make(map[string]string, len(all))}
		for _, one := range all {
			value, err := f.credential(one.source)
			if err != nil {
				return login{}, err
			}
			l.members[one.name] = value
			if one.variable != "" {
				l.secrets = append(l.secrets, value)
			}
		}
		return l, nil
	}
}
