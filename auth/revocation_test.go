package auth_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// approle is an AppRole login whose role is the test's own, so that its tokens
// can be counted.
func approle(t testing.TB, server *vaulttest.Server, role map[string]any) (*vaulttest.AppRole, *auth.Vault) {
	t.Helper()
	a := server.AppRole(t, role)
	return a, at(server, "approle", variables{"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil)})
}

// However a run ends, its token is revoked first.
func TestRevocationOnEveryWayOut(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	a, vault := approle(t, server, map[string]any{"token_policies": "default"})
	failed := errors.New("of the caller")
	for _, test := range []struct {
		name string
		use  func(cancel func()) error
		err  error
	}{
		{"done", func(func()) error { return nil }, nil},
		{"an error", func(func()) error { return failed }, failed},
		{"canceled", func(cancel func()) error { cancel(); return context.Canceled }, context.Canceled},
		{"panic", func(func()) error { panic("of the caller") }, nil},
		{"Goexit", func(func()) error { runtime.Goexit(); return nil }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := vaulttest.Name()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			alive := 0
			var err error
			var group sync.WaitGroup
			group.Go(func() {
				defer func() { recover() }()
				_, err = do(ctx, vault, auth.DoOptions{RunID: id}, func(context.Context, *api.Client) error {
					alive = tokensOf(t, server, a.Mount)
					return test.use(cancel)
				})
			})
			group.Wait()
			assert.ErrorIs(t, err, test.err)
			assert.Equal(t, 1, alive, "tokens during the run")
			assert.Zero(t, tokensOf(t, server, a.Mount), "tokens after the run")
			assert.Len(t, server.RequestsBy(t, "run/"+id), 3)
		})
	}
}

// Runs that are canceled at random moments leave no token behind, not even that of a
// login under way.
func TestCancelledRunsLeaveNoToken(t *testing.T) {
	t.Parallel()
	const runs = 150
	server := vaulttest.New(t, vaulttest.Config{})
	secret := newSecret(t, server)
	a, vault := approle(t, server, map[string]any{"token_policies": secret.policy})
	before := server.Accessors(t)
	logins, warned := 0, 0
	var mu sync.Mutex
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range runs {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(context.Background(), rand.N(6*time.Millisecond))
			defer cancel()
			r := readOnce(ctx, vault, secret.path, secret.path)
			if r.err != nil {
				assert.ErrorIs(t, r.err, context.DeadlineExceeded)
			}
			mu.Lock()
			defer mu.Unlock()
			logins += min(r.usage.Requests, 1)
			warned += len(r.warnings())
		})
	}
	group.Wait()
	// On a busy machine, a login can take longer than a run waits for it.
	assert.Less(t, warned, runs/20)
	assert.LessOrEqual(t, server.Accessors(t)-before, warned, "tokens left by %d runs", runs)
	assert.LessOrEqual(t, tokensOf(t, server, a.Mount), warned)
	assert.Greater(t, logins, runs/10, "the runs ended before they began")
	t.Logf("%d of %d runs sent a login", logins, runs)
}

// A run waits for a login whose answer comes after the cancellation.
func TestLateLoginIsRevoked(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/login") {
			cancel()
			time.Sleep(100 * time.Millisecond) // as long as a busy Vault may take
		}
		return false
	})
	r := readOnce(ctx, auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()), "secret/app")
	assert.ErrorIs(t, r.err, context.Canceled)
	assert.Equal(t, []string{"PUT auth/approle/login", "GET auth/token/lookup-self", "PUT auth/token/revoke-self"}, server.requests())
	assert.Equal(t, standInToken, server.all()[1].Header.Get("X-Vault-Token"))
	assert.Empty(t, r.warnings())
}

// A run waits two seconds for the answer to a login, and then warns.
func TestLoginThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	began := time.Now()
	r := readOnce(ctx, auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
	assert.ErrorIs(t, r.err, context.Canceled)
	assert.InDelta(t, 2, time.Since(began).Seconds(), 1)
	assert.Len(t, server.requests(), 1)
	if assert.Len(t, r.warnings(), 1) {
		assert.Contains(t, r.warnings()[0], "did not answer with a token")
		assert.Contains(t, r.warnings()[0], "(the login approle at auth/approle)")
	}
}

