package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// exampleVault starts a Vault with one secret, once for all examples. It returns the
// settings and an environment that reach it.
func exampleVault() (auth.Settings, auth.Options) {
	server := startExampleVault()
	return auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": server.Token})
}

var startExampleVault = sync.OnceValue(func() *vaulttest.Server {
	server := vaulttest.ForExample()
	secret := map[string]any{"user": "Administrator", "password": "s3cret"}
	if _, _, err := server.Do("POST", "secret/data/luumen/windev", map[string]any{"data": secret}); err != nil {
		panic(err)
	}
	return server
})

// The report of a run, for a person; slog has it as attributes.
func ExampleReport() {
	settings, options := exampleVault() // from the UI; the agent's own environment is auth.Options{}
	hosts := []resolver.Host{
		{Name: "win-1", Fields: map[string]ref.Value{"password": ref.Parse("vault:secret/luumen/windev#password")}},
		{Name: "win-2", Fields: map[string]ref.Value{"password": ref.Parse("vault:secret/luumen/linuxdev#password")}},
		{Name: "win-3", Fields: map[string]ref.Value{"password": ref.Parse("secret/luumen/windev#password")}},
	}
	run := resolver.Resolve(context.Background(), auth.New(settings, options), hosts, resolver.Options{})
	for range run.Results() {
	}
	report := run.Report()
	fmt.Println(report.Hosts, "hosts,", report.Ready, "ready,", report.Skipped, "skipped")
	for _, cause := range report.Causes {
		fmt.Println(cause.Kind, cause.Hosts)
	}
	for _, finding := range report.Findings {
		fmt.Println(finding)
	}
	// Output:
	// 3 hosts, 2 ready, 1 skipped
	// not_found [win-2]
	// warning: password of win-3: this field looks like a reference without vault:, but is used as a literal; if it is meant as a reference, begin the field with vault:
}

// The kind of an error is for code: to compare, to count, to look up a text.
func ExampleKind() {
	vault := auth.New(auth.Settings{}, auth.Options{}) // Vault is not set up in the UI
	host := resolver.Host{Name: "win-1", Fields: map[string]ref.Value{"password": ref.Parse("vault:secret/luumen/windev#password")}}
	err := resolver.One(context.Background(), vault, host, resolver.Options{}).Err()

	fmt.Println(errors.Is(err, resolver.NotConfigured))
	if kind, ok := errors.AsType[resolver.Kind](err); ok {
		fmt.Println(string(kind))
	}
	// Output:
	// true
	// not_configured
}

func ExampleOne() {
	settings, options := exampleVault() // from the UI; the agent's own environment is auth.Options{}
	ctx := context.Background()

	vault := auth.New(settings, options)
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
