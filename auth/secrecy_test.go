package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
)

// dump prints a value in every way that a program could.
func dump(v any) string {
	var out strings.Builder
	for _, write := range canary.Sinks() {
		out.WriteString(write(v) + "\n" + write([]any{v}) + "\n" + write(struct{ v any }{v}) + "\n")
	}
	return out.String()
}

func leaks(text string) bool { return canary.Leak(text) != "" }

// Without this, the tests below would prove nothing.
func TestDumpSeesWhatIsNotMasked(t *testing.T) {
	t.Parallel()
	type inner struct{ token string }
	for name, v := range map[string]any{
		"string":    canary.Secret,
		"far away":  &struct{ in *inner }{&inner{canary.Secret}},
		"header":    &struct{ h http.Header }{http.Header{"X": {canary.Secret}}},
		"bytes":     &struct{ b []byte }{[]byte("aaaaaaaaaaaa" + canary.Secret)},
		"map":       map[string]any{"a": &inner{canary.Secret}},
		"in a JSON": struct{ Token string }{canary.Secret},
	} {
		assert.True(t, leaks(dump(v)), name)
	}
}

// Nothing that a caller can get shows a credential: neither the Vault, nor its client
// during and after use, nor the errors.
func TestNothingShowsACredential(t *testing.T) {
	t.Parallel()
	for _, test := range canaryCases(t) {
		for _, answers := range []string{"well", "refuses", "echoes", "echoes the login", "nothing"} {
			t.Run(test.name+" "+answers, func(t *testing.T) {
				t.Parallel()
				if test.method == "cert" && answers == "echoes the login" {
					t.Skip("a certificate's login sends nothing to echo")
				}
				server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
					path := r.URL.Path
					switch {
					case (answers == "well" || answers == "echoes") && (strings.HasSuffix(path, "/login") || strings.Contains(path, "/login/")):
						say(w, 200, `{"request_id":"1","auth":{"client_token":"`+canary.Secret+`","accessor":"a","token_type":"service","lease_duration":3600,"policies":["`+canary.Secret+`"]}}`)
					case answers == "refuses":
						say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
					case answers == "echoes" && strings.HasSuffix(path, "-self") && !strings.HasSuffix(path, "lookup-self"):
						say(w, 400, `{"errors":["no `+canary.Secret+`"]}`)
					case answers == "echoes the login" && (strings.Contains(path, "/login") || strings.HasSuffix(path, "/lookup-self")):
						status := http.StatusBadRequest
						if test.name == "JWT" {
							status = http.StatusInternalServerError
						}
						say(w, status, `{"errors":["no `+canary.Secret+`"]}`)
					case answers == "nothing":
						w.Write([]byte("<html>" + canary.Secret))
					default:
						return false
					}
					return true
				})
				v := test.v.and(nil)
				settings := auth.Settings{Address: server.address, AuthMethod: test.method}
				if v["VAULT_PROXY_ADDR"] != "" {
					v["VAULT_PROXY_ADDR"] = strings.Replace(server.address, "//", "//user:"+canary.Secret+"@", 1)
					settings.Address = "http://vault.invalid"
				}
				vault := auth.New(settings, v.options())
				if test.method == "custom" {
					vault = withMethod(settings.Address, userpass{"userpass", "agent", canary.Secret}, v)
				}
				shown := map[string]string{}
				usage, err := do(t.Context(), vault, auth.DoOptions{Patience: 6 * time.Second}, func(ctx context.Context, client *api.Client) error {
					answer, err := get(ctx, client, "secret/app")
					if err != nil {
						return err
					}
					shown["answer"] = dump(answer)
					shown["client"] = dump(client)
					shown["context"] = dump(ctx)
					shown["token"] = dump(auth.TokenOf(ctx))
					return nil
				})
				shown["vault"] = dump(vault)
				shown["effective"] = dump(vault.Effective()) + vault.Effective().String()
				shown["usage"] = dump(usage)
				if err != nil {
					shown["error"] = dump(err) + err.Error()
				}
				for what, text := range shown {
					assert.False(t, leaks(text), "the %s shows it", what)
				}
				if key := test.v["VAULT_CLIENT_KEY"]; key != "" {
					assert.NotContains(t, shown["client"], "PrivateKey")
				}
			})
		}
	}
}

