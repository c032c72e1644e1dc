package resolver_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// asked counts a run's requests in the audit file.
func asked(t *testing.T, server *vaulttest.Server, runID string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for _, request := range server.RequestsBy(t, "run/"+runID) {
		counts[request.Operation+" "+request.Path]++
	}
	return counts
}

func TestRunAsksForEachPathOnce(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v2, v1 := server.KV(t, 2), server.KV(t, 1)
	nested := server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)
	grants := []string{}
	want := map[string]int{"read auth/token/lookup-self": 1, "read sys/internal/ui/mounts": 1}
	for _, m := range []struct{ mount, api string }{{v2, v2 + "/data/"}, {v1, v1 + "/"}, {nested, nested + "/data/"}} {
		for i := range 5 {
			path := fmt.Sprintf("app/%d", i)
			server.Put(t, m.mount, path, map[string]any{"user": "u", "password": "p" + strconv.Itoa(i), "extra": true})
			grants = append(grants, m.api+path)
			want["read "+m.api+path] = 1
		}
	}
	token := server.NewToken(t, map[string]any{"policies": []string{readerPolicy(t, server, grants...)}})

	var hosts []resolver.Host
	for i := range 60 {
		path := slices.Concat([]string{v2}, []string{v1, nested})[i%3] + "/app/" + strconv.Itoa(i/3%5)
		hosts = append(hosts, host("host-"+strconv.Itoa(i), "user", "vault:"+path+"#user", "password", "vault:"+path+"#password", "extra", "vault:"+path+"#extra"))
	}
	id := vaulttest.Name()
	run := resolver.Resolve(t.Context(), connect(server, token), hosts, resolver.Options{RunID: id})
	results := collect(run)

	require.Len(t, results, 60)
	for i, result := range results {
		require.NoError(t, result.Err())
		password, err := result.Credential("password")
		require.NoError(t, err)
		assert.True(t, password.Reveal() == "p"+strconv.Itoa(i/3%5), "host %d has another's password", i)
	}
	assert.Equal(t, want, asked(t, server, id))
	assert.Equal(t, len(want), run.Report().Requests)
}

// readerPolicy grants read on API paths, on top of the default policy.
func readerPolicy(t *testing.T, server *vaulttest.Server, paths ...string) string {
	t.Helper()
	var hcl strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&hcl, "path %q { capabilities = [\"read\"] }\n", path)
	}
	return server.Policy(t, hcl.String())
}

// A run without references sends no request, whatever its literals look like.
func TestLiteralsNeverWaitForVault(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	connections := make(chan struct{}, 100)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections <- struct{}{}
			c.Close()
		}
	}()
	defer listener.Close()

	literals := []string{"", "p#x", "ref+vault://a#b", "((x))", "<path:a#b>", "${vault:a}", "literal:vault:a/b#c", "s3cr\x00t\n"}
	var hosts []resolver.Host
	for _, literal := range literals {
		hosts = append(hosts, host("h", "password", literal))
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	vault := auth.New(auth.Settings{Address: "http://" + listener.Addr().String()}, environment(map[string]string{"VAULT_TOKEN": "t"}))
	run := resolver.Resolve(done, vault, hosts, resolver.Options{})
	for i, result := range run.Results() {
		password, err := result.Credential("password")
		require.NoError(t, err, literals[i])
		assert.Equal(t, strings.TrimPrefix(literals[i], "literal:"), password.Reveal())
	}
	assert.Equal(t, len(literals), run.Report().Ready)
	assert.Zero(t, run.Report().Requests)
	assert.Empty(t, connections)
}

// A run without references does not log in, however long its loop takes.
func TestLiteralsNeedNoLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var isAsked atomic.Bool
		vault := auth.New(auth.Settings{Address: "http://127.0.0.1", AuthMethod: "own"}, auth.Options{
			Getenv: func(string) string { return "" },
			Methods: map[string]func() (api.AuthMethod, error){"own": func() (api.AuthMethod, error) {
				isAsked.Store(true)
				return nil, errors.New("no login")
			}},
		})
		for field, want := range map[string]bool{"literal": false, "vault:secret/app#password": true} {
			isAsked.Store(false)
			for range resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "password", field)}, resolver.Options{}).Results() {
				synctest.Wait()
				assert.Equal(t, want, isAsked.Load(), field)
			}
		}
	})
}

