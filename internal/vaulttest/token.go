package vaulttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Policy writes a policy and returns its name.
func (s *Server) Policy(t testing.TB, hcl string) (name string) {
	t.Helper()
	name = "policy-" + Name()
	s.Must(t, "PUT", "sys/policies/acl/"+name, map[string]any{"policy": hcl})
	return name
}

// NewToken creates a token. The settings are those of auth/token/create, such as
// {"policies": [...], "ttl": "1h", "num_uses": 5, "no_default_policy": true};
// without policies it is a root token.
func (s *Server) NewToken(t testing.TB, settings map[string]any) (token string) {
	t.Helper()
	token = Text(s.Must(t, "POST", "auth/token/create", settings), "auth", "client_token")
	require.NotEmpty(t, token, "auth/token/create: no token in the answer")
	return token
}

// ReaderToken creates a token that can read these API paths, such as "secret/data/app", and
// nothing else: without the default policy, it cannot even look itself up.
func (s *Server) ReaderToken(t testing.TB, paths ...string) (token string) {
	t.Helper()
	var hcl strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&hcl, "path %q {\n\tcapabilities = [\"read\"]\n}\n", path)
	}
	return s.NewToken(t, map[string]any{
		"policies":          []string{s.Policy(t, hcl.String())},
		"no_default_policy": true,
		"ttl":               "1h",
	})
}

// Accessors returns how many tokens are alive, except batch tokens. On a shared server it
// counts those of other tests, too.
func (s *Server) Accessors(t testing.TB) int {
	t.Helper()
	answer := s.Must(t, "LIST", "auth/token/accessors", nil)
	data, _ := answer["data"].(map[string]any)
	keys, ok := data["keys"].([]any)
	require.True(t, ok, "auth/token/accessors: no list in the answer")
	return len(keys)
}

// RequestsBy is [Server.Requests] for tests.
func (s *Server) RequestsBy(t testing.TB, userAgentPart string) []Request {
	t.Helper()
	requests, err := s.Requests(userAgentPart)
	require.NoError(t, err)
	return requests
}
