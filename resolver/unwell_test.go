package resolver_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// scene is a Vault with two secrets, and a token that may read them.
type scene struct {
	*vaulttest.Server
	kv    string
	token string
}

func newScene(t *testing.T, server *vaulttest.Server) *scene {
	s := &scene{Server: server, kv: server.KV(t, 2)}
	for _, path := range []string{"app", "db"} {
		s.Put(t, s.kv, path, map[string]any{"password": "right"})
	}
	s.token = s.ReaderToken(t, s.kv+"/data/*")
	return s
}

// What a Vault with a problem costs: which hosts, with what error, and how many requests.
func TestUnwell(t *testing.T) {
	t.Parallel()
	shared := func(t *testing.T) *scene { return newScene(t, vaulttest.Shared(t)) }
	const deadToken = "the vault token is expired, revoked or used up"
	const look, list = "read auth/token/lookup-self", "read sys/internal/ui/mounts"
	for _, c := range []struct {
		name   string
		vault  func(t *testing.T) *scene
		kind   resolver.Kind
		causes int      // 1 if both paths share it
		text   string   // how the first cause begins; %s is the mount
		asked  []string // by the audit file; nil where requests do not get that far
		most   int      // requests in all, where asked is nil
	}{
		{
			name: "sealed",
			vault: func(t *testing.T) *scene {
				return &scene{Server: vaulttest.SharedSealed(t), kv: "kv", token: "hvs.sealed"}
			},
			kind: resolver.Sealed, causes: 1, most: 12,
			text: "vault is sealed or not initialized (Vault is sealed at http://127.0.0.1:",
		},
		{
			name: "not initialized",
			vault: func(t *testing.T) *scene {
				return &scene{Server: vaulttest.NewUninitialized(t), kv: "kv", token: "s.uninitialized"}
			},
			kind: resolver.Sealed, causes: 1, most: 12,
			text: "vault is sealed or not initialized (Vault is sealed at http://127.0.0.1:",
		},
		{
			name: "no audit device takes entries",
			vault: func(t *testing.T) *scene {
				s := newScene(t, vaulttest.New(t, vaulttest.Config{NoAudit: true}))
				breakAudit(t, s.Server)
				return s
			},
			kind: resolver.Token, causes: 1, most: 30, // the list of mounts, and Vault's health
			text: "vault answers this token with an internal error, although its health is good (internal error at http://127.0.0.1:",
		},
		{
			name: "a quota blocks for good",
			vault: func(t *testing.T) *scene {
				s := newScene(t, vaulttest.New(t, vaulttest.Config{}))
				limit(t, s.Server, map[string]any{"rate": 1, "interval": "1h", "block_interval": "1h"})
				for status := 0; status != http.StatusTooManyRequests; {
					status, _, _ = s.Do("GET", "auth/token/lookup-self", nil)
				}
				return s
			},
			kind: resolver.RateLimited, causes: 1, most: 12,
			text: `vault is rate limiting the agent (request path "`,
		},
		{
			name: "the token is bound to another network",
			vault: func(t *testing.T) *scene {
				s := shared(t)
				role := "auth/token/roles/" + vaulttest.Name()
				s.Must(t, "POST", role, map[string]any{"token_bound_cidrs": []string{"192.0.2.0/24"}, "orphan": true})
				answer := s.Must(t, "POST", strings.Replace(role, "roles", "create", 1), map[string]any{"policies": []string{"default"}})
				s.token = vaulttest.Text(answer, "auth", "client_token")
				return s
			},
			kind: resolver.Token, causes: 1, asked: []string{look},
			text: "vault refuses the token itself (permission denied at http://127.0.0.1:",
		},
		{
			name: "the token has expired",
			vault: func(t *testing.T) *scene {
				s := shared(t)
				s.token = s.NewToken(t, map[string]any{"policies": []string{"default"}, "ttl": "1s"})
				require.Eventually(t, func() bool {
					status, _, _ := s.DoAs(s.token, "GET", "auth/token/lookup-self", nil)
					return status == http.StatusForbidden
				}, time.Minute, 20*time.Millisecond)
				return s
			},
			kind: resolver.Token, causes: 1, asked: []string{look}, text: deadToken,
		},
		{
			name: "the token is revoked",
			vault: func(t *testing.T) *scene {
				s := shared(t)
				s.Must(t, "POST", "auth/token/revoke", map[string]any{"token": s.token})
				return s
			},
			kind: resolver.Token, causes: 1, asked: []string{look}, text: deadToken,
		},
		{
			name: "the token is used up",
			vault: func(t *testing.T) *scene {
				s := shared(t)
				s.token = s.NewToken(t, map[string]any{"policies": []string{"default"}, "num_uses": 1})
				return s
			},
			kind: resolver.Token, causes: 1, asked: []string{look}, text: "the given token had one use left, which its look-up used; replace it with one without a use limit",
		},
		{
			name: "the policy grants another path",
			vault: func(t *testing.T) *scene {
				s := shared(t)
				s.token = s.NewToken(t, map[string]any{"policies": []string{"default", s.Policy(t, fmt.Sprintf(`path "%s/data/other" { capabilities = ["read"] }`, s.kv))}})
				return s
			},
			kind: resolver.Denied, causes: 2, asked: []string{look, list, "read kv/data/app", "read kv/data/db"},
			text: "%[1]s/app: the agent's token may not read %[1]s/data/app (its policies: default, ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			s := c.vault(t)
			hosts := []resolver.Host{
				host("one", "user", "vault:"+s.kv+"/app#user", "password", "vault:"+s.kv+"/app#password"),
				host("two", "user", "root", "password", "vault:"+s.kv+"/db#password"),
				host("three", "user", "root", "password", "as it stands"),
			}
			id := vaulttest.Name()
			run := resolver.Resolve(t.Context(), connect(s.Server, s.token), hosts, resolver.Options{Patience: patienceFor(c.kind), RunID: id})
			results := collect(run)
			report := run.Report()

			assert.ErrorIs(t, results[0].Err(), c.kind)
			assert.ErrorIs(t, results[1].Err(), c.kind)
			assert.NoError(t, results[2].Err())
			require.Len(t, report.Causes, c.causes, "%s", report)
			text := c.text
			if strings.Contains(text, "%") {
				text = fmt.Sprintf(text, s.kv)
			}
			assert.True(t, strings.HasPrefix(report.Causes[0].Text, text), "%s", report)
			assert.NotContains(t, report.Causes[0].Text, "\n")
			if c.asked == nil {
				assert.LessOrEqual(t, report.Requests, c.most)
				return
			}
			var asked []string
			for _, r := range s.RequestsBy(t, "run/"+id) {
				asked = append(asked, r.Operation+" "+strings.Replace(r.Path, s.kv, "kv", 1))
			}
			assert.ElementsMatch(t, c.asked, asked)
		})
	}
}

