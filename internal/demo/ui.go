package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// check is what the UI shows below an input box when somebody presses Test.
func check(ctx context.Context, config *configuration, options auth.Options, typed string) string {
	value := ref.Parse(typed)
	if warning := value.Warning(); warning != "" {
		return "warning: this text " + warning // offline, as it is typed
	}
	if err := value.Err(); err != nil {
		return "error: " + err.Error()
	}
	verdicts := resolver.Check(ctx, auth.New(config.Vault, options), []ref.Value{value}, resolver.CheckOptions{})
	verdict := verdicts.Fields[0]
	text := fmt.Sprint(verdict.Kind)
	if verdict.Kind != resolver.OK {
		text += ": " + verdict.Reason + "; " + verdict.Fix
	}
	if verdict.Version != 0 {
		text += fmt.Sprintf(", version %d, written %s", verdict.Version, verdict.Created.Format("2006-01-02 15:04Z"))
	}
	return text
}

// policyFor is the policy that a configuration needs, without the references that must be
// corrected first.
func policyFor(ctx context.Context, config *configuration, options auth.Options) (string, error) {
	var fields []ref.Value
	for _, t := range slices.Concat([]target{{credentials: config.Default}}, config.Hosts, config.Integrations) {
		fields = slices.AppendSeq(fields, maps.Values(t.credentials))
	}
	verdicts := resolver.Check(ctx, auth.New(config.Vault, options), fields, resolver.CheckOptions{})
	if verdicts.Connection.Kind != resolver.OK {
		return "", errors.New(verdicts.Connection.Text) // mounts would be guesses
	}
	var references []ref.Ref
	for _, field := range verdicts.Fields {
		if !slices.Contains([]resolver.Kind{resolver.NotKV, resolver.KVVersion, resolver.Pinned}, field.Kind) {
			references = append(references, field.Ref)
		}
	}
	return resolver.Policy(references, verdicts.Mounts)
}
