package resolver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// slowness is how long a server takes for a path.
type slowness func(path string) time.Duration

const forever = time.Hour

// slowly delays paths with one of the prefixes; "" is every path.
func slowly(by time.Duration, prefixes ...string) slowness {
	return func(path string) time.Duration {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
			return by
		}
		return 0
	}
}

// slow puts a proxy in front of the server that delays some requests.
func slow(t *testing.T, server *vaulttest.Server, how slowness) (address string) {
	t.Helper()
	target, err := url.Parse(server.Address)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	proxy.Transport = transport
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {} // the client has gone
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // until then, nobody sees that the client has gone
		r.Body = io.NopCloser(bytes.NewReader(body))
		if delay := how(strings.TrimPrefix(r.URL.Path, "/v1/")); delay > 0 {
			select {
			case <-time.After(delay):
			case <-r.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.Close()
		transport.CloseIdleConnections()
	})
	return front.URL
}

// However Vault behaves, a check reports for every field what the next run reports, and
// ends within two attempts and three seconds.
func TestCheckAgreesWithTheRun(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second // VAULT_CLIENT_TIMEOUT
	const late = 1200 * time.Millisecond
	const checks = 300 * time.Millisecond // the patience of a check: what is late is later than that
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for _, path := range []string{"app", "db", "web"} {
		server.Put(t, kv, path, map[string]any{"password": "right"})
	}
	policy := server.Policy(t, `path "`+kv+`/*" { capabilities = ["read"] }`)
	token := server.NewToken(t, map[string]any{"policies": []string{"default", policy}, "ttl": "999h"})
	mount, roleID := appRole(t, server, map[string]any{"token_policies": []string{"default", policy}, "token_ttl": "1h"})
	k := server.Kubernetes(t, map[string]any{"token_policies": policy})
	k.Hang.Store(true)
	sealed := vaulttest.SharedSealed(t)
	withTLS := vaulttest.SharedTLS(t)

	given := func(address string, more ...string) *auth.Vault {
		v := map[string]string{"VAULT_TOKEN": token, "VAULT_CLIENT_TIMEOUT": timeout.String()}
		for i := 0; i < len(more); i += 2 {
			v[more[i]] = more[i+1]
		}
		return auth.New(auth.Settings{Address: address}, environment(v))
	}
	login := func(address string) *auth.Vault {
		return auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, environment(map[string]string{
			"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": roleID, "VAULT_CLIENT_TIMEOUT": timeout.String()}))
	}
	handedIn := func(address string) *auth.Vault {
		options := environment(map[string]string{"VAULT_CLIENT_TIMEOUT": timeout.String()})
		options.Methods = handIn(map[string]api.AuthMethod{"own": logIn{"auth/" + mount + "/login", map[string]any{"role_id": roleID}}})
		return auth.New(auth.Settings{Address: address, AuthMethod: "own"}, options)
	}
	const lookup, list, powers, health = "auth/token/lookup-self", "sys/internal/ui/mounts", "sys/capabilities-self", "sys/health"
	all := []resolver.Kind{resolver.OK, resolver.OK, resolver.OK}
	alike := func(kind resolver.Kind) []resolver.Kind { return []resolver.Kind{kind, kind, kind} }
	for _, test := range []struct {
		name  string
		vault func(t *testing.T) *auth.Vault
		want  []resolver.Kind // of the fields app, db and web
	}{
		{"a slow login", func(t *testing.T) *auth.Vault { return login(slow(t, server, slowly(late, "auth/"+mount))) }, all},
		{"a slow login of a method that is handed in", func(t *testing.T) *auth.Vault { return handedIn(slow(t, server, slowly(late, "auth/"+mount))) }, all},
		{"a slow read", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(late, kv+"/data/db"))) }, all},
		{"slow reads", func(t *testing.T) *auth.Vault { return login(slow(t, server, slowly(late, kv))) }, all},
		{"everything is slow", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(late, ""))) }, all},
		{"the list of mounts hangs", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(forever, list))) }, all},
		{"the look at the token hangs", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(forever, lookup))) }, all},
		{"the question for the powers hangs", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(forever, powers))) }, all},
		{"health hangs", func(t *testing.T) *auth.Vault { return login(slow(t, server, slowly(forever, health))) }, all},
		{"all optional requests hang", func(t *testing.T) *auth.Vault {
			return given(slow(t, server, slowly(forever, lookup, list, powers, health)))
		}, all},
		{"the same, after a login", func(t *testing.T) *auth.Vault {
			return login(slow(t, server, slowly(forever, "auth/token", list, powers, health)))
		}, all},
		{"one read hangs", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(forever, kv+"/data/db"))) },
			[]resolver.Kind{resolver.OK, resolver.Unreachable, resolver.OK}},
		{"a login hangs, and Vault is well", func(*testing.T) *auth.Vault {
			return auth.New(auth.Settings{Address: server.Address, AuthMethod: "kubernetes"}, environment(map[string]string{
				"VAULT_KUBERNETES_MOUNT": k.Mount, "VAULT_KUBERNETES_ROLE": k.Role, "VAULT_KUBERNETES_JWT_FILE": inFile(t, k.Token(t, nil)), "VAULT_CLIENT_TIMEOUT": timeout.String()}))
		}, alike(resolver.Login)},
		{"a login hangs, and health with it", func(t *testing.T) *auth.Vault { return login(slow(t, server, slowly(forever, "auth", health))) }, alike(resolver.Unreachable)},
		{"everything hangs", func(t *testing.T) *auth.Vault { return given(slow(t, server, slowly(forever, ""))) }, alike(resolver.Unreachable)},
		{"nobody accepts", func(t *testing.T) *auth.Vault { return given(mute(t)) }, alike(resolver.Unreachable)},
		{"the first of two addresses is a black hole", func(t *testing.T) *auth.Vault { return given(twoAddresses(t, server)) }, all},
		{"refused", func(t *testing.T) *auth.Vault { return given("http://" + vaulttest.ClosedPort(t)) }, alike(resolver.Unreachable)},
		{"sealed", func(*testing.T) *auth.Vault { return given(sealed.Address) }, alike(resolver.Sealed)},
		{"no leader", func(t *testing.T) *auth.Vault {
			return given(wrongServer(t, always(500, `{"errors":["local node not active but active cluster node not found"]}`)))
		}, alike(resolver.NoActiveNode)},
		{"TLS", func(*testing.T) *auth.Vault { return given(withTLS.Address) }, alike(resolver.TLS)},
		{"pinned", func(*testing.T) *auth.Vault { return given(server.Address, "VAULT_ADDR", "https://vault.example") }, alike(resolver.Pinned)},
		{"too many", func(t *testing.T) *auth.Vault {
			return given(wrongServer(t, always(429, `{"errors":["request path \"x\": rate limit quota exceeded"]}`)))
		}, alike(resolver.RateLimited)},
		{"not a Vault", func(t *testing.T) *auth.Vault { return given(wrongServer(t, page(200))) }, alike(resolver.BadResponse)},
		{"204 to everything", func(t *testing.T) *auth.Vault {
			return given(wrongServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		}, alike(resolver.BadResponse)},
		{"a dead token", func(*testing.T) *auth.Vault { return given(server.Address, "VAULT_TOKEN", "hvs.CAESIJdeadtoken") }, alike(resolver.Token)},
	} {
		t.Run(test.name, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			paths := []string{"vault:" + kv + "/app#password", "vault:" + kv + "/db#password", "vault:" + kv + "/web#password"}
			vault := test.vault(t)
			began := time.Now()
			v := resolver.Check(t.Context(), vault, fieldsOf(paths...), resolver.CheckOptions{Patience: checks})
			took := time.Since(began)
			hosts := make([]resolver.Host, len(paths))
			for i, path := range paths {
				hosts[i] = host("h", "password", path)
			}
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 4 * timeout}) // a side request may take a quarter
			results := collect(run)
			t.Logf("check took %s\n%s%s", took, v, run.Report())
			for i, want := range test.want {
				assert.Equal(t, want, v.Fields[i].Kind, "check of %s", paths[i])
				assert.Equal(t, want, kindOf(results[i].Err()), "run of %s", paths[i])
			}
			isOfAll := test.want[0] == test.want[1]
			assert.Equal(t, isOfAll && test.want[0] != resolver.OK, v.Connection.Kind != resolver.OK, "%s", v.Connection)
			assert.Less(t, took, 2*timeout+3*time.Second)
		})
	}
}