// Vault's own quota costs no host, however many paths there are, and few requests
// are refused. It answers 429 without Retry-After. The quota is low, so that a busy machine
// exceeds it, too.
func TestQuotaCostsNoHost(t *testing.T) {
	t.Parallel()
	const paths = 200
	server := vaulttest.New(t, vaulttest.Config{NoAudit: true})
	kv := server.KV(t, 2)
	hosts := writtenFleet(t, server, kv, paths)
	token := server.ReaderToken(t, kv+"/data/*")
	limit(t, server, map[string]any{"rate": 30, "interval": "1s"})

	run := resolver.Resolve(t.Context(), connect(server, token), hosts, resolver.Options{})
	for range run.Results() {
	}
	report := run.Report()
	assert.Equal(t, paths, report.Ready, "%s", report)
	assert.NotZero(t, report.Retries, "the quota was not met")
	assert.Less(t, report.Requests, 3*paths)
}

// A quota on one mount costs the hosts of that mount alone. The others take longer, since the
// first refusals slow down all requests.
func TestQuotaOnOneMount(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{NoAudit: true})
	limited, free := server.KV(t, 2), server.KV(t, 2)
	refused := writtenFleet(t, server, limited, 20)
	hosts := append(refused, writtenFleet(t, server, free, 100)...)
	token := server.ReaderToken(t, limited+"/data/*", free+"/data/*")
	server.Must(t, "POST", "sys/quotas/rate-limit/one", map[string]any{"rate": 1, "interval": "1h", "path": limited + "/"})
	for _, workers := range []int{1, 16} {
		t.Run(strconv.Itoa(workers), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			var took time.Duration // until the last host of the other mount
			ready := 0
			run := resolver.Resolve(t.Context(), connect(server, token), hosts, resolver.Options{Workers: workers, Patience: 5 * time.Second})
			for i, result := range run.Results() {
				switch {
				case i >= len(refused):
					assert.NoError(t, result.Err())
					took = time.Since(began)
				case result.Err() == nil:
					ready++
				default:
					assert.ErrorIs(t, result.Err(), resolver.RateLimited)
				}
			}
			assert.LessOrEqual(t, ready, 1)
			assert.Less(t, took, time.Minute)
		})
	}
}

