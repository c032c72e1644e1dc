package resolver_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// fleetOf makes hosts with a path each; every hundredth has only literals.
func fleetOf(size int, kv string) []resolver.Host {
	hosts := make([]resolver.Host, size)
	for i := range hosts {
		password := fmt.Sprintf("vault:%s/%d#password", kv, i)
		if i%100 == 0 {
			password = "as it stands"
		}
		hosts[i] = host(fmt.Sprint("host", i), "user", "root", "password", password)
	}
	return hosts
}

// writtenFleet makes hosts with a path each, and writes their secrets.
func writtenFleet(t *testing.T, server *vaulttest.Server, kv string, size int) []resolver.Host {
	t.Helper()
	hosts := make([]resolver.Host, size)
	var writers sync.WaitGroup
	const writerCount = 16
	for first := range writerCount {
		writers.Go(func() {
			for i := first; i < size; i += writerCount {
				server.Put(t, kv, fmt.Sprint(i), map[string]any{"password": passwordOf(i)})
				hosts[i] = host(fmt.Sprint("host", i), "user", "root", "password", fmt.Sprintf("vault:%s/%d#password", kv, i))
			}
		})
	}
	writers.Wait()
	return hosts
}

func passwordOf(i int) string { return fmt.Sprint("password of host ", i) }
