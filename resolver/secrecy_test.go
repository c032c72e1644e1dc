package resolver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// traitor is a server that gives every answer of Vault, depending on the path, and puts
// the secrets that it was sent into each.
func traitor(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	var credentials map[string]string
	json.Unmarshal(sent, &credentials)
	var echo strings.Builder
	echo.WriteString(r.Header.Get("X-Vault-Token"))
	for _, value := range credentials {
		echo.WriteString(" " + value)
	}
	answer := func(status int, format string, args ...any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
	fail := func(status int, text string) {
		texts, _ := json.Marshal([]string{text + " " + echo.String()})
		answer(status, `{"errors":%s,"warnings":%s}`, texts, texts)
	}
	last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch last {
	case "lookup-self":
		answer(200, `{"request_id":"1","data":{"id":%q,"policies":["p",%[1]q],"ttl":0}}`, echo.String())
	case "mounts":
		answer(200, `{"request_id":"1","data":{"secret":{"v2/":{"type":"kv","options":{"version":"2"}},"v1/":{"type":"kv"},"transit/":{"type":"transit"}}}}`)
	case "login":
		fail(400, "invalid role or secret ID")
	case "sealed":
		fail(503, "Vault is sealed")
	case "no_active_node":
		fail(500, "local node not active but active cluster node not found")
	case "server_error":
		fail(500, "internal error")
	case "rate_limited":
		fail(429, "request path: rate limit quota exceeded")
	case "bad_response":
		http.Error(w, echo.String(), 200)
	case "token":
		fail(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
	case "denied":
		fail(403, "1 error occurred:\n\t* permission denied\n\n")
	case "not_found":
		fail(404, "")
	case "deleted":
		answer(404, `{"request_id":"1","data":{"data":null,"metadata":{"deletion_time":%q,"version":1}}}`, echo.String())
	case "kv_version":
		answer(404, `{"errors":[],"warnings":["Invalid path for a versioned K/V secrets engine %s"]}`, echo.String())
	default:
		answer(200, `{"request_id":"1","data":{"data":{"k":%q,"object":{"k":%[1]q},"list":[%[1]q]},"metadata":{"version":1,"custom_metadata":{"luumen_hosts":"h%s"}}}}`,
			canary.Secret, map[bool]string{true: "x"}[last == "not_for_host"])
	}
}

// Nothing that the library returns prints a secret, whatever the sink and
// whatever a server does with it.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(traitor))
	t.Cleanup(server.Close)
	withTLS := httptest.NewTLSServer(http.HandlerFunc(traitor))
	withTLS.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(withTLS.Close)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	tokenOf := map[string]string{"VAULT_TOKEN": canary.Secret}
	plain := auth.Settings{Address: server.URL}
	blocked := httptest.NewServer(http.HandlerFunc(withoutMounts))
	t.Cleanup(blocked.Close)

	fromUI := func(address string) (settings auth.Settings) {
		require.NoError(t, json.Unmarshal([]byte(`{"address":"`+address+`"}`), &settings))
		return settings
	}

	type scenario struct {
		settings    auth.Settings
		environment map[string]string
		field       string
		kind        resolver.Kind
	}
	var scenarios []scenario
	for _, path := range []string{"sealed", "no_active_node", "server_error", "rate_limited", "bad_response", "token", "denied", "not_found", "deleted", "not_for_host"} {
		scenarios = append(scenarios, scenario{plain, tokenOf, "vault:v2/" + path + "#k", resolver.Kind(path)})
	}
	scenarios = append(scenarios,
		scenario{plain, tokenOf, "vault:v2/ok#k", ""},
		scenario{plain, tokenOf, canary.Secret, ""},
		scenario{plain, tokenOf, "vault:v2/ok#no", resolver.NoKey},
		scenario{plain, tokenOf, "vault:v2/ok#object", resolver.BadValue},
		scenario{plain, tokenOf, "vault:v2/ok#list", resolver.BadValue},
		scenario{plain, tokenOf, "vault:v1/ok?version=1#k", resolver.NoVersion},
		scenario{plain, tokenOf, "vault:transit/ok#k", resolver.NotKV},
		scenario{auth.Settings{Address: blocked.URL, KVVersion: "v1"}, tokenOf, "vault:v2/kv_version#k", resolver.KVVersion},
		scenario{plain, tokenOf, "vault:" + canary.Secret, resolver.BadReference},
		scenario{auth.Settings{Address: "http://" + vaulttest.ClosedPort(t)}, tokenOf, "vault:v2/ok#k", resolver.Unreachable},
		scenario{auth.Settings{Address: withTLS.URL}, tokenOf, "vault:v2/ok#k", resolver.TLS},
		scenario{auth.Settings{}, tokenOf, "vault:v2/ok#k", resolver.NotConfigured},
		scenario{fromUI("http://user:" + canary.Secret + "@vault.example"), tokenOf, "vault:v2/ok#k", resolver.Settings},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_ADDR": "http://user:" + canary.Secret + "@other.example"}, "vault:v2/ok#k", resolver.Environment},
		scenario{auth.Settings{Address: "vault.example"}, tokenOf, "vault:v2/ok#k", resolver.Settings},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_ADDR": "http://other.example"}, "vault:v2/ok#k", resolver.Pinned},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret + "\n" + canary.Secret}, "vault:v2/ok#k", resolver.Environment},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_PROXY_ADDR": "ftp://user:" + canary.Secret + "@proxy.example"}, "vault:v2/ok#k", resolver.Environment},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_PROXY_ADDR": "http://user:" + canary.Secret + "@" + vaulttest.ClosedPort(t)}, "vault:v2/ok#k", resolver.Unreachable},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "HTTPS_PROXY": "http://user:" + canary.Secret + "@" + vaulttest.ClosedPort(t)}, "vault:v2/ok#k", ""},
		scenario{plain, map[string]string{"VAULT_TOKEN_FILE": file("token", canary.Secret+"\x00")}, "vault:v2/ok#k", resolver.Environment},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_CACERT_BYTES": canary.Secret}, "vault:v2/ok#k", resolver.Environment},
		scenario{plain, map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_CLIENT_CERT": file("cert", "-----BEGIN "+canary.Secret), "VAULT_CLIENT_KEY": file("key", canary.Secret)}, "vault:v2/ok#k", resolver.Environment},
		scenario{auth.Settings{Address: server.URL, AuthMethod: "approle"}, map[string]string{"VAULT_ROLE_ID": canary.Secret, "VAULT_SECRET_ID_FILE": file("secret id", canary.Secret)}, "vault:v2/ok#k", resolver.Login},
		scenario{auth.Settings{Address: server.URL, AuthMethod: "jwt"}, map[string]string{"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": file("jwt", canary.Secret)}, "vault:v2/ok#k", resolver.Login},
	)

	for _, s := range scenarios {
		t.Run(fmt.Sprintf("%s %s", s.kind, strings.ReplaceAll(s.field, canary.Secret, "…")), func(t *testing.T) {
			t.Parallel()
			h := host("h", "password", s.field, "literal", canary.Secret)
			vault := auth.New(s.settings, environment(s.environment))
			run := resolver.Resolve(t.Context(), vault, []resolver.Host{h}, resolver.Options{Patience: patienceFor(s.kind)})
			result := collect(run)[0]
			if s.kind != "" {
				require.ErrorIs(t, result.Err(), s.kind)
			} else {
				require.NoError(t, result.Err())
			}
			assertRunIsSilent(t, h, vault, run, result)
			assertNothingLeaks(t, map[string]any{"settings": s.settings, "faults": s.settings.Faults()})
		})
	}
}

// assertRunIsSilent sends everything that a run returns through every sink.
func assertRunIsSilent(t *testing.T, h resolver.Host, vault *auth.Vault, run *resolver.Run, result resolver.Result) {
	t.Helper()
	credential, _ := result.Credential("password")
	report := run.Report()
	things := map[string]any{
		"host": h, "hosts": []resolver.Host{h}, "vault": vault, "effective": vault.Effective(), "effective text": vault.Effective().String(),
		"run": run, "result": result, "results": []resolver.Result{result}, "error": result.Err(), "credential": credential, "pointer": &credential,
		"report": report, "report pointer": &report, "report text": report.String(), "usage": report.Usage, "causes": report.Causes,
		"validation": vault.Validate(),
	}
	for i, err := 0, result.Err(); err != nil; i++ {
		things[fmt.Sprintf("error %d", i)] = err
		err = unwrapLast(err)
	}
	for name, thing := range maps.Clone(things) {
		if thing != nil {
			things["returned by "+name] = returned(thing)
		}
	}
	assertNothingLeaks(t, things)
}

// returned is what the methods of a value return, except Reveal, the one way to a secret.
func returned(v any) (all []any) {
	for method, call := range reflect.ValueOf(v).Methods() {
		if method.Name == "Reveal" || call.Type().NumIn() > 0 {
			continue
		}
		for _, result := range call.Call(nil) {
			all = append(all, result.Interface())
		}
	}
	return all
}

// A run prints no secret that it holds for hosts whose turn has not come.
func TestRunPrintsNothingMeanwhile(t *testing.T) {
	t.Parallel()
	vault := vaultAt(wrongServer(t, traitor), "hvs.of-no-matter")
	hosts := []resolver.Host{host("h", "password", "vault:v2/ok#k"), host("h", "password", "vault:v2/ok#k")}
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
	ready := 0
	for _, result := range run.Results() {
		require.NoError(t, result.Err())
		assertNothingLeaks(t, map[string]any{"run": run, "its loop": run.Results(), "result": result})
		ready++
	}
	assert.Equal(t, 2, ready)
}

func assertNothingLeaks(t *testing.T, things map[string]any) {
	t.Helper()
	for sink, write := range canary.Sinks() {
		for name, thing := range things {
			if thing != nil {
				assert.Empty(t, canary.Leak(write(thing)), "%s to %s", name, sink)
			}
		}
	}
}

// unwrapLast unwraps an error along its cause.
func unwrapLast(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		all := many.Unwrap()
		return all[len(all)-1]
	}
	return errors.Unwrap(err)
}

// withoutMounts is a traitor that has no list of mounts.
func withoutMounts(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/mounts") {
		http.NotFound(w, r)
		return
	}
	traitor(w, r)
}