// A quota on the list of mounts costs no host, and the warning says to raise it.
func TestQuotaOnTheListOfMounts(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{NoAudit: true})
	kv := server.KV(t, 2)
	hosts := writtenFleet(t, server, kv, 1)
	settings := auth.Settings{Address: server.Address, Mounts: []string{kv}} // OpenBao does not show the type otherwise
	warned := func() string {
		vault := auth.New(settings, environment(map[string]string{"VAULT_TOKEN": server.ReaderToken(t, kv+"/data/*")}))
		run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 3 * brief})
		assert.NoError(t, collect(run)[0].Err())
		return strings.Join(texts(run.Report().Findings), "|")
	}
	limit(t, server, map[string]any{"rate": 1, "interval": "1h", "path": mountList})
	server.Do("GET", mountList, nil) // the one of this hour
	assert.Contains(t, warned(), "so mounts and KV versions are taken from the settings; let every proxy and rate limit pass the list, or ")
	limit(t, server, map[string]any{"rate": 1000, "path": mountList})
	assert.NotContains(t, warned(), mountList)
}

func limit(t *testing.T, server *vaulttest.Server, quota map[string]any) {
	t.Helper()
	server.Must(t, "POST", "sys/quotas/rate-limit/all", quota)
}

// breakAudit gives the server one audit device, which is full. Vault refuses requests that
// it cannot log.
func breakAudit(t *testing.T, server *vaulttest.Server) {
	t.Helper()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip("no " + full + " on this system")
	}
	device := map[string]any{"type": "file", "options": map[string]string{"file_path": full, "skip_test": "true"}}
	// Vault enables it, and can't log that it did.
	status, _, err := server.Do("PUT", "sys/audit/full", device)
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, status)
	status, _, err = server.Do("GET", "auth/token/lookup-self", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, status)
}

// Vault cannot process a JWT as its own token, and answers each request that has one with a
// bare internal error. A run of many paths ends as soon as one of few, and so does a check.
func TestTokenThatVaultCannotProcess(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"}))
	var hosts []resolver.Host
	var references []string
	for i := range 20 {
		reference := fmt.Sprintf("vault:%s/app%d#password", kv, i)
		hosts = append(hosts, host(fmt.Sprint("h", i), "password", reference))
		references = append(references, reference)
	}
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: 10 * time.Second})
	for _, result := range run.Results() {
		assert.ErrorIs(t, result.Err(), resolver.Token)
	}
	assert.LessOrEqual(t, run.Report().Waited, 7*time.Second)
	assert.Equal(t, resolver.Token, resolver.Check(t.Context(), vault, fieldsOf(references...), resolver.CheckOptions{}).Connection.Kind)
}
