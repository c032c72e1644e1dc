// Soak runs the library for minutes against a cluster that changes all the time:
// nodes step down, die and come back, tokens expire or are revoked, callers give
// up, and secrets are rotated.
//
//	make soak           # two minutes
//	make soak SOAK=10m
//
// Each round lets several runs at once meet one event. The seed decides the order
// of events. Soak prints a line for each round and a table at the end. It exits with
// status 1 if a run returned a value that was rotated before it began, lost a host
// or gave a wrong reason, or if a token, a goroutine or memory was left behind.
// Start with main and the type soak.
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"text/tabwriter"
	"time"
)

func main() {
	duration := flag.Duration("for", 2*time.Minute, "start new rounds for this long")
	seed := flag.Uint64("seed", rand.Uint64N(1e6), "seed for the order of events")
	flag.Parse()
	fmt.Printf("running for %s with seed %d\n", *duration, *seed)
	result, err := run(*duration, rand.New(rand.NewPCG(*seed, 0)), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	result.print(os.Stdout)
	if !result.isClean() {
		fmt.Println("FAIL")
		os.Exit(1)
	}
}

// run starts a cluster, and then rounds until the time is up.
func run(duration time.Duration, random *rand.Rand, log io.Writer) (*tally, error) {
	s, err := newSoak(log)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.meet(quiet); err != nil { // before the first count: some things are made once
		return nil, err
	}
	result := &tally{events: make(map[string]int)}
	s.tally = result
	if result.before, err = s.take(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		for _, i := range random.Perm(len(events)) {
			if err := s.meet(events[i]); err != nil {
				return nil, err
			}
			if time.Now().After(end) {
				break
			}
		}
	}
	result.rotations = s.rotation.total
	result.after, err = s.settle(result.before)
	return result, err
}

// tally is the sum of all rounds.
type tally struct {
	events              map[string]int
	runs, hosts, served int
	rotations, retries  int
	longestWait         time.Duration
	stale, lost, wrong  int
	relogged            int // runs that logged in three times or more
	announced           int // tokens left behind that a warning announced
	before, after       remains
}

// remains are what a run may leave behind.
type remains struct {
	tokens, goroutines int
	heap               uint64 // bytes
}

// heapSlack is how much the heap may grow; it varies without a leak.
const heapSlack = 4 << 20

func (t *tally) leaked() int { return max(t.after.tokens-t.before.tokens-t.announced, 0) }

func (t *tally) isFlat() bool {
	return t.after.goroutines <= t.before.goroutines && t.after.heap <= t.before.heap+heapSlack
}

func (t *tally) isClean() bool {
	return t.runs > 0 && t.stale+t.lost+t.wrong+t.leaked() == 0 && t.isFlat()
}

func (t *tally) print(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer w.Flush()
	row := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	for _, e := range events {
		row("rounds: "+e.name, t.events[e.name])
	}
	row("runs", t.runs)
	row("hosts", t.hosts)
	row("hosts resolved", t.served)
	row("rotations", t.rotations)
	row("requests sent again", t.retries)
	row("runs that logged in three times or more", t.relogged)
	row("longest wait for Vault", t.longestWait.Round(time.Millisecond))
	row("stale values", t.stale)
	row("lost hosts", t.lost)
	row("wrong errors", t.wrong)
	row("leaked tokens", fmt.Sprintf("%d (%d before, %d after, %d with a warning)", t.leaked(), t.before.tokens, t.after.tokens, t.announced))
	row("goroutines", fmt.Sprintf("%d before, %d after", t.before.goroutines, t.after.goroutines))
	row("heap", fmt.Sprintf("%.1f MiB before, %.1f MiB after", float64(t.before.heap)/(1<<20), float64(t.after.heap)/(1<<20)))
}
