// Bench measures the promised figures, each beside its yardstick, against a real
// Vault over TLS.
//
//	go run ./internal/bench                    # a line for each figure, and .out/bench.json
//	go run ./internal/bench -only throughput   # the figures whose names match
//	go run ./internal/bench -scale             # requests, time and memory for fleets of all sizes, and .out/scale.json
//
// Each round is a process of its own, so that its CPU time and peak memory are its
// own. Rounds of the library and of its yardstick alternate, and a ratio is the
// median over their pairs. A missed figure fails the command only with -strict.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.hosts, "hosts", 10_000, "number of hosts")
	flag.IntVar(&o.rounds, "rounds", 7, "pairs of rounds for each figure")
	flag.StringVar(&o.out, "out", "", "write the figures as JSON to this `file` (default .out/bench.json, or .out/scale.json)")
	flag.BoolVar(&o.strict, "strict", false, "exit with status 1 if a figure is missed")
	flag.BoolVar(&o.scale, "scale", false, "measure fleets of 100 to 100,000 hosts instead")
	only := flag.String("only", "", "measure only figures whose names match the `regexp`")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of each process to this `folder`")
	child := flag.Bool("child", false, "do one task, read from standard input (bench starts itself so)")
	flag.Parse()

	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	work := bench
	if *child {
		work = obey
	}
	if err := work(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	hosts, rounds int
	out, profile  string
	strict, scale bool
	only          *regexp.Regexp
}

var errMissed = errors.New("not every figure is met")

func bench(o options) error {
	began := time.Now()
	name := "bench.json"
	if o.scale {
		o.hosts, o.rounds, name = scales[len(scales)-1], 3, "scale.json"
	}
	o.out = cmp.Or(o.out, filepath.Join(".out", name))
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	lab, err := openLab(o)
	if err != nil {
		return err
	}
	defer lab.close()
	if o.scale {
		return lab.scale()
	}
	if err := lab.measure(); err != nil {
		return err
	}
	fmt.Printf("\n%s The measurement took %s.\n", conditions, time.Since(began).Round(time.Second))
	if err := writeJSON(o.out, lab.rows); err != nil {
		return err
	}
	misses := 0
	for _, r := range lab.rows {
		if r.Verdict == missed {
			misses++
		}
	}
	fmt.Printf("%d figures, %d missed.\n", len(lab.rows), misses)
	if o.strict && misses > 0 {
		return errMissed
	}
	return nil
}

func writeJSON(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}