// People put a password into the address, or paste a token into a box.
func TestSettingsShowNoUser(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"https://user:" + canary.Secret + "@vault.example", "https://" + canary.Secret + "@vault.example", "user:" + canary.Secret + "@vault.example",
		"https://user:" + canary.Secret + "/x@vault.example", "https://" + canary.Secret + "@@vault.example", "//" + canary.Secret + "@vault.example/%zz",
	} {
		text, err := json.Marshal(map[string]string{"address": address})
		require.NoError(t, err)
		decoded := decode(t, string(text))
		given := auth.Settings{Address: address}
		for name, shown := range map[string]string{
			"the decoded settings":   dump(decoded),
			"their faults":           dump(decoded.Faults()),
			"given settings":         fmt.Sprintf("%v %+v %#v %s %q %d %x", given, given, given, given, given, given, given),
			"a Vault of them":        dump(auth.New(given, variables{}.options())),
			"those of a Vault":       dump(auth.New(given, variables{}.options()).Settings()),
			"the effective settings": dump(auth.New(given, variables{"VAULT_ADDR": address}.options()).Effective()),
			"the error":              dump(auth.New(given, variables{"VAULT_TOKEN": "t"}.options()).Validate()),
		} {
			assert.False(t, leaks(shown), "%s: %s", address, name)
		}
		again, err := json.Marshal(given)
		require.NoError(t, err)
		assert.False(t, leaks(string(again)))
		assert.NotEmpty(t, decoded.Faults())
	}
	for _, text := range []string{
		`{"address":"https://vault.example?token=` + canary.Secret + `"}`, `{"address":"` + canary.Secret + `"}`, `{"namespace":"/` + canary.Secret + `"}`,
		`{"auth_method":"` + canary.Secret + `"}`, `{"kv_version":"` + canary.Secret + `"}`, `{"mounts":["/` + canary.Secret + `"]}`,
	} {
		settings := decode(t, text)
		vault := auth.New(settings, variables{"VAULT_TOKEN": "t"}.options())
		assert.False(t, leaks(dump(vault.Effective())), text)
		assert.False(t, leaks(fmt.Sprintf("%v %+v %#v %s %q %d %x", settings, settings, settings, settings, settings, settings, settings)), text)
		assert.Contains(t, settings.String(), " not valid")
	}
}

// The server echoes the credential of the login in all later answers.
func TestLaterAnswersShowNoCredential(t *testing.T) {
	t.Parallel()
	const hidden = "\u200b" // dropped from what is shown
	echo := canary.Secret[:4] + hidden + canary.Secret[4:]
	for _, c := range canaryCases(t) {
		if c.method != "approle" && c.method != "kubernetes" && c.method != "jwt" && c.method != "custom" {
			continue
		}
		for name, answer := range map[string]http.HandlerFunc{
			"refuses": func(w http.ResponseWriter, _ *http.Request) { say(w, 400, `{"errors":["no `+echo+`"]}`) },
			"fails":   func(w http.ResponseWriter, _ *http.Request) { say(w, 500, `{"errors":["no `+canary.Secret+`"]}`) },
			"redirects": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://"+canary.Secret+".example/")
				w.WriteHeader(http.StatusFound)
			},
			"a page": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/"+canary.Secret) },
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.Path, "/login") {
						say(w, 200, `{"request_id":"1","auth":{"client_token":"hvs.t","accessor":"a","token_type":"service","lease_duration":3600,"policies":["`+canary.Secret+`"]}}`)
						return true
					}
					answer(w, r)
					return true
				})
				vault := auth.New(auth.Settings{Address: server.address, AuthMethod: c.method}, c.v.options())
				if c.method == "custom" {
					vault = withMethod(server.address, userpass{"userpass", "agent", canary.Secret}, c.v)
				}
				shown := ""
				usage, err := do(t.Context(), vault, auth.DoOptions{Patience: brief}, func(ctx context.Context, client *api.Client) error {
					answer, err := get(ctx, client, "secret/app")
					if err == nil {
						shown = dump(answer)
					}
					return err
				})
				assert.False(t, leaks(shown), "the answer")
				assert.False(t, leaks(dump(usage)), "the summary")
				assert.False(t, err != nil && leaks(dump(err)+err.Error()), "the error")
			})
		}
	}
}

// A malformed setting may be a pasted token.
func TestVaultPrintsNoSettings(t *testing.T) {
	t.Parallel()
	for _, settings := range []auth.Settings{{Address: "https://h?" + canary.Secret}, {Address: "https://h", AuthMethod: canary.Secret}, {Address: "https://h", Namespace: "/" + canary.Secret}} {
		assert.False(t, leaks(dump(auth.New(settings, variables{}.options()))))
	}
}

// Options show no credential of a method that is handed in.
func TestOptionsPrintNothingOfAMethod(t *testing.T) {
	t.Parallel()
	options := variables{}.options()
	options.Methods = handIn(map[string]api.AuthMethod{"custom": userpass{"userpass", "agent", canary.Secret}, "pointer": &userpass{"userpass", "agent", canary.Secret}})
	for sink, write := range canary.Sinks() {
		for name, v := range map[string]any{"itself": options, "a pointer": &options, "in a list": []any{options}, "in a field": struct{ Options auth.Options }{options}} {
			assert.Empty(t, canary.Leak(write(v)), "%s to %s", name, sink)
		}
	}
	vault := auth.New(auth.Settings{Address: "https://vault.example", AuthMethod: "custom"}, options)
	assert.False(t, leaks(dump(vault)))
	assert.False(t, leaks(dump(vault.Effective())))
}

