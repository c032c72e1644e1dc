// Demo is the agent's run loop as its developers would write it. It runs on the
// configuration in testdata/fleet.json and a real Vault, which it starts, fills,
// changes and stops. It exits with 0 only if every host ended as the
// configuration expects.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := demo(ctx, os.Stdout, filepath.Join("testdata", "fleet.json")); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo shows checks, errors and three runs.
func demo(ctx context.Context, out io.Writer, fleet string) error {
	config, err := load(fleet)
	if err != nil {
		return err
	}
	server, err := startVault()
	if err != nil {
		return err
	}
	defer server.Stop()
	config.Vault.Address = server.Address

	policy, err := policyFor(ctx, config, server.environment())
	if err != nil {
		return err
	}
	if err := server.admit(policy); err != nil {
		return err
	}
	fmt.Fprintf(out, "A fleet of %d hosts and %d integrations, and a Vault at %s. Some hosts have mistakes on purpose.\n",
		len(config.Hosts), len(config.Integrations), server.Address)
	fmt.Fprintf(out, "\nA user types a reference in the UI and presses Test after each change:\n\n")
	for _, typed := range []string{
		"secret/luumen/windev#password",
		"Vault:secret/luumen/windev#password",
		"vault:secret/luumen/windev",
		"vault:secret/luumen/windev#pasword",
		"vault:secret/luumen/windev#password",
	} {
		fmt.Fprintf(out, "  %s\n%s", typed, indented(indented(check(ctx, config, server.environment(), typed))))
	}

	if err := server.playErrors(ctx, out, config); err != nil {
		return err
	}

	wrong := 0
	for i, step := range []struct {
		title  string
		change func() error
	}{
		{"Vault is up", func() error { return nil }},
		{"a password was rotated and a secret deleted; the agent was not restarted", server.rotate},
		{fmt.Sprintf("Vault was stopped; patience is %s here, 60s by default", patience), server.shutDown},
	} {
		if err := step.change(); err != nil {
			return err
		}
		fmt.Fprintf(out, "\nRun %d: %s\n\n", i+1, step.title)
		outcomes, report := run(ctx, config, server.environment())
		printTable(out, outcomes)
		fmt.Fprintf(out, "\n%s", report)
		wrong += printUnexpected(out, outcomes, i)
	}
	fmt.Fprintf(out, "\nThe Vault policy of the agent's token, which grants exactly the references above, except those that must be corrected first:\n\n%s", indented(policy))
	if wrong > 0 {
		return errors.New("not every host ended as testdata/fleet.json expects")
	}
	fmt.Fprintln(out, "\nEvery host ended as testdata/fleet.json expects.")
	return nil
}