func TestHostsWithoutReferencesComeFirst(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"p": "x"})
	hosts := []resolver.Host{
		host("one", "password", "vault:"+kv+"/a#p"),
		host("two", "password", "literal"),
		host("three", "password", "vault:bad"),
		host("four"),
	}
	var order []int
	for i := range resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{}).Results() {
		order = append(order, i)
	}
	assert.Equal(t, []int{1, 2, 3, 0}, order)
}

func TestReadingNeverWaitsForTheCaller(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 40 {
		server.Put(t, kv, strconv.Itoa(i), map[string]any{"p": "x"})
		hosts = append(hosts, host(strconv.Itoa(i), "password", fmt.Sprintf("vault:%s/%d#p", kv, i)))
	}
	id := vaulttest.Name()
	taken := 0
	for range resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{RunID: id, Workers: 2}).Results() {
		if taken++; taken == 1 { // the caller stays here until all is read
			require.Eventually(t, func() bool { return len(server.RequestsBy(t, "run/"+id)) == 42 }, time.Minute, 50*time.Millisecond)
		}
	}
	assert.Equal(t, 40, taken)
}

// Results and their credentials serve every goroutine, while the loop goes on and after
// it.
func TestResultsOutliveTheLoop(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "s3cret"})
	var hosts []resolver.Host
	for i := range 20 {
		hosts = append(hosts, host("host-"+strconv.Itoa(i), "password", "vault:"+kv+"/app#password"))
	}
	run := resolver.Resolve(t.Context(), connect(server, server.ReaderToken(t, kv+"/data/*")), hosts, resolver.Options{})
	over := make(chan struct{})
	revealed := make(chan string, 4*len(hosts))
	var using sync.WaitGroup
	for _, result := range run.Results() {
		password, err := result.Credential("password")
		require.NoError(t, err)
		for range 2 {
			using.Go(func() {
				revealed <- password.Reveal()
				<-over
				again, err := result.Credential("password")
				assert.NoError(t, err)
				revealed <- again.Reveal()
			})
		}
	}
	close(over)
	using.Wait()
	close(revealed)
	count := 0
	for password := range revealed {
		count++
		assert.True(t, password == "s3cret", "another password")
	}
	assert.Equal(t, 4*len(hosts), count)
}

func TestOneResultForEachHostByIndex(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"p": "x"})
	var hosts []resolver.Host
	for i := range 500 {
		switch i % 4 {
		case 0:
			hosts = append(hosts, host("same name", "password", "vault:"+kv+"/a#p"))
		case 1:
			hosts = append(hosts, host("same name", "password", "literal"))
		case 2:
			hosts = append(hosts, host("same name", "password", "vault:"+kv+"/"+strconv.Itoa(i)+"#p"))
		case 3:
			hosts = append(hosts, host("same name"))
		}
	}
	run := resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{})
	seen := make([]int, len(hosts))
	for i, result := range run.Results() {
		seen[i]++
		assert.Equal(t, i%4 == 2, errors.Is(result.Err(), resolver.NotFound))
	}
	assert.Equal(t, slices.Repeat([]int{1}, len(hosts)), seen)
	report := run.Report()
	assert.Equal(t, []int{500, 375, 125, 0}, []int{report.Hosts, report.Ready, report.Skipped, report.NotTaken})

	for range run.Results() {
		require.Fail(t, "a run is ranged over once")
	}
}

// However the loop ends, no goroutine and so no connection is left; TestMain checks that.
func TestWaysOutOfTheLoop(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 200 {
		server.Put(t, kv, strconv.Itoa(i), map[string]any{"p": "x"})
		hosts = append(hosts, host(strconv.Itoa(i), "password", fmt.Sprintf("vault:%s/%d#p", kv, i)))
	}
	start := func() *resolver.Run {
		return resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{})
	}
	t.Run("never ranged over", func(t *testing.T) {
		run := start()
		run.Results()
		assert.Equal(t, 200, run.Report().NotTaken)
		assert.Zero(t, run.Report().Requests)
	})
	t.Run("the loop ends early", func(t *testing.T) {
		run := start()
		for range run.Results() {
			break
		}
		assert.Equal(t, 199, run.Report().NotTaken)
		assert.Equal(t, 1, run.Report().Ready)
		assert.GreaterOrEqual(t, run.Report().Requests, 3, "reading has ended with the loop")
	})
	t.Run("panic", func(t *testing.T) {
		run := start()
		assert.PanicsWithValue(t, "the caller's", func() {
			for range run.Results() {
				panic("the caller's")
			}
		})
		assert.Equal(t, 199, run.Report().NotTaken)
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		run := resolver.Resolve(ctx, connect(server, server.Token), hosts, resolver.Options{Workers: 1})
		ready := 0
		for _, result := range run.Results() {
			cancel()
			if result.Err() == nil {
				ready++
				continue
			}
			assert.ErrorIs(t, result.Err(), context.Canceled)
			_, err := result.Credential("password")
			assert.ErrorIs(t, err, context.Canceled, "it passes through")
		}
		report := run.Report()
		assert.Equal(t, []int{ready, 200 - ready, 0}, []int{report.Ready, report.Skipped, report.NotTaken})
		assert.Positive(t, report.Skipped)
	})
	t.Run("past its deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		<-ctx.Done()
		for _, result := range resolver.Resolve(ctx, connect(server, server.Token), hosts, resolver.Options{}).Results() {
			assert.ErrorIs(t, result.Err(), context.DeadlineExceeded)
		}
	})
}

