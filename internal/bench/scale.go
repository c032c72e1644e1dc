package main

import (
	"cmp"
	"fmt"
	"os"
	"text/tabwriter"
	"time"
)

var scales = []int{100, 1000, 10_000, 100_000}

// size is what a fleet of one size costs.
type size struct {
	Hosts       int           `json:"hosts"`
	Paths       int           `json:"paths"`
	Requests    int           `json:"requests"`
	Connections int           `json:"connections"`
	Memory      int64         `json:"memory"`      // peak of the process, in bytes
	Literals    int64         `json:"literals"`    // the same without references
	Time        time.Duration `json:"time"`        // with Vault on the same machine
	Bare        time.Duration `json:"bare"`        // bare net/http for the same paths
	Near        time.Duration `json:"near"`        // through the short delay
	RoundTrips  time.Duration `json:"round_trips"` // the part of Near that is delay alone
}

// scale measures fleets from small to large, with one path per host and with one
// path for all.
func (l *lab) scale() error {
	var sizes []size
	for _, fields := range []string{"distinct", "shared"} {
		for _, n := range scales {
			if n > l.options.hosts {
				break
			}
			one, err := l.sizeOf(n, fields)
			if err != nil {
				return err
			}
			sizes = append(sizes, one)
		}
	}
	printSizes(sizes)
	return writeJSON(l.options.out, sizes)
}

func (l *lab) sizeOf(n int, fields string) (size, error) {
	s := size{Hosts: n, Paths: n}
	ours := l.task("library", n)
	ours.Fields = fields
	bare := l.task("bare", n)
	if fields == "shared" {
		s.Paths, bare.Hosts = 1, 1
	}
	literal := ours
	literal.Fields = "literal"
	results := make([]outcome, 4)
	for i, t := range []task{ours, bare, literal, ours.through(l.near)} {
		var err error
		if results[i], err = l.typical(t); err != nil {
			return s, err
		}
	}
	s.Requests, s.Connections = results[0].Requests, results[0].Dials
	s.Memory, s.Literals = results[0].Peak, results[2].Peak
	s.Time, s.Bare, s.Near = results[0].Wall, results[1].Wall, results[3].Wall
	// The TLS handshakes, the token look-up and the mount list precede the reads.
	s.RoundTrips = time.Duration(1+2+(s.Paths+connections-1)/connections) * nearTrip
	return s, nil
}

// typical is the round with the median time.
func (l *lab) typical(t task) (outcome, error) {
	var all []outcome
	for range max(l.options.rounds, 1) {
		o, err := t.run()
		if err != nil {
			return outcome{}, err
		}
		all = append(all, o)
	}
	return medianBy(all, func(a, b outcome) int { return cmp.Compare(a.Wall, b.Wall) }), nil
}

func printSizes(sizes []size) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "hosts\tpaths\trequests\tconnections\tmemory\twith literals\ttime\tbare net/http\twith %v round trips\tof these alone\t\n", nearTrip)
	for _, s := range sizes {
		mib := func(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }
		fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			s.Hosts, s.Paths, s.Requests, s.Connections, mib(s.Memory), mib(s.Literals), short(s.Time), short(s.Bare), short(s.Near), short(s.RoundTrips))
	}
	table.Flush()
	fmt.Printf("\n%s\n", conditions)
}
