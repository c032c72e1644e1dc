package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// configuration is what the Luumen API sends before each run.
type configuration struct {
	Vault        auth.Settings        `json:"vault"`
	Default      map[string]ref.Value `json:"default_credentials"`
	Hosts        []target             `json:"hosts"`
	Integrations []target             `json:"integrations"`
}

// target is a host or an integration.
type target struct {
	name        string
	credentials map[string]ref.Value // nil means the default ones
	expect      []string             // the result that each run of the demo must have
	malformed   bool                 // the entry is
}

// UnmarshalJSON never fails, so that a malformed entry costs no more than its own
// host.
func (t *target) UnmarshalJSON(data []byte) error {
	var entry struct {
		Name        string          `json:"name"`
		Credentials json.RawMessage `json:"credentials"`
		Expect      []string        `json:"expect"`
	}
	err := json.Unmarshal(data, &entry)
	t.name, t.expect = entry.Name, entry.Expect
	if err == nil && entry.Credentials != nil {
		err = json.Unmarshal(entry.Credentials, &t.credentials)
	}
	t.malformed = err != nil
	return nil
}

func load(file string) (*configuration, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var config configuration
	return &config, json.Unmarshal(data, &config)
}

// patience is short, so that the demo does not wait long for a stopped Vault.
const patience = 2 * time.Second

// run is one scheduled run of the agent.
func run(ctx context.Context, config *configuration, options auth.Options) ([]outcome, resolver.Report) {
	var targets []target
	var malformed []outcome
	for _, t := range slices.Concat(config.Hosts, config.Integrations) {
		if t.malformed {
			malformed = append(malformed, outcome{target: t, result: "malformed", detail: "its entry in the configuration"})
			continue
		}
		targets = append(targets, t)
	}
	outcomes := make([]outcome, len(targets))
	hosts := make([]resolver.Host, len(targets))
	for i, t := range targets {
		fields := t.credentials
		if fields == nil {
			fields = config.Default // hosts share the map: it is only read
		}
		hosts[i] = resolver.Host{Name: t.name, Fields: fields}
	}

	vault := auth.New(config.Vault, options)
	resolving := resolver.Resolve(ctx, vault, hosts, resolver.Options{Patience: patience})
	for i, result := range resolving.Results() {
		if err := result.Err(); err != nil {
			outcomes[i] = skipped(targets[i], err)
			continue
		}
		outcomes[i] = connect(targets[i], result)
	}
	return append(outcomes, malformed...), resolving.Report()
}

// connect stands for the agent's SSH, WinRM and HTTP clients, which call Reveal.
func connect(t target, result resolver.Result) outcome {
	o := outcome{target: t, result: "ready"}
	for _, field := range []string{"user", "password", "ssh_key", "client_id", "client_secret", "api_token"} {
		credential, err := result.Credential(field)
		switch {
		case errors.Is(err, resolver.ErrNoField):
			continue
		case err != nil || credential.Reveal() == "":
			o.result = "without " + field
		}
		o.use(field, credential)
	}
	return o
}

// skipped notes why the run skips a host.
func skipped(t target, err error) outcome {
	o := outcome{target: t}
	host, _ := errors.AsType[*resolver.HostError](err)
	for _, field := range host.Fields {
		o.fail(field.Field, field.Kind())
	}
	return o
}
