// Demo is the agent's run loop as its developers would write it, on the
// configuration in testdata/fleet.json and a real Vault that it starts, fills,
// changes and stops. It exits with 0 only if every host ended as the
// configuration says it must.
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

// demo plays three runs and prints each as a table.
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

	policy, err := policyFor(config)
	if err != nil {
		return err
	}
	if err := server.admit(policy); err != nil {
		return err
	}
	fmt.Fprintf(out, "A fleet of %d hosts and %d integrations, and a Vault at %s. Some hosts have a mistake that the run must name.\n",
		len(config.Hosts), len(config.Integrations), server.Address)
	fmt.Fprintf(out, "\nSomebody types a password's reference in the UI, and presses Test each time:\n\n")
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
		{"all is up", func() error { return nil }},
		{"a password was rotated and a secret deleted, the agent was not restarted", server.rotate},
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
	fmt.Fprintf(out, "\nThe policy that the fleet's references ask for, mistakes included, as the UI writes it for the Vault administrator:\n\n%s", indented(policy))
	if wrong > 0 {
		return errors.New("not every host ended as the configuration says")
	}
	fmt.Fprintln(out, "\nEvery host ended as testdata/fleet.json says it must.")
	return nil
}
