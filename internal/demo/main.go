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

	fmt.Fprintf(out, "%d hosts and %d integrations, and a Vault at %s.\n", len(config.Hosts), len(config.Integrations), server.Address)
	wrong := 0
	for i, step := range []struct {
		title  string
		change func() error
	}{
		{"all is up", func() error { return nil }},
		{"a password was rotated and a secret deleted, the agent was not restarted", server.rotate},
		{"Vault was stopped", server.shutDown},
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
	if wrong > 0 {
		return errors.New("not every host ended as the configuration says")
	}
	fmt.Fprintln(out, "\nEvery host ended as testdata/fleet.json says it must.")
	return nil
}