// A proxy may compress the answer to a login, or change it in another way, so that nobody can
// read the token in it. A page in its place shows no login.
func TestLoginWhoseAnswerCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header, value string
		warns         bool
	}{
		{"Content-Encoding", "br", true},
		{"Content-Type", "application/octet-stream", true},
		{"Content-Type", "text/html", false},
	} {
		t.Run(test.value, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set(test.header, test.value)
				io.WriteString(w, "unreadable")
				return true
			})
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()))
			assertKind(t, r.err, fault.BadResponse)
			assert.Equal(t, []string{"PUT auth/approle/login"}, server.requests())
			assert.Equal(t, test.warns, strings.Contains(strings.Join(r.warnings(), "|"), "a login was sent"), r.warnings())
		})
	}
}

// A login that waits for a connection when the run ends has made no token, so no warning says
// that one may be left.
func TestLoginThatWasNotSent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		cancel()
		io.Copy(io.Discard, conn) // the handshake is never answered
	}()
	r := readOnce(ctx, auth.New(auth.Settings{Address: "https://" + listener.Addr().String(), AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
	assert.ErrorIs(t, r.err, context.Canceled)
	for _, warning := range r.warnings() {
		assert.NotContains(t, warning, "a login was sent")
	}
}

// A run does not revoke tokens that are not its own.
func TestNeverRevoked(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)

	t.Run("a given token", func(t *testing.T) {
		t.Parallel()
		token := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "999h"})
		for _, v := range []variables{{"VAULT_TOKEN": token}, {"VAULT_TOKEN_FILE": inFile(t, token)}} {
			for range 2 {
				r := readOnce(t.Context(), at(server, "", v), secret.path)
				require.NoError(t, r.err)
				assert.Equal(t, []string{"auth/token/lookup-self", secret.path}, r.requests(t, server))
				assert.True(t, r.usage.Token.Given)
				assert.True(t, isAlive(t, server, r.accessor(t, server)))
			}
		}
	})
	t.Run("a batch token", func(t *testing.T) {
		t.Parallel()
		a, vault := approle(t, server, map[string]any{"token_policies": secret.policy, "token_type": "batch", "token_ttl": "10m"})
		r := readOnce(t.Context(), vault, secret.path)
		require.NoError(t, r.err)
		assert.Equal(t, []string{"auth/" + a.Mount + "/login", secret.path}, r.requests(t, server))
		assert.True(t, r.usage.Token.Batch)
		assert.Empty(t, r.warnings())
	})
	t.Run("a batch token, of a server that sends no type", func(t *testing.T) {
		t.Parallel()
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			isLogin := strings.HasSuffix(r.URL.Path, "/login")
			if isLogin {
				say(w, 200, `{"request_id":"1","auth":{"client_token":"`+standInToken+`","accessor":"","policies":["default"],"lease_duration":600,"renewable":false},"mount_type":""}`)
			}
			return isLogin
		})
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()), "secret/app")
		require.NoError(t, r.err)
		assert.Equal(t, []string{"PUT auth/approle/login", "GET secret/app"}, server.requests())
		assert.True(t, r.usage.Token.Batch)
		assert.Empty(t, r.warnings())
	})
	t.Run("a token out of a proxy's cache", func(t *testing.T) {
		t.Parallel()
		for _, cache := range []string{"HIT", "MISS"} {
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("X-Cache", cache)
				return false
			})
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()), "secret/app")
			require.NoError(t, r.err)
			want := []string{"PUT auth/approle/login", "GET secret/app"}
			if cache == "MISS" {
				want = append(want, "GET auth/token/lookup-self", "PUT auth/token/revoke-self")
			}
			assert.Equal(t, want, server.requests())
		}
	})
}

