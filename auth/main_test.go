package auth_test

import (
	"context"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		flag.Set("test.skip", "^ExampleVault_Do$") // it needs a Vault
	}
	os.Exit(canary.Silent(func() int { return vaulttest.Main(m) }))
}

// variables are the whole environment that the library sees.
type variables map[string]string

func (v variables) options() auth.Options {
	return auth.Options{Getenv: func(name string) string { return v[name] }}
}

// and merges two sets of variables.
func (v variables) and(others variables) variables {
	all := make(variables)
	maps.Copy(all, others)
	maps.Copy(all, v)
	return all
}

// at describes a server to the library, with its CA if it has one.
func at(server *vaulttest.Server, method string, v variables) *auth.Vault {
	v = v.and(variables{"VAULT_CACERT": server.CAFile})
	return auth.New(auth.Settings{Address: server.Address, AuthMethod: method}, v.options())
}

// brief is a patience that a test waits out. A server that answers at all does so
// within a third of it on a busy machine, too.
const brief = 3 * time.Second

// secret is a secret of a test's own, with the policy that grants it.
type secret struct {
	path   string // of the API
	policy string
}

func newSecret(t testing.TB, server *vaulttest.Server) secret {
	t.Helper()
	mount := server.KV(t, 1)
	server.Put(t, mount, "app", map[string]any{"password": "of no matter"})
	return secret{mount + "/app", server.Policy(t, `path "`+mount+`/app" { capabilities = ["read"] }`)}
}

// run is one use of Vault, and what it asked for.
type run struct {
	id     string
	status []int // of the reads
	usage  auth.Usage
	err    error
}

// do uses a Vault; a nil use does nothing.
func do(ctx context.Context, vault *auth.Vault, options auth.DoOptions, use func(context.Context, *api.Client) error) (auth.Usage, error) {
	if use == nil {
		use = func(context.Context, *api.Client) error { return nil }
	}
	return vault.Do(ctx, options, use)
}

// get reads a path as package resolver does.
func get(ctx context.Context, client *api.Client, path string) (*reply.Answer, error) {
	return reply.Read(ctx, client, path, nil, nil)
}

// warnings are the run's findings, as the agent's log shows them.
func (r *run) warnings() []string {
	var texts []string
	for _, f := range r.usage.Findings {
		text := f.Text
		if f.Detail != "" {
			text += " (" + f.Detail + ")"
		}
		texts = append(texts, text)
	}
	return texts
}

// readOnce logs in, reads the paths and ends. Its patience is long enough for a busy
// machine, and costs no time if nothing fails.
func readOnce(ctx context.Context, vault *auth.Vault, paths ...string) *run {
	r := &run{id: vaulttest.Name()}
	r.usage, r.err = do(ctx, vault, auth.DoOptions{RunID: r.id, Patience: 20 * time.Second}, func(ctx context.Context, client *api.Client) error {
		for _, path := range paths {
			answer, err := get(ctx, client, path)
			if err != nil {
				return err
			}
			r.status = append(r.status, answer.Status)
		}
		return nil
	})
	return r
}

// requests are the paths that the run asked for, by the server's audit file.
func (r *run) requests(t testing.TB, server *vaulttest.Server) []string {
	t.Helper()
	var paths []string
	for _, request := range server.RequestsBy(t, "run/"+r.id) {
		paths = append(paths, request.Path)
	}
	return paths
}

// accessor is the accessor of the last token that the run used.
func (r *run) accessor(t testing.TB, server *vaulttest.Server) string {
	t.Helper()
	accessor := ""
	for _, request := range server.RequestsBy(t, "run/"+r.id) {
		if request.Accessor != "" {
			accessor = request.Accessor
		}
	}
	return accessor
}

func isAlive(t testing.TB, server *vaulttest.Server, accessor string) bool {
	t.Helper()
	require.NotEmpty(t, accessor)
	status, _, err := server.Do("POST", "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
	require.NoError(t, err)
	return status == http.StatusOK
}

// tokensOf is how many tokens of a login mount are alive.
func tokensOf(t testing.TB, server *vaulttest.Server, mount string) int {
	t.Helper()
	status, answer, err := server.Do("LIST", "sys/leases/lookup/auth/"+mount+"/login", nil)
	require.NoError(t, err)
	if status == http.StatusNotFound {
		return 0
	}
	data, _ := answer["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	return len(keys)
}

// inFile writes a file that only its owner can read, and returns its name.
func inFile(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, content)
	return name
}

func write(t testing.TB, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
}

// standIn is a server that answers as Vault would, or wrongly, and notes its requests.
type standIn struct {
	address string

	mu   sync.Mutex
	seen []*http.Request
}

// newStandIn makes a server that answers every login with a token and every read with a
// secret, unless answer has answered first.
func newStandIn(t testing.TB, answer func(w http.ResponseWriter, r *http.Request) (done bool)) *standIn {
	t.Helper()
	s := &standIn{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // until then, nobody sees that the client has gone
		s.mu.Lock()
		s.seen = append(s.seen, r)
		s.mu.Unlock()
		if answer != nil && answer(w, r) {
			return
		}
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
		case strings.HasSuffix(path, "/login") || strings.Contains(path, "/login/"):
			say(w, 200, `{"request_id":"1","auth":{"client_token":"`+standInToken+`","accessor":"a","token_type":"service","lease_duration":3600,"renewable":true},"mount_type":""}`)
		case strings.HasSuffix(path, "/revoke-self"):
			w.WriteHeader(http.StatusNoContent)
		case strings.HasSuffix(path, "/lookup-self"):
			say(w, 200, `{"request_id":"1","data":{"accessor":"a","ttl":0,"expire_time":null,"type":"service"},"mount_type":"token"}`)
		default:
			say(w, 200, `{"request_id":"1","data":{"password":"x"},"mount_type":"kv"}`)
		}
	}))
	t.Cleanup(server.Close)
	s.address = server.URL
	return s
}

const standInToken = "hvs.of-the-stand-in"

func say(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write([]byte(body))
}

// requests are the methods and paths of all requests.
func (s *standIn) requests() []string {
	var all []string
	for _, r := range s.all() {
		all = append(all, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v1/"))
	}
	return all
}

func (s *standIn) all() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// assertKind checks the kind of an error, and that its text is one line with the parts.
func assertKind(t testing.TB, err error, kind error, parts ...string) {
	t.Helper()
	if !assert.ErrorIs(t, err, kind) {
		return
	}
	assert.NotContains(t, err.Error(), "\n")
	for _, part := range parts {
		assert.ErrorContains(t, err, part)
	}
}

// handIn returns the methods as Options take them.
func handIn(methods map[string]api.AuthMethod) map[string]func() (api.AuthMethod, error) {
	all := make(map[string]func() (api.AuthMethod, error))
	for name, method := range methods {
		all[name] = func() (api.AuthMethod, error) { return method, nil }
	}
	return all
}
