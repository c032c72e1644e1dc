package resolver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// configuration is what the examples' agent gets from its API before each run.
type configuration struct {
	Vault auth.Settings
	Hosts []struct {
		Name        string
		Credentials map[string]ref.Value
	}
}

// exampleConfiguration starts a Vault with one secret, and returns a
// configuration that refers to it, with an environment that reaches it.
func exampleConfiguration(hosts string) (configuration, auth.Options) {
	server := exampleVault()
	var config configuration
	if err := json.Unmarshal([]byte(`{"Hosts": `+hosts+`}`), &config); err != nil {
		panic(err)
	}
	config.Vault.Address = server.Address
	return config, environment(map[string]string{"VAULT_TOKEN": server.Token})
}

var exampleVault = sync.OnceValue(func() *vaulttest.Server {
	server := vaulttest.ForExample()
	secret := map[string]any{"user": "Administrator", "password": "s3cret"}
	if _, _, err := server.Do("POST", "secret/data/luumen/windev", map[string]any{"data": secret}); err != nil {
		panic(err)
	}
	return server
})

// connectTo stands for the agent's own work.
func connectTo(host, user, password string) { fmt.Println("connecting to", host, "as", user) }

func ExampleResolve() {
	config, options := exampleConfiguration(`[
		{"Name": "win-1", "Credentials": {"user": "vault:secret/luumen/windev#user", "password": "vault:secret/luumen/windev#password"}},
		{"Name": "win-2", "Credentials": {"user": "vault:secret/luumen/windev#user", "password": "vault:secret/luumen/windev#pasword"}},
		{"Name": "lin-1", "Credentials": {"user": "root", "password": "a literal"}}]`)
	ctx := context.Background()

	hosts := make([]resolver.Host, len(config.Hosts))
	for i, h := range config.Hosts {
		hosts[i] = resolver.Host{Name: h.Name, Fields: h.Credentials}
	}
	vault := auth.New(config.Vault, options)
	run := resolver.Resolve(ctx, vault, hosts, resolver.Options{})
	for i, result := range run.Results() {
		if result.Err() != nil {
			continue // skipped; the report says why, once per cause
		}
		user, err := result.Credential("user")
		if err != nil {
			continue // the host has no such field: never an empty password
		}
		password, err := result.Credential("password")
		if err != nil {
			continue
		}
		connectTo(hosts[i].Name, user.Reveal(), password.Reveal())
	}
	for _, cause := range run.Report().Causes {
		fmt.Println("hosts skipped:", cause)
	}

	// Unordered output:
	// connecting to lin-1 as root
	// connecting to win-1 as Administrator
	// hosts skipped: password: vault:secret/luumen/windev#pasword: no key "pasword" at version 1; did you mean "password"?: win-2 skipped
}

func ExampleOne() {
	config, options := exampleConfiguration(`[]`)
	ctx := context.Background()

	vault := auth.New(config.Vault, options)
	serviceNow := resolver.Host{Name: "servicenow", Fields: map[string]ref.Value{
		"user":     ref.Parse("luumen"),
		"password": ref.Parse("vault:secret/luumen/windev#password"),
	}}
	result := resolver.One(ctx, vault, serviceNow, resolver.Options{})
	password, err := result.Credential("password")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("got", password, "of", len(password.Reveal()), "bytes")
	// Output: got vault:secret/luumen/windev#password (version 1) of 6 bytes
}
