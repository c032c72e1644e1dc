package auth_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// soon is far more than what must end at once takes on a busy machine.
const soon = 20 * time.Second

// byAppRole describes a server to the library, with credentials that it takes.
func byAppRole(server *standIn) *auth.Vault {
	return auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options())
}

// Do ends in time with a context of any type.
func TestDoWithAContextOfAnyType(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	for _, odd := range vaulttest.OddContexts() {
		t.Run(odd.Name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := byAppRole(server).Do(odd.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
				_, err := client.Logical().ReadWithContext(ctx, "secret/app")
				return err
			})
			assert.Less(t, time.Since(began), soon)
			if odd.Ended {
				assert.Error(t, err)
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

// A client that is used after Do has returned fails at once, and so does each that
// was made of it: nothing is sent.
func TestClientAfterDo(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	clients := make(map[string]*api.Client)
	_, err := byAppRole(server).Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		_, err := client.Logical().ReadWithContext(ctx, "secret/app")
		clients["itself"] = client
		clients["in another namespace"] = client.WithNamespace("team")
		clients["a clone"], _ = client.Clone()
		clients["a clone with its headers"], _ = client.CloneWithHeaders()
		return err
	})
	require.NoError(t, err)
	sent := len(server.requests())
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := client.Logical().Read("secret/app")
			assert.ErrorContains(t, err, "the client must not be used after Do")
			_, err = client.Logical().Write("transit/sign/release", map[string]any{"input": "x"})
			assert.ErrorContains(t, err, "the client must not be used after Do")
			_, err = client.Auth().Token().LookupSelf()
			assert.ErrorContains(t, err, "the client must not be used after Do")
			assert.Less(t, time.Since(began), soon)
			assert.Empty(t, client.Token())
		})
	}
	assert.Len(t, server.requests(), sent)
}

// Within Do, clients made from the client work like it, and show no token.
func TestClonesOfTheClient(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	_, err := byAppRole(server).Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		clone, err := client.Clone()
		require.NoError(t, err)
		withHeaders, err := client.CloneWithHeaders()
		require.NoError(t, err)
		for _, c := range []*api.Client{clone, withHeaders, client.WithNamespace("team")} {
			assert.Empty(t, c.Token())
			assert.NotContains(t, dump(c), standInToken)
			_, err := c.Logical().ReadWithContext(ctx, "secret/app")
			assert.NoError(t, err)
		}
		return nil
	})
	require.NoError(t, err)
	var namespaces []string
	for _, r := range server.all() {
		if strings.HasSuffix(r.URL.Path, "/secret/app") {
			assert.Equal(t, standInToken, r.Header.Get("X-Vault-Token"))
			namespaces = append(namespaces, r.Header.Get("X-Vault-Namespace"))
		}
	}
	assert.Equal(t, []string{"", "", "team"}, namespaces)
}

// A goroutine that goes on with the client after use has returned gets no further
// token: none is left behind.
func TestUseThatGoesOn(t *testing.T) {
	t.Parallel()
	var revoked atomic.Bool
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/revoke-self") {
			revoked.Store(true)
		}
		refused := strings.HasSuffix(r.URL.Path, "/secret/app") && revoked.Load()
		if refused {
			say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
		}
		return refused
	})
	began := time.Now()
	var working sync.WaitGroup
	_, err := byAppRole(server).Do(t.Context(), auth.DoOptions{}, func(_ context.Context, client *api.Client) error {
		_, err := client.Logical().Read("secret/app")
		started := make(chan struct{})
		for range 8 {
			working.Go(func() {
				for i := 0; ; i++ {
					if i == 3 {
						started <- struct{}{}
					}
					if _, err := client.Logical().Read("secret/app"); err != nil && strings.Contains(err.Error(), "after Do") {
						return
					}
				}
			})
		}
		for range 8 {
			<-started
		}
		return err
	})
	require.NoError(t, err)
	working.Wait()
	assert.Less(t, time.Since(began), soon)
	assert.Equal(t, 1, count(server.requests(), "/login"))
	assert.Equal(t, 1, count(server.requests(), "/revoke-self"))
}

// A login method that goes on with its client after it has returned, or after the
// run, sends nothing more, and leaves no token behind.
func TestMethodThatGoesOn(t *testing.T) {
	t.Parallel()
	login := userpass{"userpass", "agent", password}
	for _, test := range []struct {
		name   string
		logins int // before the method returns
		err    error
	}{
		{"after a login", 1, nil},
		{"after no login", 0, errors.New("second thoughts")},
		{"after its error", 1, errors.New("second thoughts")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, nil)
			var working sync.WaitGroup
			over := make(chan struct{})
			method := methodFunc(func(ctx context.Context, c *api.Client) (secret *api.Secret, err error) {
				for range test.logins {
					secret, err = login.Login(ctx, c)
				}
				working.Go(func() {
					<-over
					for range 20 {
						_, err := login.Login(context.Background(), c)
						assert.ErrorContains(t, err, "the login is over")
					}
				})
				if test.err != nil {
					err = test.err
				}
				return secret, err
			})
			began := time.Now()
			r := &run{}
			r.usage, r.err = withMethod(server.address, method, nil).Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
				_, err := client.Logical().ReadWithContext(ctx, "secret/app")
				close(over)
				working.Wait()
				return err
			})
			if test.err != nil {
				close(over)
			}
			working.Wait()
			assert.Less(t, time.Since(began), soon)
			assert.Equal(t, test.err == nil, r.err == nil)
			assert.Equal(t, test.logins, count(server.requests(), "/login/agent"))
			assert.Equal(t, test.logins, count(server.requests(), "/revoke-self"))
		})
	}
}