func TestWorkersAreBounded(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 100 {
		hosts = append(hosts, host(strconv.Itoa(i), "password", fmt.Sprintf("vault:%s/%d#p", kv, i)))
	}
	for _, workers := range []int{1, 3, 1000} {
		most := min(workers, 100)
		run := resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{Workers: workers})
		assert.Len(t, collect(run), 100)
		// On a busy machine net/http does not keep each connection.
		assert.LessOrEqual(t, run.Report().Connections, most+3)
		assert.Positive(t, run.Report().Connections)
	}
}

// A token that dies midway costs the hosts not read yet, and is one cause.
func TestTokenDiesMidway(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range 10 {
		server.Put(t, kv, strconv.Itoa(i), map[string]any{"p": "x"})
		hosts = append(hosts, host(strconv.Itoa(i), "password", fmt.Sprintf("vault:%s/%d#p", kv, i)))
	}
	// One use is for the look at the token, and three are for reads.
	token := server.NewToken(t, map[string]any{"policies": []string{readerPolicy(t, server, kv+"/data/*")}, "num_uses": 4})
	run := resolver.Resolve(t.Context(), connect(server, token), hosts, resolver.Options{Workers: 2})
	ready := 0
	for _, result := range collect(run) {
		if result.Err() == nil {
			ready++
		} else {
			assert.ErrorIs(t, result.Err(), resolver.Token)
		}
	}
	assert.Equal(t, 3, ready)
	report := run.Report()
	require.Len(t, report.Causes, 1)
	cause := report.Causes[0].String()
	assert.True(t, strings.HasPrefix(cause, "the vault token is expired, revoked or used up; set VAULT_TOKEN to a new one on the Patch server, and restart the agent: "), cause)
	assert.True(t, strings.HasSuffix(cause, " and 4 more skipped"), cause)
	assert.Contains(t, texts(report.Findings), "warning: the token has 0 uses left; a run of these references needs 11; replace it with one without a use limit")
	assert.Equal(t, []string{resolver.ShortOfUses}, codes(report.Findings))
}

// This run warns of a token that has enough uses for it, but not for the next run.
func TestUsesOfAGivenTokenEndBeforeTheNextRun(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "p"})
	for uses, warning := range map[int]string{
		3: "warning: the token has 1 use left; a run of these references needs 2; replace it with one without a use limit",
		4: "",
	} {
		token := server.NewToken(t, map[string]any{"policies": []string{readerPolicy(t, server, kv+"/data/*")}, "num_uses": uses})
		run := resolver.Resolve(t.Context(), connect(server, token), []resolver.Host{host("h", "password", "vault:"+kv+"/app#password")}, resolver.Options{})
		require.NoError(t, collect(run)[0].Err())
		found := strings.Join(texts(run.Report().Findings), "|")
		if warning == "" {
			assert.NotContains(t, found, "left")
		} else {
			assert.Contains(t, found, warning)
		}
	}
}

