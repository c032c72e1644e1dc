package resolver_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// movingFleet is 600 hosts, each with its own path, on a cluster whose nodes step down
// and die.
type movingFleet struct {
	cluster *vaulttest.Cluster
	kv      string
	token   string
	hosts   []resolver.Host
}

// A cluster takes ten seconds to form, so these tests share one. Each but the last leaves
// it healthy.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; left out by -short")
	}
	t.Parallel()
	f := newMovingFleet(t, 600)
	t.Run("its leader steps down", func(t *testing.T) {
		vaulttest.Unsupported(t)
		f.outlives(t, func() {
			leader := f.cluster.Leader()
			require.NoError(t, leader.StepDown())
			require.Eventually(t, func() bool { return f.cluster.Leader() != leader }, time.Minute, 5*time.Millisecond)
			f.waitHealthy(t)
		})
	})
	t.Run("each node is killed and restarted in turn", func(t *testing.T) {
		vaulttest.Unsupported(t)
		f.outlives(t, func() {
			// As Vault's own guide has it: the leader last.
			leader := f.cluster.Leader()
			for _, node := range f.standbys(t) {
				node.Kill()
				f.waitHealthy(t)
				f.revive(t)
			}
			f.revokesAfter(t, leader.Kill)
			f.revive(t)
		})
	})
	t.Run("a balancer leads to one node that is gone or sealed", f.behindBalancer)
	t.Run("it loses its quorum for good", f.losesQuorum)
}

// outlives makes runs until the event is over: of the fleet and of a single host, through
// one standby and through a balancer in front of all nodes. The event begins during the
// fleet's first runs, and may cost no host.
func (f *movingFleet) outlives(t *testing.T, event func()) {
	var loops, underWay sync.WaitGroup
	defer loops.Wait()
	over, end := context.WithCancel(t.Context())
	defer end()
	for name, address := range map[string]string{
		"at a standby":       f.standbys(t)[0].Address,
		"through a balancer": f.balancer(t).Address,
	} {
		for _, pace := range []struct {
			hosts     int
			perSecond string
		}{{len(f.hosts) / 2, "60:1"}, {1, "10:1"}} {
			hosts := f.hosts[:pace.hosts]
			underWay.Add(1)
			loops.Go(func() {
				begun := sync.OnceFunc(underWay.Done)
				defer begun()
				retries := 0
				for first := true; first || over.Err() == nil; first = false {
					run := resolver.Resolve(t.Context(), f.connect(address, "VAULT_RATE_LIMIT", pace.perSecond), hosts, resolver.Options{})
					taken := 0
					for i, result := range run.Results() {
						f.assertServed(t, i, result)
						if taken++; taken == min(50, len(hosts)) {
							begun()
						}
					}
					report := run.Report()
					if !assert.Equal(t, len(hosts), report.Ready, "%s: %s", name, report) {
						return
					}
					retries += report.Retries
				}
				assert.NotZero(t, retries, "%s: no run of %d hosts met the event", name, len(hosts))
			})
		}
	}
	underWay.Wait()
	event()
}

// revokesAfter lets a run through a balancer wait for a new leader. When it ends, some
// nodes may not know the leader yet, and redirect the revocation.
func (f *movingFleet) revokesAfter(t *testing.T, kill func()) {
	leader := f.cluster.Leader()
	require.NotNil(t, leader)
	policy := leader.Policy(t, fmt.Sprintf(`path "%s/data/*" { capabilities = ["read"] }`, f.kv))
	mount, roleID := appRole(t, leader, map[string]any{"token_policies": []string{"default", policy}})
	vault := auth.New(auth.Settings{Address: f.balancer(t).Address, AuthMethod: "approle"}, environment(map[string]string{
		"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount, "VAULT_RATE_LIMIT": "100:1",
	}))
	hosts := f.hosts[:len(f.hosts)/2]
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
	taken := 0
	for i, result := range run.Results() {
		f.assertServed(t, i, result)
		if taken++; taken == 100 {
			kill()
		}
	}
	report := run.Report()
	assert.Equal(t, len(hosts), report.Ready, "%s", report)
	assert.NotZero(t, report.Retries, "the run did not meet the kill")
	f.waitHealthy(t)
	if len(report.Findings) == 0 {
		assertNoToken(t, f.cluster.Leader(), mount)
		return
	}
	// On a busy machine, the new leader can take longer than the two seconds that a
	// revocation may take. What standbys answer is no reason not to revoke.
	assert.Equal(t, []string{auth.TokenNotRevoked}, codes(report.Findings), "%s", report)
	assert.Contains(t, report.Findings[0].Detail, "no answer within", "%s", report)
}

