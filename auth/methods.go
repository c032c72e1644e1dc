package auth

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// podTokenFile is where Kubernetes puts the token of a pod's service account.
const podTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// method is a way to get a token. All but the given token log in, at the mount that
// VAULT_<NAME>_MOUNT names, or at a mount with the method's own name.
//
// To add one, write:
//   - an entry in methods, its name at Settings.AuthMethod, and its mount in anyMount;
//     check what becomes part of a path, as environment.mount does
//   - hints in internal/reply/words.go, and a WaitHint if Vault asks another server
//   - rows in methods_test.go, in TestLoginThatWaitsForOthers and in proxy_test.go, and
//     a helper in internal/vaulttest
//   - proofs of its hints in resolver/advice_login_test.go
//   - a row and a section in the README
//
// TestEveryMethodIsTestedAndDocumented finds most of what is missing.
type method struct {
	name      string
	variables []variable                                     // its own, except that of the mount
	read      func(e *environment, mount string) credentials // nil for the given token
}

// variable is an environment variable that the library reads.
type variable struct {
	name      string
	plain     bool   // it cannot hold a secret, so its value may be shown
	otherwise string // the default
}

// credentials are what a login needs.
type credentials interface {
	// authMethod makes the login method for one login, with the files as they are
	// now.
	authMethod(files *files) (api.AuthMethod, error)
}

const (
	tokenMethod = "token"
	certMethod  = "cert"
)

var methods = []method{
	{
		name:      tokenMethod,
		variables: []variable{{name: "VAULT_TOKEN"}, {name: "VAULT_TOKEN_FILE", plain: true}},
	},
	{
		name:      "approle",
		variables: []variable{{name: "VAULT_ROLE_ID"}, {name: "VAULT_ROLE_ID_FILE", plain: true}, {name: "VAULT_SECRET_ID"}, {name: "VAULT_SECRET_ID_FILE", plain: true}},
		read: func(e *environment, mount string) credentials {
			return appRole{mount: mount, roleID: e.required("VAULT_ROLE_ID", "VAULT_ROLE_ID_FILE"), secretID: e.oneOf("VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE")}
		},
	},
	{
		name:      "kubernetes",
		variables: []variable{{name: "VAULT_KUBERNETES_ROLE", plain: true}, {name: "VAULT_KUBERNETES_JWT_FILE", plain: true, otherwise: podTokenFile}},
		read: func(e *environment, mount string) credentials {
			file := cmp.Or(e.text("VAULT_KUBERNETES_JWT_FILE"), podTokenFile)
			return serviceAccount{mount: mount, role: e.requiredName("VAULT_KUBERNETES_ROLE"), jwt: source{variable: "VAULT_KUBERNETES_JWT_FILE", file: file}}
		},
	},
	{
		name:      "jwt",
		variables: []variable{{name: "VAULT_JWT_ROLE", plain: true}, {name: "VAULT_JWT_FILE", plain: true}},
		read: func(e *environment, mount string) credentials {
			return jwt{mount: mount, role: e.requiredName("VAULT_JWT_ROLE"), jwt: source{variable: "VAULT_JWT_FILE", file: e.requiredText("VAULT_JWT_FILE")}}
		},
	},
	{
		name:      certMethod,
		variables: []variable{{name: "VAULT_CERT_ROLE", plain: true}},
		read: func(e *environment, mount string) credentials {
			if !e.isSet("VAULT_CLIENT_CERT") && !e.isSet("VAULT_CLIENT_KEY") {
				e.problem("neither VAULT_CLIENT_CERT nor VAULT_CLIENT_KEY is set; set both on the Patch server")
			}
			login := write{"auth/" + mount + "/login", make(map[string]any)}
			if role := e.name("VAULT_CERT_ROLE"); role != "" {
				login.body["name"] = role
			}
			return login
		},
	},
}

// mount is the variable that names the mount of a login.
func (m *method) mount() variable {
	return variable{name: "VAULT_" + strings.ToUpper(m.name) + "_MOUNT", plain: true, otherwise: m.name}
}

func (m *method) allVariables() []variable {
	if m.read == nil {
		return m.variables
	}
	return append([]variable{m.mount()}, m.variables...)
}

func methodNamed(name string) *method {
	name = cmp.Or(name, tokenMethod)
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

// appRole logs in with vault/api's own package.
type appRole struct {
	mount            string
	roleID, secretID source // a role with bind_secret_id=false has no secret id
}

func (a appRole) authMethod(files *files) (api.AuthMethod, error) {
	role, err := files.credential(a.roleID)
	if err != nil {
		return nil, err
	}
	if !a.secretID.isSet() {
		// The package requires a secret id.
		return write{"auth/" + a.mount + "/login", map[string]any{"role_id": role}}, nil
	}
	secret, err := files.credential(a.secretID)
	if err != nil {
		return nil, err
	}
	return approle.NewAppRoleAuth(role, &approle.SecretID{FromString: secret}, approle.WithMountPath(a.mount))
}

// serviceAccount logs in with vault/api's package for Kubernetes.
type serviceAccount struct {
	mount, role string
	jwt         source
}

func (a serviceAccount) authMethod(files *files) (api.AuthMethod, error) {
	token, err := files.credential(a.jwt)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewKubernetesAuth(a.role, kubernetes.WithServiceAccountToken(token), kubernetes.WithMountPath(a.mount))
}

// jwt logs in with a token that something else issued.
type jwt struct {
	mount, role string
	jwt         source
}

func (a jwt) authMethod(files *files) (api.AuthMethod, error) {
	token, err := files.credential(a.jwt)
	if err != nil {
		return nil, err
	}
	return write{"auth/" + a.mount + "/login", map[string]any{"role": a.role, "jwt": token}}, nil
}

// write is a login method with one request. It is also its own credentials if the body
// holds none, as for the client certificate of the TLS connection.
type write struct {
	path string
	body map[string]any
}

func (w write) authMethod(*files) (api.AuthMethod, error) { return w, nil }

func (w write) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, w.path, w.body)
}

// handedIn is a login method of Options.Methods.
type handedIn struct {
	method func() (api.AuthMethod, error)
}

func (h handedIn) authMethod(*files) (api.AuthMethod, error) { return h, nil }

// Login calls the func here and not in authMethod, so that a panic of it is recovered, and
// it is not waited for too long.
func (h handedIn) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	method, err := h.method()
	if err != nil {
		return nil, err
	}
	return method.Login(ctx, client)
}