// panicVariable makes the process of a test panic; its value is the address to use.
const panicVariable = "RESOLVER_TEST_PANIC"

// Neither a panic with the library's values nor Go's HTTP debug output prints a secret.
// Both run in a process of their own.
func TestPanicAndHTTPDebugPrintNoSecret(t *testing.T) {
	if address := os.Getenv(panicVariable); address != "" {
		vault := auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": canary.Secret, "VAULT_SKIP_VERIFY": "true"}))
		result := resolver.One(t.Context(), vault, resolver.Host{Name: "h", Fields: map[string]ref.Value{"password": ref.Parse("vault:v2/ok#k"), "literal": ref.Parse(canary.Secret)}}, resolver.Options{})
		if result.Err() != nil {
			panic("the run went wrong")
		}
		password, _ := result.Credential("password")
		panic(fmt.Sprintf("%+v %+v %+v", result, password, vault))
	}
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(traitor))
	server.EnableHTTP2 = true // it would be spoken if the library offered it
	server.StartTLS()
	defer server.Close()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicAndHTTPDebugPrintNoSecret$")
	command.Env = append(os.Environ(), panicVariable+"="+server.URL, "GODEBUG=http2debug=2")
	output, err := command.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(output), "panic: ")
	assert.NotContains(t, string(output), "went wrong")
	assert.Empty(t, canary.Leak(string(output)))
}
