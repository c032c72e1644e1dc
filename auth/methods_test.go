package auth_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// A new method is finished when each of these has it.
func TestEveryMethodIsTestedAndDocumented(t *testing.T) {
	t.Parallel()
	var logins, canaries, files, documented []string
	for _, c := range loginCases {
		logins = append(logins, c.method)
	}
	for _, c := range canaryCases(t) {
		canaries = append(canaries, c.method)
	}
	for _, c := range fileCases(t) {
		files = append(files, c.method)
	}
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(readme), "| `auth_method` |")
	require.True(t, ok, "the table is missing")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, match := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, match[1])
	}
	for name, in := range map[string][]string{
		"loginCases":              logins,
		"canaryCases":             slices.DeleteFunc(canaries, func(method string) bool { return method == "custom" }),
		"fileCases":               files,
		"defaultMountCases":       append(slices.Collect(maps.Keys(defaultMountCases(t))), "token"), // it has no mount
		"the table of the README": documented,
	} {
		assert.Equal(t, slices.Sorted(slices.Values(auth.MethodNames())), slices.Compact(slices.Sorted(slices.Values(in))), name)
	}
	notRead := auth.New(auth.Settings{}, variables{"VAULT_AUTH_MOUNT": "m"}.options()).Effective().NotRead
	require.Len(t, notRead, 1)
	for _, name := range auth.MethodNames() {
		if name != "token" {
			assert.Contains(t, notRead[0].Note, "VAULT_"+strings.ToUpper(name)+"_MOUNT")
		}
	}
}

// loginCases are the login methods that tests range over.
var loginCases = []struct {
	name    string
	method  string
	rotates bool
	// setUp returns the variables, and a func that rotates their files: the old
	// credentials end, and the new ones are good.
	setUp func(t *testing.T, server *vaulttest.Server, role map[string]any) (v variables, rotate func())
}{
	{"secret id", "approle", true, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		a := server.AppRole(t, role)
		old := a.SecretID(t, nil)
		file := inFile(t, old)
		return variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID_FILE": file}, func() {
			a.Destroy(t, old)
			write(t, file, a.SecretID(t, nil))
		}
	}},
	{"role id", "approle", true, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		role["bind_secret_id"], role["token_bound_cidrs"] = false, "127.0.0.0/8"
		a := server.AppRole(t, role)
		file := inFile(t, a.RoleID)
		return variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID_FILE": file}, func() {
			renewed := vaulttest.Name()
			server.Must(t, "POST", "auth/"+a.Mount+"/role/"+a.Role+"/role-id", map[string]any{"role_id": renewed})
			write(t, file, renewed)
		}
	}},
	{"service-account token", "kubernetes", true, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		k := server.Kubernetes(t, role)
		file := inFile(t, k.Token(t, nil))
		return variables{"VAULT_KUBERNETES_MOUNT": k.Mount, "VAULT_KUBERNETES_ROLE": k.Role, "VAULT_KUBERNETES_JWT_FILE": file}, func() {
			role["audience"] = "renewed"
			role["bound_service_account_names"], role["bound_service_account_namespaces"] = "runner", "default"
			server.Must(t, "POST", "auth/"+k.Mount+"/role/"+k.Role, role)
			write(t, file, k.Token(t, map[string]any{"aud": []string{"renewed"}}))
		}
	}},
	{"JWT", "jwt", true, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		j := server.JWT(t, role)
		file := inFile(t, j.Token(t, nil))
		return variables{"VAULT_JWT_MOUNT": j.Mount, "VAULT_JWT_ROLE": j.Role, "VAULT_JWT_FILE": file}, func() {
			server.Must(t, "POST", "auth/"+j.Mount+"/role/"+j.Role, map[string]any{"role_type": "jwt", "user_claim": "sub",
				"bound_audiences": []string{"renewed"}, "token_policies": role["token_policies"]})
			write(t, file, j.Token(t, map[string]any{"aud": "renewed"}))
		}
	}},
	{"client certificate", "cert", true, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		role["allowed_common_names"] = "before"
		c := server.Cert(t, role)
		certificate, key := c.Issue(t, "before")
		v := variables{"VAULT_CERT_MOUNT": c.Mount, "VAULT_CLIENT_CERT": inFile(t, certificate), "VAULT_CLIENT_KEY": inFile(t, key)}
		return v, func() {
			server.Must(t, "POST", "auth/"+c.Mount+"/certs/"+c.Role, map[string]any{"allowed_common_names": "after", "certificate": c.Authority(), "token_policies": role["token_policies"]})
			certificate, key := c.Issue(t, "after")
			write(t, v["VAULT_CLIENT_CERT"], certificate)
			write(t, v["VAULT_CLIENT_KEY"], key)
		}
	}},
	{"token", "token", true, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		make := func() string {
			return server.NewToken(t, map[string]any{"policies": []any{role["token_policies"]}, "ttl": "999h"})
		}
		old := make()
		file := inFile(t, old)
		return variables{"VAULT_TOKEN_FILE": file}, func() {
			server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": old})
			write(t, file, make())
		}
	}},
	{"AppRole from variables", "approle", false, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		a := server.AppRole(t, role)
		return variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil)}, nil
	}},
	{"AppRole from files", "approle", false, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		a := server.AppRole(t, role)
		return variables{"VAULT_APPROLE_MOUNT": a.Mount + "/", "VAULT_ROLE_ID_FILE": inFile(t, a.RoleID+"\n"), "VAULT_SECRET_ID_FILE": inFile(t, a.SecretID(t, nil)+"\r\n")}, nil
	}},
	{"AppRole without secret id", "approle", false, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		role["bind_secret_id"], role["token_bound_cidrs"], role["secret_id_bound_cidrs"] = false, "127.0.0.0/8", "127.0.0.0/8"
		a := server.AppRole(t, role)
		return variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID}, nil
	}},
	{"TLS certificate with a role", "cert", false, func(t *testing.T, server *vaulttest.Server, role map[string]any) (variables, func()) {
		c := server.Cert(t, role)
		certificate, key := c.Issue(t, "agent")
		return variables{"VAULT_CERT_MOUNT": c.Mount, "VAULT_CERT_ROLE": c.Role, "VAULT_CLIENT_CERT": inFile(t, certificate), "VAULT_CLIENT_KEY": inFile(t, key)}, nil
	}},
}

