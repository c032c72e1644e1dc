package resolver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/balancer"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// When the caller's context ends, all results come at once, whatever state Vault
// is in: complete ones, and others with the context's error. No connection and no token
// is left; TestMain checks that no goroutine is.
//
// The promise is 100 ms. A machine that runs other tests at the same time gets 1 s, and
// three tries. What must not be waited for takes longer each time: a login under way and
// the revocation up to 2 s each, an attempt up to 10 s.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	const size = 600
	const atOnce, tries = time.Second, 3
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	hosts := append(writtenFleet(t, server, kv, size), host("literals alone", "password", "as it stands"))
	policy := readerPolicy(t, server, kv+"/data/*")
	sealed := vaulttest.SharedSealed(t)
	for _, c := range []struct {
		name    string
		address string
		direct  bool                                              // no balancer can stand before it that counts connections
		ripe    func(front *balancer.Balancer, runID string) bool // when the context may end; nil means at once
		ready   int                                               // hosts at least
	}{
		{
			name:    "reading",
			address: server.Address,
			ripe: func(_ *balancer.Balancer, runID string) bool {
				requests, err := server.Requests("run/" + runID)
				return err == nil && len(requests) > 100
			},
			ready: 50, // of 100 that were asked for, some were under way
		},
		{
			name:    "waiting for a sealed Vault",
			address: sealed.Address,
			ripe:    func(front *balancer.Balancer, _ string) bool { return front.Accepted() > 2 },
			ready:   1,
		},
		{
			name:    "waiting for an answer",
			address: mute(t),
			ripe:    func(front *balancer.Balancer, _ string) bool { return front.Open() > 0 },
			ready:   1,
		},
		{
			name:    "waiting for a Vault that refuses connections",
			address: "http://" + vaulttest.ClosedPort(t),
			direct:  true,
			ready:   1,
		},
		{
			name:    "waiting for a connection",
			address: blackHole(t),
			direct:  true,
			ready:   1,
		},
	} {
		for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(c.name+", "+end.Error(), func(t *testing.T) {
				t.Parallel()
				attempt := func() (took time.Duration) {
					front := counted(t, c.address)
					address := front.Address
					if c.direct {
						address = c.address
					}
					mount, roleID := appRole(t, server, map[string]any{"token_policies": []string{policy}, "token_ttl": "1h"})
					vault := auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, environment(map[string]string{
						"VAULT_APPROLE_MOUNT": mount, "VAULT_ROLE_ID": roleID, "VAULT_RATE_LIMIT": "100:1",
					}))
					ctx := &endable{Context: t.Context(), done: make(chan struct{}), err: end}
					id := vaulttest.Name()
					run := resolver.Resolve(ctx, vault, hosts, resolver.Options{RunID: id})
					var ended, last time.Time
					results := make(map[int]resolver.Result)
					for i, result := range run.Results() {
						results[i], last = result, time.Now()
						if len(results) == 1 {
							if c.ripe != nil {
								require.Eventually(t, func() bool { return c.ripe(front, id) }, time.Minute, 20*time.Millisecond)
							}
							ctx.end()
							ended = time.Now()
						}
					}
					require.Len(t, results, size+1)
					ready := 0
					for i, result := range results {
						if err := result.Err(); err != nil {
							assert.ErrorIs(t, err, end)
						} else if ready++; i < size {
							password, err := result.Credential("password")
							assert.True(t, err == nil && password.Reveal() == passwordOf(i), "host %d got another's password", i)
						}
					}
					assert.GreaterOrEqual(t, ready, c.ready)
					assert.Less(t, ready, size, "the run was over before its context")
					assert.Eventually(t, func() bool { return front.Open() == 0 }, time.Minute, 5*time.Millisecond, "connections")
					assertNoToken(t, server, mount)
					return last.Sub(ended)
				}
				took := attempt()
				for try := 1; try < tries && took >= atOnce; try++ {
					took = attempt()
				}
				assert.Less(t, took, atOnce)
			})
		}
	}
}

// endable is a context that a test ends, with the error of a cancellation or a deadline.
type endable struct {
	context.Context
	done chan struct{}
	err  error
}

func (e *endable) end() { close(e.done) }

func (e *endable) Done() <-chan struct{} { return e.done }

func (e *endable) Err() error {
	select {
	case <-e.done:
		return e.err
	default:
		return nil
	}
}
