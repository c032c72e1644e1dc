package resolver_test

import (
	"flag"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: lookUp}
	flag.Parse()
	if testing.Short() {
		flag.Set("test.skip", "^Example") // they need a Vault
	}
	if os.Getenv(panicVariable) != "" {
		os.Exit(vaulttest.Main(m)) // what it writes is looked at from outside
	}
	os.Exit(canary.Silent(func() int { return vaulttest.Main(m) }))
}

// connectionRefused is the system's error. On Windows, it differs from package syscall's.
var connectionRefused = map[bool]syscall.Errno{true: 10061, false: syscall.ECONNREFUSED}[runtime.GOOS == "windows"]

// connect describes a server to the library, with the token in the environment.
func connect(server *vaulttest.Server, token string) *auth.Vault {
	return auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{
		"VAULT_TOKEN":  token,
		"VAULT_CACERT": server.CAFile,
	}))
}

// environment makes these variables the whole environment.
func environment(variables map[string]string) auth.Options {
	return auth.Options{Getenv: func(name string) string { return variables[name] }}
}

// host makes a host from field names and texts in turn.
func host(name string, fields ...string) resolver.Host {
	h := resolver.Host{Name: name, Fields: make(map[string]ref.Value)}
	for i := 0; i < len(fields); i += 2 {
		h.Fields[fields[i]] = ref.Parse(fields[i+1])
	}
	return h
}

// collect ranges over a run and returns its results by index.
func collect(run *resolver.Run) map[int]resolver.Result {
	return maps.Collect(run.Results())
}

// fieldsOf parses fields as they were typed.
func fieldsOf(texts ...string) []ref.Value {
	fields := make([]ref.Value, len(texts))
	for i, text := range texts {
		fields[i] = ref.Parse(text)
	}
	return fields
}

// references makes the references to one key of each path.
func references(t testing.TB, paths ...string) []ref.Ref {
	t.Helper()
	all := make([]ref.Ref, len(paths))
	for i, path := range paths {
		r, err := ref.New(path, "password", 0)
		require.NoError(t, err)
		all[i] = r
	}
	return all
}

// brief is a patience that a test waits out. A server that answers at all does so
// within a third of it on a busy machine, too.
const brief = 3 * time.Second

// patienceFor is the patience for a test that ends with an error of the kind: brief if it
// is waited out.
func patienceFor(kind resolver.Kind) time.Duration {
	switch kind {
	case resolver.Unreachable, resolver.Sealed, resolver.NoActiveNode, resolver.ServerError, resolver.RateLimited, resolver.BadResponse:
		return brief
	}
	return 10 * brief
}

func wrongServer(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// always makes a handler that always gives the same answer.
func always(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// refuses makes a proxy refuse paths with a prefix.
func refuses(prefix string) func(w http.ResponseWriter, path string) bool {
	return func(w http.ResponseWriter, path string) bool {
		refused := strings.HasPrefix(path, prefix)
		if refused {
			http.Error(w, "<html>no", http.StatusForbidden)
		}
		return refused
	}
}

// vaultAt describes a Vault by its address and a given token.
func vaultAt(address, token string) *auth.Vault {
	return auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_ADDR": address}))
}

// appRole makes a role that needs no secret id.
func appRole(t *testing.T, server *vaulttest.Server, role map[string]any) (mount, roleID string) {
	t.Helper()
	mount = "approle-" + vaulttest.Name()
	server.Must(t, http.MethodPost, "sys/auth/"+mount, map[string]any{"type": "approle"})
	role["bind_secret_id"], role["secret_id_bound_cidrs"] = false, []string{"127.0.0.1/32"}
	server.Must(t, http.MethodPost, "auth/"+mount+"/role/agent", role)
	return mount, vaulttest.Text(server.Must(t, http.MethodGet, "auth/"+mount+"/role/agent/role-id", nil), "data", "role_id")
}

// assertNoToken tells whether all tokens of a login mount are revoked.
func assertNoToken(t *testing.T, server *vaulttest.Server, mount string) {
	t.Helper()
	status, _, err := server.Do("LIST", "sys/leases/lookup/auth/"+mount+"/login", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, status, "a token is alive")
}

// inFile writes a file that only its owner can read, and returns its name.
func inFile(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// handIn returns the methods as Options take them.
func handIn(methods map[string]api.AuthMethod) map[string]func() (api.AuthMethod, error) {
	all := make(map[string]func() (api.AuthMethod, error))
	for name, method := range methods {
		all[name] = func() (api.AuthMethod, error) { return method, nil }
	}
	return all
}
