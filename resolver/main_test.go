package resolver_test

import (
	"flag"
	"maps"
	"os"
	"testing"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		flag.Set("test.skip", "^Example") // they need a Vault
	}
	os.Exit(vaulttest.Main(m))
}

// connect describes a server to the library: its address as the UI gives it,
// the token as the agent's environment does.
func connect(server *vaulttest.Server, token string) *auth.Vault {
	return auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{
		"VAULT_TOKEN":  token,
		"VAULT_CACERT": server.CAFile,
	}))
}

// environment makes the variables all that the library sees.
func environment(variables map[string]string) auth.Options {
	return auth.Options{Getenv: func(name string) string { return variables[name] }}
}

// host makes a host of fields in turn: name, text, name, text.
func host(name string, fields ...string) resolver.Host {
	h := resolver.Host{Name: name, Fields: make(map[string]ref.Value)}
	for i := 0; i < len(fields); i += 2 {
		h.Fields[fields[i]] = ref.Parse(fields[i+1])
	}
	return h
}

// collect ranges over a run and returns its results by the index of their host.
func collect(run *resolver.Run) map[int]resolver.Result {
	return maps.Collect(run.Results())
}
