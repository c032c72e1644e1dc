package auth

import (
	"slices"
	"strings"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/session"
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
	variables []variable                 // that belong to it alone, beside that of the mount
	prepare   func(e *environment) login // nil for token
	hints     []session.Hint             // Vault 1.21.1 says so
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

// login makes the request of a login. It reads the files afresh.
type login func(found func(session.Finding)) (session.Login, error)

var methods = []method{
	{
		name:      tokenMethod,
		variables: []variable{{name: "VAULT_TOKEN"}, {name: "VAULT_TOKEN_FILE", plain: true}},
	},
	{
		name:      "approle",
		variables: []variable{{name: "VAULT_ROLE_ID"}, {name: "VAULT_ROLE_ID_FILE", plain: true}, {name: "VAULT_SECRET_ID"}, {name: "VAULT_SECRET_ID_FILE", plain: true}},
		prepare: func(e *environment) login {
			role, secret := e.required("VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE"), e.oneOf("VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE")
			if !secret.isSet() {
				return fields("login", field{"role_id", role}) // a role with bind_secret_id=false
			}
			return notWrapped(fields("login", field{"role_id", role}, field{"secret_id", secret}))
		},
		hints: []session.Hint{
			{Says: "invalid role or secret ID", Do: "compare the role id with the role's in Vault; if it is right, the secret id is wrong, expired, used up or destroyed: have a new one made, and give the role secret_id_num_uses=0"},
			{Says: "missing secret_id", Do: "set VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, or give the role bind_secret_id=false"},
		},
	},
	{
		name:      "kubernetes",
		variables: []variable{{name: "VAULT_KUBERNETES_ROLE", plain: true}, {name: "VAULT_KUBERNETES_JWT_FILE", plain: true, otherwise: podTokenFile}},
		prepare: func(e *environment) login {
			role, file := e.requiredText("VAULT_KUBERNETES_ROLE"), e.text("VAULT_KUBERNETES_JWT_FILE")
			if file == "" {
				file = podTokenFile
			}
			return fields("login", public("role", role), field{"jwt", source{variable: "VAULT_KUBERNETES_JWT_FILE", file: file}})
		},
		hints: []session.Hint{
			{Says: "invalid role name", Do: "check VAULT_KUBERNETES_ROLE, and the roles of this mount in Vault"},
			{Says: "not authorized", Do: "add the pod's service account and namespace to the role in Vault"},
			{Says: "audience", Do: "give the role the audience of the pod's token"},
			{Says: "expired", Do: "the token file is not renewed: check its projection into the pod"},
			{Says: "could not load backend configuration", Do: "configure the mount in Vault: vault write auth/kubernetes/config"},
			{Says: client.PermissionDenied, Do: "check that the mount exists, that Vault's token reviewer may ask Kubernetes and reaches it, and that the role allows the Patch server's address; Vault's log has the cause"},
		},
	},
	{
		name:      "jwt",
		variables: []variable{{name: "VAULT_JWT_ROLE", plain: true}, {name: "VAULT_JWT_FILE", plain: true}},
		prepare: func(e *environment) login {
			role, file := e.requiredText("VAULT_JWT_ROLE"), e.requiredText("VAULT_JWT_FILE")
			return fields("login", public("role", role), field{"jwt", source{variable: "VAULT_JWT_FILE", file: file}})
		},
		hints: []session.Hint{
			{Says: "could not be found", Do: "check VAULT_JWT_ROLE, and the roles of this mount in Vault"},
			{Says: "expired", Do: "the token file is not renewed: check what writes it"},
			{Says: "audience", Do: "give the role the audience of the token in bound_audiences"},
			{Says: "signature", Do: "have the mount trust the keys of what signs the token"},
			{Says: "claim", Do: "have the role accept the claims of the token"},
		},
	},
	{
		name:      "cert",
		variables: []variable{{name: "VAULT_CERT_ROLE", plain: true}},
		prepare: func(e *environment) login {
			if !e.isSet("VAULT_CLIENT_CERT") && !e.isSet("VAULT_CLIENT_KEY") {
				e.problem("neither VAULT_CLIENT_CERT nor VAULT_CLIENT_KEY is set; set both on the Patch server")
			}
			if role := e.text("VAULT_CERT_ROLE"); role != "" {
				return fields("login", public("name", role))
			}
			return fields("login")
		},
		hints: []session.Hint{
			{Says: "failed to verify client's certificate", Do: "renew the certificate in VAULT_CLIENT_CERT"}, // expired
			{Says: "match all constraints", Do: "have the certificate, or the CA that signed it, and its name (allowed_common_names) in a role of this mount, and check VAULT_CERT_ROLE"},
			{Says: "invalid certificate", Do: "have the certificate, or the CA that signed it, and its name (allowed_common_names) in a role of this mount, and check VAULT_CERT_ROLE"},
			{Says: "client certificate", Do: "let the connection reach Vault's own TLS: a proxy that ends it cannot pass the certificate on"},
			{Says: "tls connection required", Do: "write https in the address: a certificate proves nothing over http"},
		},
	},
}

// anyMethod are the hints that hold for every method, after its own.
var anyMethod = []session.Hint{
	{Says: "CIDR", Do: "allow the Patch server's address in the role in Vault"},
	{Says: client.NoMount, Do: "check the mount and the namespace"},
	{Says: client.PermissionDenied, Do: "check that the mount exists in this namespace, that the role allows the Patch server's address, and what Vault's log says"},
}

const tokenMethod = "token"

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

func fields(path string, all ...field) login {
	return func(found func(session.Finding)) (session.Login, error) {
		l := session.Login{Path: path, Members: make(map[string]string, len(all))}
		for _, one := range all {
			value, err := files{found}.credential(one.source)
			if err != nil {
				return session.Login{}, err
			}
			l.Members[one.name] = value
			if one.variable != "" {
				l.Secrets = append(l.Secrets, value)
			}
		}
		return l, nil
	}
}

// notWrapped knows why Vault refuses a secret id that is a wrapping token.
func notWrapped(made login) login {
	return func(found func(session.Finding)) (session.Login, error) {
		l, err := made(found)
		secret := l.Members["secret_id"]
		if strings.HasPrefix(secret, "hvs.") || strings.HasPrefix(secret, "hvb.") || strings.HasPrefix(secret, "s.") {
			l.Refused = "give the secret id itself, or the token file of Vault Agent: response-wrapped secret ids are not supported"
		}
		return l, err
	}
}

// systemdCredentials is where systemd keeps what LoadCredential= names, copied when
// the service starts.
const systemdCredentials = "/run/credentials/"

// givenToken is the method that logs nobody in.
func (e *environment) givenToken(m *method) session.Method {
	s := e.required("VAULT_TOKEN", "VAULT_TOKEN_FILE")
	given := session.Method{
		Name:  m.name,
		Token: func(found func(session.Finding)) (string, error) { return files{found}.credential(s) },
		Renew: "set VAULT_TOKEN to a new one on the Patch server, and start the agent again",
	}
	switch {
	case strings.HasPrefix(s.file, systemdCredentials):
		given.Renew = "have the file that LoadCredential= names for VAULT_TOKEN_FILE written with a new one, and start the service again: " + s.file + " is systemd's copy"
	case s.file != "":
		given.Renew = "have " + shownFile(s.file) + " (VAULT_TOKEN_FILE) written with a new one"
	}
	return given
}
