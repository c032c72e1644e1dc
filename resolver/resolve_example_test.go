package resolver_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// configuration is what the agent gets from its API before each run.
type configuration struct {
	Vault auth.Settings
	Hosts []target
}

// target is a host or an integration.
type target struct {
	Name        string
	Credentials map[string]ref.Value
}

// UnmarshalJSON never fails: a malformed entry becomes an error of its own host, and
// costs no other host.
func (t *target) UnmarshalJSON(data []byte) error {
	var entry struct {
		Name        string
		Credentials map[string]ref.Value
	}
	err := json.Unmarshal(data, &entry)
	*t = target(entry)
	if err != nil {
		var malformed ref.Value
		malformed.UnmarshalJSON([]byte("[]"))
		t.Credentials = map[string]ref.Value{"credentials": malformed}
	}
	return nil
}

// One run of the agent, from the JSON of its API to the connections. Settings, errors
// of hosts and what to log are all in it.
func ExampleResolve() {
	settings, options := exampleVault() // the agent's own environment is auth.Options{}
	data := fmt.Appendf(nil, `{
		"vault": {"address": %q},
		"hosts": [
			{"name": "win-1", "credentials": {"user": "vault:secret/luumen/windev#user", "password": "vault:secret/luumen/windev#password"}},
			{"name": "win-2", "credentials": {"user": "vault:secret/luumen/windev#user", "password": "vault:secret/luumen/windev#pasword"}},
			{"name": "win-3", "credentials": ["malformed"]},
			{"name": "lin-1", "credentials": {"user": "root", "password": "a literal"}},
			{"name": "lin-2", "credentials": {"user": "root"}}]}`, settings.Address)
	ctx := context.Background()
	defer logToOutput()()

	var config configuration
	if err := json.Unmarshal(data, &config); err != nil {
		slog.Error("the configuration is not JSON", "error", err)
		return
	}
	hosts := make([]resolver.Host, len(config.Hosts))
	for i, host := range config.Hosts {
		hosts[i] = resolver.Host{Name: host.Name, Fields: host.Credentials}
	}
	vault := auth.New(config.Vault, options)
	run := resolver.Resolve(ctx, vault, hosts, resolver.Options{})
	for i, result := range run.Results() {
		if result.Err() != nil {
			continue // skipped; the report has the reason, once for all hosts that share it
		}
		user, errUser := result.Credential("user")
		password, errPassword := result.Credential("password")
		if err := cmp.Or(errUser, errPassword); err != nil { // it has no such field
			slog.Error("host skipped", "host", hosts[i].Name, "error", err)
			continue
		}
		connectTo(hosts[i].Name, user.Reveal(), password.Reveal())
	}
	if report := run.Report(); report.Skipped > 0 {
		slog.Error("hosts skipped", "run", report)
	} else {
		slog.Info("all hosts have their credentials", "run", report)
	}

	// Unordered output:
	// connecting to lin-1 as root
	// connecting to win-1 as Administrator
	// level=ERROR msg="host skipped" host=lin-2 error="password: the host has no such field"
	// level=ERROR msg="hosts skipped" run.hosts=5 run.ready=3 run.skipped=2 run.causes="[bad_reference: credentials: field at byte 0: neither a string nor an object; write vault:PATH#KEY, such as vault:secret/luumen/windev#password, or put a literal in quotes: win-3 skipped no_key: password: vault:secret/luumen/windev#pasword: no key \"pasword\" at version 1; did you mean \"password\"?: win-2 skipped]"
}

// connectTo stands for the agent's own work.
func connectTo(host, user, password string) { fmt.Println("connecting to", host, "as", user) }

// logToOutput sends the log to the example's output, without what each run has of its
// own, until back is called.
func logToOutput() (back func()) {
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || len(groups) > 0 && !slices.Contains([]string{"hosts", "ready", "skipped", "causes"}, a.Key) {
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