// A refused revocation is a warning that says how long the token lives. The run
// succeeds.
func TestRefusedRevocation(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	a, vault := approle(t, server, map[string]any{"token_policies": secret.policy, "token_no_default_policy": true, "token_ttl": "1h"})
	r := readOnce(t.Context(), vault, secret.path)
	require.NoError(t, r.err)
	assert.Equal(t, []int{200}, r.status)
	if assert.Len(t, r.warnings(), 1) {
		assert.Contains(t, r.warnings()[0], "was not revoked, because it may not look itself up, and lives until "+r.usage.Token.Expires.UTC().Format("2006-01-02 15:04Z"))
		assert.Contains(t, r.warnings()[0], "(vault answered: 1 error occurred: * permission denied)")
		assert.Contains(t, r.warnings()[0], "auth/token/revoke-self, give the role a short token_ttl (1m), or use a batch token")
	}
	assert.Equal(t, 1, tokensOf(t, server, a.Mount))

	server.Must(t, "POST", "auth/"+a.Mount+"/role/"+a.Role, map[string]any{"token_ttl": "1m"})
	r = readOnce(t.Context(), vault, secret.path)
	require.NoError(t, r.err)
	assert.Empty(t, r.warnings(), "after the advice")
	assert.Equal(t, 2, tokensOf(t, server, a.Mount))
}

// If Vault does not answer a revocation, the run ends two seconds later.
func TestUnansweredRevocation(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/revoke-self") {
			<-r.Context().Done()
		}
		return false
	})
	began := time.Now()
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
	require.NoError(t, r.err)
	assert.InDelta(t, 2, time.Since(began).Seconds(), 1)
	if assert.Len(t, r.warnings(), 1) {
		assert.Regexp(t, `\((vault unreachable \(no answer within 1\.5s at |vault did not answer within 2s\))`, r.warnings()[0])
	}
}

// The warning about a failed revocation has Vault's own words.
func TestFailedRevocation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status       int
		body, reason string
	}{
		{429, `{"errors":["rate limit quota exceeded"]}`, "vault is rate limiting the agent (rate limit quota exceeded at "},
		{503, `{"errors":["Vault is sealed"]}`, "vault is sealed or not initialized (Vault is sealed at "},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				refused := strings.HasSuffix(r.URL.Path, "/revoke-self")
				if refused {
					say(w, test.status, test.body)
				}
				return refused
			})
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
			require.NoError(t, r.err)
			if assert.Len(t, r.warnings(), 1) {
				assert.Contains(t, r.warnings()[0], "("+test.reason)
				assert.NotContains(t, r.usage.Findings[0].Text, test.reason)
			}
		})
	}
}

// A revocation is repeated if Vault is down for a moment.
func TestRevocationIsRepeated(t *testing.T) {
	t.Parallel()
	failed := false
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/revoke-self") || failed {
			return false
		}
		failed = true
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	})
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
	require.NoError(t, r.err)
	assert.Empty(t, r.warnings())
	assert.Equal(t, []string{"PUT auth/approle/login", "GET auth/token/lookup-self", "PUT auth/token/revoke-self", "PUT auth/token/revoke-self"}, server.requests())
}

// A proxy that limits the rate refuses the look-up and the revocation at first, since they
// follow other requests at once.
func TestRevocationBehindAProxyThatLimitsTheRate(t *testing.T) {
	t.Parallel()
	refusals := map[string]int{"/lookup-self": 3, "/revoke-self": 1}
	var mu sync.Mutex
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		request := strings.TrimPrefix(r.URL.Path, "/v1/auth/token")
		if refusals[request]--; refusals[request] < 0 {
			return false
		}
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusServiceUnavailable) // as nginx by default
		return true
	})
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "the-role-id"}.options()))
	require.NoError(t, r.err)
	assert.Empty(t, r.warnings())
	assert.Equal(t, 4, count(server.requests(), "/lookup-self"))
	assert.Equal(t, 2, count(server.requests(), "/revoke-self"))
}