// A caller's own httptrace is told nothing, of a login, of requests with a token
// and of the revocation: it would see the token, and the connection.
func TestCallersTraceIsToldNothing(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	var told atomic.Int32
	trace := &httptrace.ClientTrace{
		GetConn:              func(string) { told.Add(1) },
		GotConn:              func(httptrace.GotConnInfo) { told.Add(1) },
		PutIdleConn:          func(error) { told.Add(1) },
		GotFirstResponseByte: func() { told.Add(1) },
		ConnectStart:         func(string, string) { told.Add(1) },
		WroteHeaderField:     func(string, []string) { told.Add(1) },
		WroteHeaders:         func() { told.Add(1) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { told.Add(1) },
	}
	login := userpass{"userpass", "agent", password}
	method := methodFunc(func(ctx context.Context, c *api.Client) (*api.Secret, error) {
		return login.Login(httptrace.WithClientTrace(ctx, trace), c)
	})
	for name, vault := range map[string]*auth.Vault{"approle": byAppRole(server), "a method": withMethod(server.address, method, nil)} {
		_, err := vault.Do(httptrace.WithClientTrace(t.Context(), trace), auth.DoOptions{Check: true}, func(ctx context.Context, client *api.Client) error {
			_, err := client.Logical().ReadWithContext(ctx, "secret/app")
			require.NoError(t, err)
			_, err = client.Logical().ReadWithContext(httptrace.WithClientTrace(context.Background(), trace), "secret/app")
			return err
		})
		require.NoError(t, err, name)
	}
	assert.Equal(t, 2, count(server.requests(), "/revoke-self"))
	assert.Zero(t, told.Load())
}

// The context of a request about a token itself shows no token. A resolver of the agent's own
// gets it, to look up Vault's name.
func TestContextAboutATokenShowsNothing(t *testing.T) {
	t.Parallel()
	client, err := api.NewClient(api.DefaultConfig())
	require.NoError(t, err)
	assert.False(t, leaks(dump(auth.ContextAbout(t.Context(), client, canary.Secret))))
}

// A raw answer shows nothing else that its connection has received, such as the answer to
// the login.
func TestRawAnswerShowsNothingElse(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		isLogin := strings.HasSuffix(r.URL.Path, "/login")
		if isLogin {
			say(w, 200, `{"request_id":"1","auth":{"accessor":"a","token_type":"service","lease_duration":3600,"policies":["`+strings.Repeat("x", 500)+`"],"client_token":"`+canary.Secret+`"}}`)
		}
		return isLogin
	})
	_, err := byAppRole(server).Do(t.Context(), auth.DoOptions{Connections: 1}, func(ctx context.Context, client *api.Client) error {
		answer, err := client.Logical().ReadRawWithContext(ctx, "secret/app")
		if err != nil {
			return err
		}
		assert.False(t, leaks(dump(answer)))
		return answer.Body.Close()
	})
	require.NoError(t, err)
}

// The error of vault/api names the namespace that is in the header of an answer.
func TestNamespaceOfAnErrorShowsNoToken(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{"team/": "Namespace: team/\n", canary.Secret + "/": "Namespace: [masked]/\n"} {
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			isRead := strings.HasSuffix(r.URL.Path, "/secret/app")
			if isRead {
				w.Header().Set("X-Vault-Namespace", sent)
				say(w, 403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`)
			}
			return isRead
		})
		vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": canary.Secret}.options())
		_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
			_, err := client.Logical().ReadWithContext(ctx, "secret/app")
			return err
		})
		require.Error(t, err)
		assert.False(t, leaks(dump(err)+err.Error()))
		assert.True(t, strings.Contains(err.Error(), want))
	}
}

// The client shows no token after Do, nor does what was made of it.
func TestClientShowsNothingAfterDo(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/login") {
			return false
		}
		say(w, 200, `{"request_id":"1","auth":{"client_token":"`+canary.Secret+`","accessor":"a","token_type":"service","lease_duration":3600}}`)
		return true
	})
	var clients []*api.Client
	var of context.Context
	_, err := byAppRole(server).Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		of = ctx
		clone, err := client.CloneWithHeaders()
		require.NoError(t, err)
		clients = append(clients, client, clone, client.WithNamespace("team"))
		for _, c := range clients {
			_, err := c.Logical().ReadWithContext(ctx, "secret/app")
			require.NoError(t, err)
			assert.False(t, leaks(dump(c)))
		}
		return nil
	})
	require.NoError(t, err)
	for _, c := range clients {
		assert.False(t, leaks(dump(c)))
		assert.False(t, leaks(dump(c.CloneConfig())))
		assert.False(t, leaks(dump(c.Headers())))
	}
	assert.False(t, leaks(dump(of)))
	assert.False(t, leaks(dump(auth.TokenOf(of))))
}
