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
	malformed   bool
}

// UnmarshalJSON never fails, so that a malformed entry costs no other host.
func (t *target) UnmarshalJSON(data []byte) error {
	var entry struct {
		Name        string
		Credentials map[string]ref.Value
	}
	err := json.Unmarshal(data, &entry)
	*t = target{entry.Name, entry.Credentials, err != nil}
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
	var hosts []resolver.Host
	for _, host := range config.Hosts {
		if host.malformed {
			slog.Error("host skipped", "host", host.Name, "error", "its entry is not an object with a name and an object of credentials")
			continue
		}
		hosts = append(hosts, resolver.Host{Name: host.Name, Fields: host.Credentials})
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
	report := run.Report()
	for _, cause := range report.Causes {
		slog.Error("hosts skipped", "cause", cause) // with the names of all of them
	}
	report.Causes = nil // they are logged
	slog.Info("run ended", "report", report)

	// Unordered output:
	// connecting to lin-1 as root
	// connecting to win-1 as Administrator
	// level=ERROR msg="host skipped" host=win-3 error="its entry is not an object with a name and an object of credentials"
	// level=ERROR msg="host skipped" host=lin-2 error="password: the host has no such field"
	// level=ERROR msg="hosts skipped" cause.kind=no_key cause.error="vault:secret/luumen/windev#pasword: no key \"pasword\" at version 1; did you mean \"password\"?" cause.skipped=1 cause.hosts=[win-2]
	// level=INFO msg="run ended" report.hosts=4 report.ready=3 report.skipped=1
}

// connectTo stands for the agent's own work.
func connectTo(host, user, password string) { fmt.Println("connecting to", host, "as", user) }

// logToOutput sends the log to the example's output, without what each run has of its
// own, until back is called.
func logToOutput() (back func()) {
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || len(groups) > 0 && groups[0] != "cause" && !slices.Contains([]string{"hosts", "ready", "skipped", "causes"}, a.Key) {
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