func (f *movingFleet) losesQuorum(t *testing.T) {
	vaulttest.Unsupported(t)
	const served = 50 // before the standbys are killed
	addresses := map[string]string{
		"at the leader":      f.cluster.Leader().Address,
		"through a balancer": f.balancer(t).Address,
	}
	hosts := append(slices.Clone(f.hosts), host("literals alone", "password", "as it stands"))
	var runs, underWay sync.WaitGroup
	underWay.Add(len(addresses))
	for name, address := range addresses {
		runs.Go(func() {
			begun := sync.OnceFunc(underWay.Done)
			defer begun()
			run := resolver.Resolve(t.Context(), f.connect(address, "VAULT_RATE_LIMIT", "40:1"), hosts, resolver.Options{Patience: brief})
			taken := 0
			for i, result := range run.Results() {
				if taken++; taken == served {
					begun()
				}
				if taken <= served && i < len(f.hosts) {
					f.assertServed(t, i, result)
				}
				if i == len(f.hosts) {
					assert.Equal(t, 1, taken, "literals come first")
					assert.NoError(t, result.Err())
				}
				if err := result.Err(); err != nil {
					kind := err.(*resolver.HostError).Fields[0].Kind()
					assert.Contains(t, []resolver.Kind{resolver.NoActiveNode, resolver.Unreachable}, kind)
				}
			}
			report := run.Report()
			assert.Len(t, report.Causes, 1, "%s: %s", name, report)
			assert.GreaterOrEqual(t, report.Ready, served)
			assert.NotZero(t, report.Skipped)
			assertOnePatience(t, report)
		})
	}
	underWay.Wait()
	for _, node := range f.standbys(t) {
		node.Kill()
	}
	runs.Wait()
}

func newMovingFleet(t *testing.T, size int) *movingFleet {
	f := &movingFleet{cluster: vaulttest.NewCluster(t, vaulttest.Config{})}
	leader := f.cluster.Leader()
	require.NotNil(t, leader)
	kv := leader.KV(t, 2)
	f.kv = kv
	f.token = leader.ReaderToken(t, kv+"/data/*")
	f.hosts = writtenFleet(t, leader, kv, size)
	return f
}

func (f *movingFleet) connect(address string, variables ...string) *auth.Vault {
	all := map[string]string{"VAULT_TOKEN": f.token}
	for i := 0; i < len(variables); i += 2 {
		all[variables[i]] = variables[i+1]
	}
	return auth.New(auth.Settings{Address: address}, environment(all))
}

func (f *movingFleet) assertServed(t *testing.T, i int, result resolver.Result) {
	password, err := result.Credential("password")
	if assert.NoError(t, err) {
		assert.True(t, password.Reveal() == passwordOf(i), "host %d got another's password", i)
	}
}

// standbys returns the nodes that do not lead.
func (f *movingFleet) standbys(t *testing.T) []*vaulttest.Server {
	leader := f.cluster.Leader()
	require.NotNil(t, leader)
	return slices.DeleteFunc(slices.Clone(f.cluster.Nodes), func(node *vaulttest.Server) bool { return node == leader })
}

// revive restarts and unseals what was killed.
func (f *movingFleet) revive(t *testing.T) {
	for _, node := range f.cluster.Nodes {
		status, _, err := node.Do("GET", "sys/health", nil)
		if err != nil {
			require.NoError(t, node.Restart())
		}
		if err != nil || status == 503 {
			require.NoError(t, node.Unseal())
		}
	}
	f.waitHealthy(t)
}

func (f *movingFleet) waitHealthy(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.NoError(t, f.cluster.WaitHealthy(ctx))
}
