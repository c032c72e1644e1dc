package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
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

// readTwice reads with many workers, lets the token die, and reads again.
func readTwice(t *testing.T, vault *auth.Vault, path string, die func()) (r *run, statuses []int, errs []error) {
	t.Helper()
	const workers = 16
	r = &run{id: vaulttest.Name()}
	var mu sync.Mutex
	r.usage, r.err = do(t.Context(), vault, auth.DoOptions{RunID: r.id}, func(ctx context.Context, client *api.Client) error {
		for round := range 2 {
			var group sync.WaitGroup
			for range workers {
				group.Go(func() {
					answer, err := get(ctx, client, path)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						errs = append(errs, err)
					} else {
						statuses = append(statuses, answer.Status)
					}
				})
			}
			group.Wait()
			if round == 0 {
				die()
			}
		}
		return nil
	})
	return r, statuses, errs
}

func count(requests []string, suffix string) int {
	n := 0
	for _, request := range requests {
		if strings.HasSuffix(request, suffix) {
			n++
		}
	}
	return n
}

// When the token dies midway, all workers get one new one.
func TestTokenDiesMidway(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	a, vault := approle(t, server, map[string]any{"token_policies": secret.policy})
	r, statuses, errs := readTwice(t, vault, secret.path, func() {
		server.Must(t, "POST", "sys/leases/revoke-prefix/auth/"+a.Mount+"/login", map[string]any{"sync": true})
	})
	require.NoError(t, r.err)
	assert.Empty(t, errs)
	assert.Len(t, statuses, 32)
	assert.NotContains(t, statuses, 403)
	requests := r.requests(t, server)
	assert.Equal(t, 2, count(requests, "/login"))
	assert.Equal(t, 1, count(requests, "/revoke-self"))
	assert.LessOrEqual(t, count(requests, "/lookup-self"), 2, "before the revocation, on OpenBao also of the first token")
	assert.Zero(t, tokensOf(t, server, a.Mount))
}

// A token that dies for the second time ends the run.
func TestTokenDiesAgain(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	a, vault := approle(t, server, map[string]any{"token_policies": secret.policy, "token_num_uses": 5})
	r, statuses, errs := readTwice(t, vault, secret.path, func() {})
	require.NoError(t, r.err)
	assert.Len(t, statuses, 10, "two tokens of five uses")
	for _, err := range errs {
		assertKind(t, err, fault.Token, "expired, revoked or used up", "token_num_uses=0")
	}
	assert.Equal(t, 2, count(r.requests(t, server), "/login"))
	assert.Zero(t, tokensOf(t, server, a.Mount))
	assert.Empty(t, r.warnings())
}

// A given token that dies midway cannot be replaced. Every worker gets the error, and no
// more requests are sent.
func TestGivenTokenDiesMidway(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "400h"})
	r, statuses, errs := readTwice(t, at(server, "", variables{"VAULT_TOKEN": token}), secret.path, func() {
		server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": token})
	})
	require.NoError(t, r.err)
	assert.Len(t, statuses, 16)
	assert.Len(t, errs, 16)
	for _, err := range errs {
		assertKind(t, err, fault.Token, "set VAULT_TOKEN to a new one")
	}
	assert.Equal(t, 1, count(r.requests(t, server), "/lookup-self"))
	assert.True(t, r.usage.Token.Known, "what is known of the token stays")
	assert.True(t, r.usage.Token.Proven)
}

// Each new token in the file serves a run that goes on, as often as there is one.
func TestGivenTokenFileIsRotatedMidway(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	create := func() string {
		return server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "400h"})
	}
	token := create()
	file := inFile(t, token)
	revoke := func() { server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": token}) }
	_, err := do(t.Context(), at(server, "", variables{"VAULT_TOKEN_FILE": file}), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		for round := range 4 {
			answer, err := get(ctx, client, secret.path)
			require.NoError(t, err, round)
			assert.Equal(t, http.StatusOK, answer.Status, round)
			revoke()
			token = create()
			write(t, file, token)
		}
		_, err := get(ctx, client, secret.path)
		require.NoError(t, err)
		revoke()
		_, err = get(ctx, client, secret.path)
		return err
	})
	assertKind(t, err, fault.Token, "write a new one to "+file)
}

// A denial by policy is an answer. It costs no login and no look-up of the token,
// however many workers there are.
func TestDenialIsNoReasonToLogIn(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	_, vault := approle(t, server, map[string]any{"token_policies": "default"})
	r, statuses, errs := readTwice(t, vault, "secret/data/forbidden", func() {})
	require.NoError(t, r.err)
	assert.Empty(t, errs)
	assert.Len(t, statuses, 32)
	for _, status := range statuses {
		assert.Equal(t, 403, status)
	}
	assert.Len(t, r.requests(t, server), 35)
}

