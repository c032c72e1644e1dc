package resolver_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// configuration is what the agent gets from its API before each run.
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

// logToOutput sends the log to the example's output, without times, until back is called.
func logToOutput() (back func()) {
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	return func() {
		slog.SetDefault(before)
		log.SetOutput(writer) // SetDefault has led package log to slog, and does not lead it back
		log.SetFlags(flags)
	}
}

// connectTo stands for the agent's own work.
func connectTo(host, user, password string) { fmt.Println("connecting to", host, "as", user) }

func ExampleResolve() {
	config, options := exampleConfiguration(`[
		{"Name": "win-1", "Credentials": {"user": "vault:secret/luumen/windev#user", "password": "vault:secret/luumen/windev#password"}},
		{"Name": "win-2", "Credentials": {"user": "vault:secret/luumen/windev#user", "password": "vault:secret/luumen/windev#pasword"}},
		{"Name": "lin-1", "Credentials": {"user": "root", "password": "a literal"}},
		{"Name": "lin-2", "Credentials": {"user": "root"}}]`)
	ctx := context.Background()
	defer logToOutput()()

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
		user, errUser := result.Credential("user")
		password, errPassword := result.Credential("password")
		if err := cmp.Or(errUser, errPassword); err != nil { // it has no such field
			slog.Error("host skipped", "host", result.Host(), "error", err)
			continue
		}
		connectTo(hosts[i].Name, user.Reveal(), password.Reveal())
	}
	for _, cause := range run.Report().Causes {
		slog.Error("hosts skipped", "cause", cause)
	}

	// Unordered output:
	// connecting to lin-1 as root
	// connecting to win-1 as Administrator
	// level=ERROR msg="host skipped" host=lin-2 error="password: the host has no such field"
	// level=ERROR msg="hosts skipped" cause.kind=no_key cause.reason="password: vault:secret/luumen/windev#pasword: no key \"pasword\" at version 1; did you mean \"password\"?" cause.skipped=1 cause.hosts=[win-2]
}

// The report of a run, for a person; slog has it as attributes.
func ExampleReport() {
	config, options := exampleConfiguration(`[
		{"Name": "win-1", "Credentials": {"password": "vault:secret/luumen/windev#password"}},
		{"Name": "win-2", "Credentials": {"password": "vault:secret/luumen/linuxdev#password"}},
		{"Name": "win-3", "Credentials": {"password": "secret/luumen/windev#password"}}]`)
	var hosts []resolver.Host
	for _, h := range config.Hosts {
		hosts = append(hosts, resolver.Host{Name: h.Name, Fields: h.Credentials})
	}
	run := resolver.Resolve(context.Background(), auth.New(config.Vault, options), hosts, resolver.Options{})
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
	// warning: a literal looks mistyped; it is used as it is (win-3: password looks like a reference without vault:, but is used as a literal; if it is meant as a reference, begin the field with vault:)
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
