package vaulttest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// AppRole is a role of an AppRole login method.
type AppRole struct {
	Mount  string // without auth/ before it
	Role   string
	RoleID string

	server *Server
}

// AppRole mounts an AppRole login method at a random path and makes a role. The
// settings are those of auth/approle/role/:name, such as
// {"token_policies": [...], "token_ttl": "1h"}.
func (s *Server) AppRole(t testing.TB, settings map[string]any) *AppRole {
	t.Helper()
	a := &AppRole{Mount: s.loginMount(t, "approle"), Role: "patch", server: s}
	s.Must(t, "POST", a.path(""), settings)
	a.RoleID = Text(s.Must(t, "GET", a.path("/role-id"), nil), "data", "role_id")
	require.NotEmpty(t, a.RoleID)
	return a
}

// SecretID makes a secret id. The settings are those of
// auth/approle/role/:name/secret-id, such as {"num_uses": 1}; nil for none.
func (a *AppRole) SecretID(t testing.TB, settings map[string]any) string {
	t.Helper()
	if settings == nil {
		settings = map[string]any{}
	}
	secretID := Text(a.server.Must(t, "POST", a.path("/secret-id"), settings), "data", "secret_id")
	require.NotEmpty(t, secretID)
	return secretID
}

// Destroy destroys a secret id.
func (a *AppRole) Destroy(t testing.TB, secretID string) {
	t.Helper()
	a.server.Must(t, "POST", a.path("/secret-id/destroy"), map[string]any{"secret_id": secretID})
}

func (a *AppRole) path(below string) string { return "auth/" + a.Mount + "/role/" + a.Role + below }

// loginMount mounts a login method at a random path, and unmounts it when the test ends,
// which revokes its tokens.
func (s *Server) loginMount(t testing.TB, method string) string {
	t.Helper()
	mount := method + "-" + Name()
	s.Must(t, "POST", "sys/auth/"+mount, map[string]any{"type": method})
	t.Cleanup(func() { s.Do("DELETE", "sys/auth/"+mount, nil) })
	return mount
}