// A token that served, and was then denied something, still counts as one that served.
func TestTokenDiesAfterADenial(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	a, vault := approle(t, server, map[string]any{"token_policies": secret.policy})
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		for _, read := range []struct {
			path   string
			status int
		}{{secret.path, 200}, {"secret/data/forbidden", 403}} {
			answer, err := get(ctx, client, read.path)
			require.NoError(t, err)
			assert.Equal(t, read.status, answer.Status)
		}
		server.Must(t, "POST", "sys/leases/revoke-prefix/auth/"+a.Mount+"/login", map[string]any{"sync": true})
		answer, err := get(ctx, client, secret.path)
		require.NoError(t, err)
		assert.Equal(t, 200, answer.Status)
		return nil
	})
	require.NoError(t, err)
}

// A token that may not be used from this address is not replaced: a new one could not
// be used either.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	a, vault := approle(t, server, map[string]any{"token_policies": "default", "token_bound_cidrs": "192.0.2.0/24", "token_ttl": "1h"})
	r, _, errs := readTwice(t, vault, "secret/data/any", func() {})
	require.NoError(t, r.err)
	for _, err := range errs {
		assertKind(t, err, fault.Token, "vault refuses the token itself", "token_bound_cidrs")
		assert.NotContains(t, err.Error(), "expired")
	}
	assert.Len(t, errs, 32)
	assert.Equal(t, 1, count(r.requests(t, server), "/login"))
	assert.Len(t, r.warnings(), 1, "the token cannot be revoked from here either")
	assert.Equal(t, 1, tokensOf(t, server, a.Mount))
}

// oldServer answers as OpenBao and Vault before 1.16 do: without mount_type, and to a
// dead token with a bare denial. Vault 1.16 sends a mount_type and a bare denial.
type oldServer struct {
	mountType string // the member, with a comma before it; empty before 1.16

	mu    sync.Mutex
	n     int
	alive map[string]bool
}

const vault116 = `,"mount_type":""`

const (
	bare     = `{"errors":["permission denied"]}`
	byPolicy = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
)

func (o *oldServer) answer(w http.ResponseWriter, r *http.Request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	alive := o.alive[r.Header.Get("X-Vault-Token")]
	switch {
	case strings.HasSuffix(path, "/login"):
		o.n++
		token := fmt.Sprintf("s.%d", o.n)
		o.alive[token] = true
		say(w, 200, `{"request_id":"1","auth":{"client_token":"`+token+`","accessor":"a","token_type":"service","lease_duration":3600}`+o.mountType+`}`)
	case !alive:
		say(w, 403, bare)
	case path == "secret/forbidden":
		say(w, 403, byPolicy)
	case path == "auth/token/lookup-self":
		say(w, 200, `{"request_id":"1","data":{"accessor":"a","ttl":0,"type":"service"}`+o.mountType+`}`)
	case path == "auth/token/revoke-self":
		delete(o.alive, r.Header.Get("X-Vault-Token"))
		w.WriteHeader(http.StatusNoContent)
	default:
		say(w, 200, `{"request_id":"1","data":{"password":"x"}`+o.mountType+`}`)
	}
	return true
}

func (o *oldServer) kill() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.alive)
}

func TestOldServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		old      *oldServer
		path     string
		status   int
		requests map[string]int // of the whole run
	}{
		{"a read tells of a dead token, 1.16", &oldServer{mountType: vault116}, "secret/app", 200, map[string]int{"/login": 2, "/lookup-self": 2, "/revoke-self": 1}},
		{"a read tells of a dead token", &oldServer{}, "secret/app", 200, map[string]int{"/login": 2, "/lookup-self": 2, "/revoke-self": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			old := test.old
			old.alive = make(map[string]bool)
			server := newStandIn(t, old.answer)
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
			r, statuses, errs := readTwice(t, vault, test.path, old.kill)
			require.NoError(t, r.err)
			assert.Empty(t, errs)
			assert.Len(t, statuses, 32)
			for _, status := range statuses {
				assert.Equal(t, test.status, status)
			}
			for suffix, n := range test.requests {
				assert.Equal(t, n, count(server.requests(), suffix), suffix)
			}
			assert.Empty(t, old.alive)
		})
	}
	t.Run("a policy costs no look", func(t *testing.T) {
		t.Parallel()
		for _, mountType := range []string{"", vault116} {
			old := &oldServer{mountType: mountType, alive: make(map[string]bool)}
			server := newStandIn(t, old.answer)
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
			r, statuses, errs := readTwice(t, vault, "secret/forbidden", func() {})
			require.NoError(t, r.err)
			assert.Empty(t, errs)
			assert.Len(t, statuses, 32)
			assert.Equal(t, 1, count(server.requests(), "/login"))
			assert.Equal(t, 1, count(server.requests(), "/lookup-self"), "before the revocation")
		}
	})
	t.Run("a token that may not be used from here", func(t *testing.T) {
		t.Parallel()
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/login") {
				say(w, 200, `{"request_id":"1","auth":{"client_token":"s.1","accessor":"a","token_type":"service","lease_duration":3600}}`)
			} else {
				say(w, 403, bare)
			}
			return true
		})
		r, _, errs := readTwice(t, auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()), "secret/app", func() {})
		require.NoError(t, r.err)
		assert.Len(t, errs, 32)
		for _, err := range errs {
			assertKind(t, err, fault.Token, "vault refuses the token itself", "token_bound_cidrs")
		}
		assert.Equal(t, 1, count(server.requests(), "/login"))
	})
	t.Run("a given token", func(t *testing.T) {
		t.Parallel()
		for _, mountType := range []string{"", vault116} {
			old := &oldServer{mountType: mountType, alive: map[string]bool{"s.given": true}}
			server := newStandIn(t, old.answer)
			r, statuses, errs := readTwice(t, auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "s.given"}.options()), "secret/app", old.kill)
			require.NoError(t, r.err)
			assert.Len(t, statuses, 16)
			assert.Len(t, errs, 16)
			for _, err := range errs {
				assertKind(t, err, fault.Token, "not expired, revoked or used up")
			}
			assert.Equal(t, 1, count(server.requests(), "/lookup-self"))
		}
	})
	t.Run("a bare denial of a new token means the place", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		refusals := []string{bare, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`}
		died := false
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if !died || len(refusals) == 0 || !strings.HasSuffix(r.URL.Path, "/app") {
				return false
			}
			say(w, 403, refusals[len(refusals)-1])
			refusals = refusals[:len(refusals)-1]
			return true
		})
		vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
		_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
			_, err := get(ctx, client, "secret/app")
			require.NoError(t, err)
			mu.Lock()
			died = true
			mu.Unlock()
			_, err = get(ctx, client, "secret/app")
			return err
		})
		assertKind(t, err, fault.Token, "vault refuses the token itself")
		assert.NotContains(t, err.Error(), "expired")
		assert.Equal(t, 2, count(server.requests(), "/login"))
	})
}

// A canceled login in place of a dead token gives the caller's own error.
func TestCancelledWhileLoggingInAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	logins, reads := 0, 0
	var server *standIn
	server = newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/login"):
			server.mu.Lock()
			logins++
			again := logins == 2
			server.mu.Unlock()
			if again {
				cancel()
				time.Sleep(50 * time.Millisecond) // the login is under way
			}
			return false
		case strings.HasSuffix(r.URL.Path, "/app"):
			server.mu.Lock()
			defer server.mu.Unlock()
			if reads++; reads == 1 {
				return false // the token works
			}
			say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
			return true
		}
		return false
	})
	vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
	_, err := do(ctx, vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := get(ctx, client, "secret/app")
		require.NoError(t, err)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				_, err := get(ctx, client, "secret/app")
				assert.ErrorIs(t, err, context.Canceled)
				assert.NotErrorIs(t, err, fault.Token)
			})
		}
		group.Wait()
		return ctx.Err()
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, count(server.requests(), "/revoke-self"))
}

// A token that expires after serving is replaced as often as that happens, but once a
// second at most, and all workers get the same new one. One warning says so from the
// third login on.
func TestTokenExpiresAgainAndAgain(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	for _, role := range []map[string]any{
		{"token_ttl": "1s"},
		{"token_ttl": "2s", "token_type": "batch"}, // dies up to a second before its time to live is over
	} {
		t.Run(fmt.Sprint(role), func(t *testing.T) {
			t.Parallel()
			secret := newSecret(t, server)
			role["token_policies"] = secret.policy
			a := server.AppRole(t, role)
			vault := at(server, "approle", variables{
				"VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil), "VAULT_RATE_LIMIT": "100",
			})
			r := &run{id: vaulttest.Name()}
			began := time.Now()
			r.usage, r.err = do(t.Context(), vault, auth.DoOptions{RunID: r.id}, func(ctx context.Context, client *api.Client) error {
				var group sync.WaitGroup
				for range 16 {
					group.Go(func() {
						for time.Since(began) < 5*time.Second {
							answer, err := get(ctx, client, secret.path)
							if !assert.NoError(t, err) {
								return
							}
							assert.Equal(t, 200, answer.Status)
						}
					})
				}
				group.Wait()
				return nil
			})
			took := time.Since(began)
			require.NoError(t, r.err)
			logins := count(r.requests(t, server), "/login")
			assert.GreaterOrEqual(t, logins, 3)
			assert.LessOrEqual(t, logins, 1+int(took/time.Second))
			warned := 0
			for _, f := range r.usage.Findings {
				if f.Code == auth.TokenTTLShort {
					warned++
					assert.Contains(t, f.Text, "raise token_ttl of the role, and max_lease_ttl of its mount if that is less")
				}
			}
			assert.Equal(t, 1, warned)
		})
	}
}

// Whether a dead token is replaced depends on when it died and when it was to expire. In
// the stub each token dies after it has served once, or before. What the stub says of a dead
// one may also be what it says of one that is alive.
func TestWhichDeadTokenIsReplaced(t *testing.T) {
	t.Parallel()
	const dead = `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}` // as Vault 1.21 says it
	const (
		slow    = 1100 * time.Millisecond
		foreign = `{"errors":["blocked by the gateway"]}`
		all     = 100
	)
	for _, test := range []struct {
		name    string
		kind    string
		uses    int           // of a token; 0 means no limit
		lease   int           // seconds
		delay   time.Duration // of the answer to a login
		says    string        // of a dead token
		serving int           // tokens that serve once, before they die
		tries   int           // reads until one fails
		reads   int           // reads that are answered
		logins  int
	}{
		{"the time to live counts from when the login was sent", "service", 0, 1, slow, dead, all, 3, 3, 3},
		{"one that expires once", "service", 0, 1, slow, dead, all, 2, 2, 2},
		{"one that is alive by its time was revoked: once in a run", "service", 0, 3600, 0, dead, all, 3, 2, 2},
		{"0 never ends: it was revoked", "service", 0, 0, 0, dead, all, 3, 2, 2},
		{"one that never served ends the run", "service", 0, 3600, 0, dead, 0, 3, 0, 1},
		{"one that never served ends the run, though its time is over", "service", 0, 1, slow, dead, 0, 3, 0, 1},
		{"one that never served after one that did is replaced three times", "service", 0, 1, slow, dead, 1, 3, 1, 5},
		{"one with few uses, which may be used up before it serves: once in a run", "service", 5, 3600, 0, dead, 0, 3, 0, 2},
		{"a batch token: once a second", "batch", 0, 3600, 0, dead, all, 3, 3, 3},
		{"one that expired, in the words of a denial, as OpenBao may say it", "service", 0, 1, slow, byPolicy, all, 2, 2, 2},
		{"a denial", "service", 0, 3600, 0, byPolicy, all, 3, 3, 1},
		{"a denial in the words of another", "service", 0, 3600, 0, foreign, all, 3, 3, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			logins, served := 0, 0
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasSuffix(r.URL.Path, "/login"):
					mu.Lock()
					logins++
					token := fmt.Sprintf("hvs.number-%d", logins)
					mu.Unlock()
					time.Sleep(test.delay)
					say(w, 200, fmt.Sprintf(`{"request_id":"1","auth":{"client_token":%q,"accessor":"a","token_type":%q,"num_uses":%d,"lease_duration":%d},"mount_type":""}`, token, test.kind, test.uses, test.lease))
				case strings.HasSuffix(r.URL.Path, "/app"):
					mu.Lock()
					defer mu.Unlock()
					if served == min(test.serving, logins) {
						say(w, 403, test.says)
						return true
					}
					served++
					return false
				default:
					return false
				}
				return true
			})
			vault := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
			reads, began := 0, time.Now()
			usage, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
				for range test.tries {
					if _, err := get(ctx, client, "secret/app"); err != nil {
						return err
					}
					reads++
				}
				return nil
			})
			assert.Equal(t, test.reads, reads)
			assert.Equal(t, test.logins, count(server.requests(), "/login"))
			if test.logins > 2 {
				assert.GreaterOrEqual(t, time.Since(began), time.Duration(test.logins-1)*time.Second)
			}
			isShort := func(f auth.Finding) bool { return f.Code == auth.TokenTTLShort }
			assert.Equal(t, test.logins >= 3, slices.ContainsFunc(usage.Findings, isShort), "from the third login on")
			if test.reads < test.tries {
				assertKind(t, err, fault.Token)
			} else {
				require.NoError(t, err)
			}
		})
	}
}