// All fields of one path come from one response.
func TestRotationNeverTearsCredentials(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	write := func(n int) {
		_, _, err := server.Do("POST", kv+"/data/db", map[string]any{"data": map[string]any{"user": "user" + strconv.Itoa(n), "password": "password" + strconv.Itoa(n)}})
		assert.NoError(t, err)
	}
	write(0)
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			write(n)
		}
	})
	versions := make(map[int]bool)
	for range 30 {
		result := resolver.One(t.Context(), connect(server, server.Token), host("db", "user", "vault:"+kv+"/db#user", "password", "vault:"+kv+"/db#password"), resolver.Options{})
		require.NoError(t, result.Err())
		user, _ := result.Credential("user")
		password, _ := result.Credential("password")
		assert.Equal(t, user.Version(), password.Version())
		assert.True(t, strings.TrimPrefix(user.Reveal(), "user") == strings.TrimPrefix(password.Reveal(), "password"), "torn")
		versions[user.Version()] = true
	}
	cancel()
	writer.Wait()
	assert.Greater(t, len(versions), 1, "each run reads afresh")
}

func TestRotationIsUsedByTheNextRun(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	vault := connect(server, server.Token)
	for n := range 3 {
		secret := rand.Text()
		before := time.Now().Add(-time.Minute)
		assert.Equal(t, n+1, server.Put(t, kv, "db", map[string]any{"password": secret}))
		result := resolver.One(t.Context(), vault, host("db", "password", "vault:"+kv+"/db#password"), resolver.Options{})
		password, err := result.Credential("password")
		require.NoError(t, err)
		assert.True(t, password.Reveal() == secret)
		assert.Equal(t, n+1, password.Version())
		assert.WithinRange(t, password.Created(), before, time.Now().Add(time.Minute))
		assert.Equal(t, kv+"/db", password.Ref().Path())
	}
}

// Hosts share maps, and runs share a Vault.
func TestRunsAtOnceShareNothing(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"user": "u", "password": "p"})
	shared := host("", "user", "vault:"+kv+"/a#user", "password", "vault:"+kv+"/a#password").Fields
	before := maps.Clone(shared)
	hosts := make([]resolver.Host, 300)
	for i := range hosts {
		hosts[i] = resolver.Host{Name: strconv.Itoa(i), Fields: shared}
	}
	vault := connect(server, server.Token)
	var runs sync.WaitGroup
	for range 4 {
		runs.Go(func() {
			run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
			for range run.Results() {
				run.Report() // may be asked at any time
			}
			assert.Equal(t, 300, run.Report().Ready)
			assert.Equal(t, 3, run.Report().Requests)
		})
	}
	runs.Wait()
	assert.True(t, maps.EqualFunc(before, shared, func(a, b ref.Value) bool { return a.Ref() == b.Ref() }))
}

func TestAHostShowsAllItsFaults(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "p"})
	result := resolver.One(t.Context(), connect(server, server.Token), host("h",
		"user", "VAULT:a/b#c",
		"password", "vault:"+kv+"/a#pasword",
		"ssh_key", "vault:"+kv+"/none#key",
		"fine", "vault:"+kv+"/a#password",
	), resolver.Options{})

	failed, ok := errors.AsType[*resolver.HostError](result.Err())
	require.True(t, ok)
	assert.Equal(t, "h", failed.Host)
	kinds := []resolver.Kind{}
	for _, f := range failed.Fields {
		kinds = append(kinds, f.Kind())
	}
	assert.Equal(t, []resolver.Kind{resolver.NoKey, resolver.NotFound, resolver.BadReference}, kinds, "sorted by field")
	for _, field := range []string{"fine", "user", "none"} {
		_, err := result.Credential(field)
		assert.ErrorIs(t, err, resolver.NoKey, "a host with an error has no credentials")
	}
}

func TestAMissingFieldIsNoEmptyPassword(t *testing.T) {
	t.Parallel()
	vault := auth.New(auth.Settings{}, auth.Options{})
	fields := map[string]ref.Value{"user": ref.Parse("root"), "empty": ref.Parse(""), "null": {}}
	result := resolver.One(t.Context(), vault, resolver.Host{Name: "h", Fields: fields}, resolver.Options{})
	require.NoError(t, result.Err())
	for _, field := range []string{"password", "null", ""} {
		_, err := result.Credential(field)
		assert.ErrorIs(t, err, resolver.ErrNoField, field)
	}
	empty, err := result.Credential("empty")
	require.NoError(t, err)
	assert.Empty(t, empty.Reveal())
}

func TestNoHosts(t *testing.T) {
	t.Parallel()
	run := resolver.Resolve(t.Context(), auth.New(auth.Settings{}, auth.Options{}), nil, resolver.Options{})
	assert.Empty(t, collect(run))
	assert.Equal(t, "0 hosts: 0 ready, 0 skipped\n", run.Report().String())
}
