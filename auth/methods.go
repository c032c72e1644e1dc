package auth

import (
	"cmp"
	"context"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// podTokenFile is where Kubernetes puts the token of a pod's service account.
const podTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// method is a way to get a token. All built-in ones but the given token log in, at the mount
// that VAULT_<NAME>_MOUNT names, or at a mount with the method's own name.
//
// To add one, write:
//   - an entry in methods, its name beside Settings.AuthMethod, and its mount in anyMount;
//     check what becomes part of a path, as environment.mount does
//   - an entry in methods of internal/reply/login.go: hints, and what Vault waits for if it asks another server
//   - rows in methods_test.go, in TestLoginThatWaitsForOthers and in proxy_test.go, and
//     a helper in internal/vaulttest
//   - proofs of its hints in resolver/advice_login_test.go
//   - a row and a section in the README
//
// TestEveryMethodIsTestedAndDocumented finds most of what is missing.
type method struct {
	name      string
	variables []variable                       // its own, except that of the mount
	read      func(e *environment) credentials // without the mount; nil if handed in
	handedIn  bool                             // it is one of Options

	// login makes the login method of vault/api for one login, with loaded credentials. It
	// is nil for the given token.
	login func(c credentials) (api.AuthMethod, error)
}

// credentials are what a method needs.
type credentials struct {
	mount      string // of the login, below auth/
	role       string // its name; empty if there is none
	credential source // the token, the JWT or the role id
	secretID   source // a role with bind_secret_id=false has none
	odd        string // what is unusual about them once they are loaded; empty if nothing is
}

const tokenMethod = "token"

var methods = []method{
	{
		name:      tokenMethod,
		variables: []variable{{name: "VAULT_TOKEN"}, {name: "VAULT_TOKEN_FILE", plain: true}},
		read: func(e *environment) credentials {
			e.require("VAULT_TOKEN", "VAULT_TOKEN_FILE")
			return credentials{credential: e.source("VAULT_TOKEN")}
		},
	},
	{
		name:      "approle",
		variables: []variable{{name: "VAULT_ROLE_ID"}, {name: "VAULT_ROLE_ID_FILE", plain: true}, {name: "VAULT_SECRET_ID"}, {name: "VAULT_SECRET_ID_FILE", plain: true}},
		read: func(e *environment) credentials {
			e.require("VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE")
			return credentials{credential: e.source("VAULT_ROLE_ID"), secretID: e.source("VAULT_SECRET_ID")}
		},
		login: func(c credentials) (api.AuthMethod, error) {
			if c.secretID == (source{}) { // vault/api's own method requires one
				return write{c.mount, map[string]any{"role_id": c.credential.value}}, nil
			}
			return approle.NewAppRoleAuth(c.credential.value, &approle.SecretID{FromString: c.secretID.value}, approle.WithMountPath(c.mount))
		},
	},
	{
		name:      "kubernetes",
		variables: []variable{{name: "VAULT_KUBERNETES_ROLE", plain: true}, {name: "VAULT_KUBERNETES_JWT_FILE", plain: true, otherwise: podTokenFile}},
		read: func(e *environment) credentials {
			e.require("VAULT_KUBERNETES_ROLE")
			file := cmp.Or(e.text("VAULT_KUBERNETES_JWT_FILE"), podTokenFile)
			return credentials{role: e.name("VAULT_KUBERNETES_ROLE"), credential: source{variable: "VAULT_KUBERNETES_JWT_FILE", file: file}}
		},
		login: func(c credentials) (api.AuthMethod, error) {
			return kubernetes.NewKubernetesAuth(c.role, kubernetes.WithServiceAccountToken(c.credential.value), kubernetes.WithMountPath(c.mount))
		},
	},
	{
		name:      "jwt",
		variables: []variable{{name: "VAULT_JWT_ROLE", plain: true}, {name: "VAULT_JWT_FILE", plain: true}},
		read: func(e *environment) credentials {
			e.require("VAULT_JWT_ROLE")
			e.require("VAULT_JWT_FILE")
			return credentials{role: e.name("VAULT_JWT_ROLE"), credential: source{variable: "VAULT_JWT_FILE", file: e.text("VAULT_JWT_FILE")}}
		},
		login: func(c credentials) (api.AuthMethod, error) {
			return write{c.mount, map[string]any{"role": c.role, "jwt": c.credential.value}}, nil
		},
	},
	{
		name:      "cert",
		variables: []variable{{name: "VAULT_CERT_ROLE", plain: true}},
		read: func(e *environment) credentials {
			if !e.isSet("VAULT_CLIENT_CERT") && !e.isSet("VAULT_CLIENT_KEY") {
				e.problem("neither VAULT_CLIENT_CERT nor VAULT_CLIENT_KEY is set; set both on the Patch server" + orOtherMethod)
			}
			return credentials{role: e.name("VAULT_CERT_ROLE")}
		},
		login: func(c credentials) (api.AuthMethod, error) {
			return write{c.mount, map[string]any{"name": c.role}}, nil // the TLS connection has the credential
		},
	},
}

// isGiven reports whether the token is given, and there is no login.
func (m method) isGiven() bool { return m.login == nil }

// mountVariable is the variable that names the mount of a login.
func (m method) mountVariable() variable {
	return variable{name: "VAULT_" + strings.ToUpper(m.name) + "_MOUNT", plain: true, otherwise: m.name}
}

func (m method) allVariables() []variable {
	if m.isGiven() {
		return m.variables
	}
	return append([]variable{m.mountVariable()}, m.variables...)
}

func methodNames() []string {
	names := make([]string, len(methods))
	for i, m := range methods {
		names[i] = m.name
	}
	return names
}

// write is a login method with one request to its mount.
type write struct {
	mount string
	body  map[string]any
}

// Login sends the request.
func (w write) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, "auth/"+w.mount+"/login", w.body)
}