func kindOf(err error) resolver.Kind {
	if failed, ok := errors.AsType[*resolver.FieldError](err); ok {
		return failed.Kind()
	}
	return resolver.OK
}

// logIn is a login method of one request.
type logIn struct {
	path string
	body map[string]any
}

func (l logIn) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, l.path, l.body)
}

// twoAddresses is the server under a name with two addresses. The first, 127.0.0.2,
// does not answer.
func twoAddresses(t *testing.T, server *vaulttest.Server) (address string) {
	t.Helper()
	u, err := url.Parse(server.Address)
	require.NoError(t, err)
	blackHoleAt(t, net.JoinHostPort("127.0.0.2", u.Port()))
	return "http://" + net.JoinHostPort(twoAddressesName, u.Port())
}

const (
	twoAddressesName   = "two-addresses.vaulttest"
	threeAddressesName = "three-addresses.vaulttest"
)

// addresses are those of the names that lookUp knows, in the order of its answers.
var addresses = map[string][][4]byte{
	twoAddressesName:   {{127, 0, 0, 2}, {127, 0, 0, 1}},
	threeAddressesName: {{127, 0, 0, 2}, {127, 0, 0, 3}, {127, 0, 0, 1}},
}

// lookUp answers for the names in addresses alone, so that no test asks the machine's name
// server.
func lookUp(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		for {
			var length [2]byte // as DNS over TCP has it
			if _, err := io.ReadFull(there, length[:]); err != nil {
				return
			}
			query := make([]byte, int(length[0])<<8|int(length[1]))
			if _, err := io.ReadFull(there, query); err != nil {
				return
			}
			answer, err := answerTo(query)
			if err != nil {
				return
			}
			if _, err := there.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...)); err != nil {
				return
			}
		}
	}()
	return here, nil
}

func answerTo(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	question := m.Questions[0]
	ips := addresses[strings.TrimSuffix(question.Name.String(), ".")]
	if ips == nil {
		m.RCode = dnsmessage.RCodeNameError
		return m.Pack()
	}
	if question.Type == dnsmessage.TypeA {
		for _, ip := range ips {
			header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip}})
		}
	}
	return m.Pack()
}