// A login that a method has sent, and whose answer comes after the method has
// returned, made a token all the same: it is waited for and revoked.
func TestMethodThatReturnsBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 500 * time.Millisecond} { // after the method has returned
		asked, returned := make(chan struct{}), make(chan struct{})
		server := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/login/") {
				close(asked)
				<-returned
				time.Sleep(late) // as Vault takes it
			}
			return false
		})
		method := methodFunc(func(_ context.Context, c *api.Client) (*api.Secret, error) {
			go userpass{"userpass", "agent", password}.Login(context.Background(), c)
			<-asked
			time.AfterFunc(10*time.Millisecond, func() { close(returned) })
			return nil, errors.New("second thoughts")
		})
		began := time.Now()
		_, err := withMethod(server.address, method, nil).Do(t.Context(), auth.DoOptions{}, func(context.Context, *api.Client) error { return nil })
		assert.Error(t, err)
		assert.Less(t, time.Since(began), soon)
		assert.Equal(t, 1, count(server.requests(), "/revoke-self"), "%v", server.requests())
	}
}

// The answer to a request that an earlier login left behind does not count for the login
// under way.
func TestRequestOfAnEarlierLogin(t *testing.T) {
	t.Parallel()
	asked, release, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var logins, reads atomic.Int32
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/login/left"):
			close(asked)
			<-release
			say(w, 400, `{"errors":["of the earlier one"]}`)
		case strings.HasSuffix(r.URL.Path, "/login/agent") && logins.Load() == 2:
			say(w, 400, `{"errors":["of this one"]}`)
		case strings.HasSuffix(r.URL.Path, "/app") && reads.Add(1) == 2:
			say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
		default:
			return false
		}
		return true
	})
	method := methodFunc(func(ctx context.Context, c *api.Client) (*api.Secret, error) {
		again := logins.Add(1) == 2
		if !again {
			go func() {
				defer close(left)
				userpass{"userpass", "left", password}.Login(context.Background(), c)
			}()
			<-asked
		}
		secret, err := userpass{"userpass", "agent", password}.Login(ctx, c)
		if again {
			close(release)
			<-left
		}
		return secret, err
	})
	r := readOnce(t.Context(), withMethod(server.address, method, nil), "secret/app", "secret/app")
	assertKind(t, r.err, fault.Login, "(400 of this one)")
	assert.Equal(t, []int{200}, r.status)
}

// A method that never stops sending does not hold the run up, nor does Vault's
// silence meanwhile.
func TestMethodThatNeverStops(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/login/") {
			return false
		}
		say(w, 400, `{"errors":["no"]}`)
		return true
	})
	ended := make(chan struct{})
	method := methodFunc(func(_ context.Context, c *api.Client) (*api.Secret, error) {
		defer close(ended)
		for {
			_, err := userpass{"userpass", "agent", password}.Login(context.Background(), c)
			if err != nil && !strings.Contains(err.Error(), "* no") {
				return nil, err
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := withMethod(server.address, method, nil).Do(ctx, auth.DoOptions{}, func(context.Context, *api.Client) error { return nil })
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(began), soon)
	<-ended
}

// A method that ignores its context, or ends its goroutine, is the error of the run,
// which ends in time.
func TestMethodThatDoesNotReturn(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	var working sync.WaitGroup
	working.Add(2)
	t.Cleanup(func() { close(released); working.Wait() })
	hangs := methodFunc(func(context.Context, *api.Client) (*api.Secret, error) {
		defer working.Done()
		<-released
		return nil, errors.New("late")
	})
	exits := methodFunc(func(context.Context, *api.Client) (*api.Secret, error) {
		runtime.Goexit()
		return nil, nil
	})
	for _, test := range []struct {
		name   string
		method methodFunc
		use    auth.DoOptions
		says   string
	}{
		{"hangs in a run", hangs, auth.DoOptions{Patience: time.Second}, "the method did not return"},
		{"hangs in a check", hangs, auth.DoOptions{Patience: time.Second, Check: true}, "the method did not return"},
		{"ends its goroutine", exits, auth.DoOptions{}, "the method is nil, panicked, or ended its goroutine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newStandIn(t, nil)
			began := time.Now()
			_, err := withMethod(server.address, test.method, variables{"VAULT_CLIENT_TIMEOUT": "1"}).Do(t.Context(), test.use, func(context.Context, *api.Client) error {
				t.Error("called")
				return nil
			})
			assertKind(t, err, fault.Login, test.says)
			assert.Less(t, time.Since(began), soon)
		})
	}
}
