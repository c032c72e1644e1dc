package resolver_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// Vault or a proxy can block every request except reads, in any way. The run goes on, and
// a check says what is lost.
func TestOptionalRequestsAreBlocked(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	token := server.NewToken(t, map[string]any{"policies": []string{"default", server.Policy(t, fmt.Sprintf(`path "%s/data/app" { capabilities = ["read"] }`, kv))}, "ttl": "999h"})
	const blocks = "; if a proxy in front of Vault blocks it, let it pass"
	for _, request := range []struct{ path, finding, says, limited string }{
		{"auth/token/lookup-self", auth.TokenExpiryUnknown, "Vault did not answer auth/token/lookup-self" + blocks, "a rate limit refused auth/token/lookup-self; raise it"},
		{"sys/internal/ui/mounts", resolver.MountsUnknown, "; let every proxy and rate limit pass the list, or name nested mounts in the settings (the server is not Vault", "(vault is rate limiting the agent"},
		{"sys/capabilities-self", resolver.CapabilitiesUnknown, "Vault did not answer sys/capabilities-self" + blocks, "a rate limit refused sys/capabilities-self; raise it"},
		{"sys/health", resolver.HealthUnknown, "let the proxy in front of Vault pass it", ""},
	} {
		for _, answer := range []struct {
			name, contentType, body string
			status                  int
		}{
			{"403 page", "text/html", "<html>no", 403},
			{"503 page", "text/html", "<html>no", 503},
			{"500", "application/json", `{"errors":["internal error"]}`, 500},
			{"a quota", "application/json", `{"errors":["request path \"x\": rate limit quota exceeded"]}`, 429},
		} {
			t.Run(request.path+" "+answer.name, func(t *testing.T) {
				t.Parallel()
				address := behind(t, server, func(w http.ResponseWriter, path string) bool {
					if path != request.path {
						return false
					}
					w.Header().Set("Content-Type", answer.contentType)
					w.WriteHeader(answer.status)
					io.WriteString(w, answer.body)
					return true
				})
				const patience = 2 * brief
				// Without Vault's list, OpenBao's secrets are given of named mounts alone.
				vault := auth.New(auth.Settings{Address: address, Mounts: []string{kv}}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_ADDR": address}))
				began := time.Now()
				run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{Patience: patience})
				results := collect(run)
				assert.NoError(t, results[0].Err())
				says := request.says
				switch answer.status {
				case 429:
					says = request.limited
				case 500:
					says = strings.Replace(says, "the server is not Vault", "vault answers 500", 1)
				}
				switch warned := strings.Join(texts(run.Report().Findings), "|"); request.finding {
				case auth.TokenExpiryUnknown, resolver.MountsUnknown:
					assert.Contains(t, warned, says)
				default: // a check's alone
					assert.Empty(t, warned)
				}

				v := resolver.Check(t.Context(), vault, fieldsOf("vault:"+kv+"/app#password"), resolver.CheckOptions{Patience: patience})
				assert.Equal(t, resolver.OK, v.Connection.Kind, "%s", v)
				assert.True(t, v.Connection.LoggedIn)
				assert.Equal(t, resolver.OK, v.Fields[0].Kind, "%s", v)
				assert.Equal(t, []string{request.finding}, codes(v.Connection.Findings))
				assert.Contains(t, v.String(), says)
				assert.Less(t, time.Since(began), 2*patience, "patience was waited for")
			})
		}
	}
}

// If nothing answers as Vault does, all hosts have one cause, after few requests.
func TestNothingIsAnswered(t *testing.T) {
	t.Parallel()
	const size = 1000
	hosts := make([]resolver.Host, size)
	fields := make([]string, size)
	for i := range hosts {
		fields[i] = fmt.Sprintf("vault:kv/%d#password", i)
		hosts[i] = host(fmt.Sprint(i), "password", fields[i])
	}
	for _, test := range []struct {
		name     string
		handler  http.HandlerFunc
		kind     resolver.Kind
		requests int
	}{
		{"a page", page(200), resolver.BadResponse, 2 + workers},
		{"a refusal", page(403), resolver.BadResponse, 2 + workers},
		{"a page of a balancer", page(503), resolver.BadResponse, 20 + workers},
		{"a Vault that cannot", always(500, `{"errors":["internal error"]}`), resolver.ServerError, 20 + workers},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := wrongServer(t, test.handler)
			run := resolver.Resolve(t.Context(), vaultAt(address, "t"), hosts, resolver.Options{Patience: brief})
			for _, result := range collect(run) {
				assert.ErrorIs(t, result.Err(), test.kind)
			}
			report := run.Report()
			assert.Len(t, report.Causes, 1, "%s", report)
			assert.LessOrEqual(t, report.Requests, test.requests)

			for _, some := range [][]string{fields, nil} {
				v := resolver.Check(t.Context(), vaultAt(address, "t"), fieldsOf(some...), resolver.CheckOptions{Patience: brief})
				assert.Equal(t, test.kind, v.Connection.Kind)
				assert.Equal(t, test.kind == resolver.ServerError, v.Connection.Reachable)
				assert.False(t, v.Connection.LoggedIn)
				for _, field := range v.Fields {
					assert.Equal(t, test.kind, field.Kind)
				}
			}
		})
	}
}

func page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", status) }
}
