package resolver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// A given token that dies midway is the error of all remaining hosts, and no more
// requests are sent.
func TestGivenTokenDiesMidway(t *testing.T) {
	t.Parallel()
	const size, revokedAfter = 600, 100
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	hosts := writtenFleet(t, server, kv, size)
	token := server.ReaderToken(t, kv+"/data/*")
	vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": token, "VAULT_RATE_LIMIT": "200:1"}))
	id := vaulttest.Name()
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{RunID: id})
	taken, served := 0, 0
	for _, result := range run.Results() {
		if taken++; taken == revokedAfter {
			server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": token})
		}
		if err := result.Err(); err == nil {
			served++
		} else {
			assert.ErrorIs(t, err, resolver.Token)
		}
	}
	report := run.Report()
	assert.Len(t, report.Causes, 1, "%s", report)
	assert.GreaterOrEqual(t, served, revokedAfter)
	assert.Less(t, served, size)

	looks, reads := 0, 0
	for request, count := range asked(t, server, id) {
		switch request {
		case "read sys/internal/ui/mounts":
		case "read auth/token/lookup-self":
			looks = count
		default:
			reads += count
		}
	}
	assert.LessOrEqual(t, looks, 2, "the run's first, and one when it is refused")
	assert.LessOrEqual(t, reads, served+workers, "reads under way may be refused; none is sent after")
}

// However many reads are refused at once, each is sent once, and the token
// is looked up at most once more.
func TestManyRefusalsAtOnce(t *testing.T) {
	t.Parallel()
	const size = 400
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	var hosts []resolver.Host
	for i := range size {
		hosts = append(hosts, host(fmt.Sprint(i), "password", fmt.Sprintf("vault:%s/%d#password", kv, i)))
	}
	for name, settings := range map[string]map[string]any{
		"may look at itself":     {"policies": []string{"default"}},
		"may not look at itself": {"no_default_policy": true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			policy := server.Policy(t, fmt.Sprintf(`path "%s/data/other" { capabilities = ["read"] }`, kv))
			policies, _ := settings["policies"].([]string)
			settings["policies"] = append(policies, policy)
			id := vaulttest.Name()
			run := resolver.Resolve(t.Context(), connect(server, server.NewToken(t, settings)), hosts, resolver.Options{Workers: 200, RunID: id})
			for _, result := range run.Results() {
				assert.True(t, errors.Is(result.Err(), resolver.Denied), "%v", result.Err())
			}
			counts := asked(t, server, id)
			assert.LessOrEqual(t, counts["read auth/token/lookup-self"], 2)
			assert.Equal(t, 1, counts["read sys/internal/ui/mounts"])
			for i := range size {
				assert.Equal(t, 1, counts[fmt.Sprintf("read %s/data/%d", kv, i)])
			}
			assert.Len(t, counts, size+2)
		})
	}
}