// defaultMountCases are the methods that log in, with just the variables that each needs.
func defaultMountCases(t testing.TB) map[string]variables {
	return map[string]variables{
		"approle":    {"VAULT_ROLE_ID": "r"},
		"kubernetes": {"VAULT_KUBERNETES_ROLE": "r", "VAULT_KUBERNETES_JWT_FILE": inFile(t, "j")},
		"jwt":        {"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": inFile(t, "j")},
		"cert":       newPair(t),
	}
}

// fileCase is a variable that names a file.
type fileCase struct {
	method, variable string
	with             variables
}

func fileCases(t testing.TB) []fileCase {
	pair := newPair(t)
	return []fileCase{
		{"token", "VAULT_TOKEN_FILE", nil},
		{"approle", "VAULT_ROLE_ID_FILE", nil},
		{"approle", "VAULT_SECRET_ID_FILE", variables{"VAULT_ROLE_ID": "r"}},
		{"kubernetes", "VAULT_KUBERNETES_JWT_FILE", variables{"VAULT_KUBERNETES_ROLE": "r"}},
		{"jwt", "VAULT_JWT_FILE", variables{"VAULT_JWT_ROLE": "r"}},
		{"cert", "VAULT_CLIENT_CERT", variables{"VAULT_CLIENT_KEY": pair["VAULT_CLIENT_KEY"]}},
		{"cert", "VAULT_CLIENT_KEY", variables{"VAULT_CLIENT_CERT": pair["VAULT_CLIENT_CERT"]}},
		{"token", "VAULT_CACERT", variables{"VAULT_TOKEN": "t"}},
	}
}

// canaryCase has a marked secret in every place that can hold one.
type canaryCase struct {
	name, method string
	v            variables
}

func canaryCases(t testing.TB) []canaryCase {
	return []canaryCase{
		{"token", "token", variables{"VAULT_TOKEN": canary.Secret}},
		{"token file", "token", variables{"VAULT_TOKEN_FILE": inFile(t, canary.Secret)}},
		{"AppRole", "approle", variables{"VAULT_ROLE_ID": canary.Secret, "VAULT_SECRET_ID": canary.Secret + "2"}},
		{"AppRole files", "approle", variables{"VAULT_ROLE_ID_FILE": inFile(t, canary.Secret), "VAULT_SECRET_ID_FILE": inFile(t, canary.Secret+"2")}},
		{"Kubernetes", "kubernetes", variables{"VAULT_KUBERNETES_ROLE": "r", "VAULT_KUBERNETES_JWT_FILE": inFile(t, canary.Secret)}},
		{"JWT", "jwt", variables{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": inFile(t, canary.Secret)}},
		{"certificate", "cert", newPair(t)},
		{"handed in", "custom", nil},
		{"proxy", "token", variables{"VAULT_TOKEN": "t", "VAULT_PROXY_ADDR": "proxied"}},
		{"not read", "token", variables{"VAULT_TOKEN": "t", "VAULT_APPROLE_SECRET_ID": canary.Secret, "VAULT_HEADERS": canary.Secret, "VAULT_ROLE": canary.Secret}},
		{"unused", "token", variables{"VAULT_TOKEN": "t", "VAULT_SECRET_ID": canary.Secret, "VAULT_JWT_ROLE": canary.Secret}},
	}
}
