package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
)

const conditions = "Vault runs on the same machine, over TLS. Its audit device is off, except to count reads. The token has one policy, without the default policy. The yardsticks have the same fleet in memory as the library's caller."

// measure measures each figure whose name matches.
func (l *lab) measure() error {
	for _, figure := range []struct {
		name    string
		measure func() error
	}{
		{"throughput", l.throughput}, {"nearby", l.nearby}, {"faraway", l.faraway}, {"inherited", l.inherited}, {"outage", l.outage},
		{"parsing", l.parsing}, {"memory", l.memory}, {"large", l.large}, {"hostile", l.hostile}, {"goroutines", l.goroutines},
	} {
		if !l.options.only.MatchString(figure.name) {
			continue
		}
		fmt.Printf("# %s\n", figure.name)
		if err := figure.measure(); err != nil {
			return err
		}
	}
	return nil
}

// add prints a row as soon as it is measured.
func (l *lab) add(r row) {
	r.Verdict = r.verdict()
	fmt.Println(r)
	l.rows = append(l.rows, r)
}

// inTurn runs rounds of tasks. Each task goes first equally often, so that other
// work on the machine affects all of them alike.
func (l *lab) inTurn(tasks ...task) ([][]outcome, error) {
	all := make([][]outcome, len(tasks))
	for round := range l.options.rounds {
		for n := range tasks {
			which := (n + round) % len(tasks)
			t := tasks[which]
			if l.options.profile != "" {
				t.Profile = filepath.Join(l.options.profile, fmt.Sprintf("%s-%s-%d-%d.pprof", t.Do, t.Fields, which, round))
			}
			o, err := t.run()
			if err != nil {
				return nil, err
			}
			all[which] = append(all[which], o)
		}
	}
	return all, nil
}

func each[T any](outcomes []outcome, what func(outcome) T) []T {
	all := make([]T, len(outcomes))
	for i, o := range outcomes {
		all[i] = what(o)
	}
	return all
}

func wall(o outcome) time.Duration { return o.Wall }
func cpu(o outcome) time.Duration  { return o.CPU }

func (l *lab) throughput() error {
	n := l.options.hosts
	theirs := l.task("kv", n)
	theirs.HTTP1 = true
	rounds, err := l.inTurn(l.task("library", n), l.task("bare", n), theirs, l.task("kv", n))
	if err != nil {
		return err
	}
	const nothing = 0
	work := fmt.Sprintf("%d hosts, %d paths", n, n)
	for _, yardstick := range []struct {
		name      string
		rounds    []outcome
		wall, cpu float64 // promised
	}{
		{"bare net/http", rounds[1], 1.10, 1.45},
		{"KVv2.Get over HTTP/1.1", rounds[2], 1.05, 1.05},
		{"KVv2.Get with its default HTTP/2", rounds[3], nothing, nothing},
	} {
		for _, figure := range []struct {
			name     string
			what     func(outcome) time.Duration
			per      int
			promised float64
		}{
			{"wall time", wall, 1, yardstick.wall}, {"client CPU", cpu, n, yardstick.cpu},
		} {
			ours, others := each(rounds[0], figure.what), each(yardstick.rounds, figure.what)
			r := row{Work: work, Figure: figure.name + " relative to " + yardstick.name, Unit: "×", Rounds: ratios(ours, others)}
			r.Measured = median(r.Rounds)
			r.Beside = fmt.Sprintf("%s against %s", short(median(ours)/time.Duration(figure.per)), short(median(others)/time.Duration(figure.per)))
			if figure.per > 1 {
				r.Beside += fmt.Sprintf(" per read, with %d against %d allocations", rounds[0][0].Allocations/n, yardstick.rounds[0].Allocations/n)
			}
			if figure.promised != nothing {
				r.Promised = &figure.promised
			}
			l.add(r)
		}
	}
	return nil
}

// faster compares the library with reading in sequence. The numbers of hosts and
// reads are small enough for a round to take seconds.
func (l *lab) faster(work string, ours, sequence task, promised *float64) error {
	rounds, err := l.inTurn(ours, sequence)
	if err != nil {
		return err
	}
	perOurs := each(rounds[0], func(o outcome) time.Duration { return o.Wall / time.Duration(ours.Hosts) })
	perTheirs := each(rounds[1], func(o outcome) time.Duration { return o.Wall / time.Duration(sequence.Hosts) })
	r := ratios(perTheirs, perOurs)
	l.add(row{
		Work: work, Figure: "wall time", Measured: median(r), Unit: "× faster", Promised: promised, AtLeast: true, Rounds: r,
		Beside: fmt.Sprintf("%s against %s of vault/api in sequence (projected from %d reads)", short(median(each(rounds[0], wall))), short(median(perTheirs)*time.Duration(ours.Hosts)), sequence.Hosts),
	})
	return nil
}

func (l *lab) nearby() error {
	n := l.options.hosts
	return l.faster(fmt.Sprintf("%d hosts, %d paths, %v round trip", n, n, nearTrip),
		l.task("library", n).through(l.near), l.task("sequence", 300).through(l.near), new(12.0))
}

func (l *lab) faraway() error {
	n := min(l.options.hosts, 1000)
	return l.faster(fmt.Sprintf("%d hosts, %d paths, %v round trip", n, n, farTrip),
		l.task("library", n).through(l.far), l.task("sequence", 40).through(l.far), nil)
}

// inherited counts reads in Vault's audit file, and measures time on a Vault
// without an audit device.
func (l *lab) inherited() error {
	n := l.options.hosts
	const fields, repeats = 3, 20
	work := fmt.Sprintf("%d hosts × %d fields inheriting a path", n, fields)
	reads, err := l.countReads(n)
	if err != nil {
		return err
	}
	t := l.task("inherit", n)
	t.Fields, t.Rounds = "shared", repeats
	rounds, err := l.inTurn(t)
	if err != nil {
		return err
	}
	walls := each(rounds[0], func(o outcome) time.Duration { return median(o.Walls) })
	perField := make([]float64, len(walls))
	for i, w := range walls {
		perField[i] = micros(w) / float64(n*fields)
	}
	l.add(row{Work: work, Figure: "reads in Vault's audit file", Measured: float64(reads), Promised: new(1.0)})
	l.add(row{
		Work: work, Figure: "time per field beyond the requests", Measured: median(perField), Unit: "µs", Promised: new(1.0), Rounds: perField,
		Beside: short(median(walls)) + " more than for one host",
	})
	return nil
}

func (l *lab) countReads(hosts int) (int, error) {
	vault, err := vaulttest.Start(vaulttest.Config{TLS: true})
	if err != nil {
		return 0, err
	}
	defer vault.Stop()
	if err := fill(vault, hostSecrets(1)); err != nil {
		return 0, err
	}
	t := task{Do: "library", Address: vault.Address, CAFile: vault.CAFile, Fields: "shared", Hosts: hosts, RunID: "count"}
	if t.Token, err = newReader(vault); err != nil {
		return 0, err
	}
	if _, err := t.run(); err != nil {
		return 0, err
	}
	requests, err := vault.Requests("run/" + t.RunID)
	reads := 0
	for _, r := range requests {
		if r.Path == apiPath(0) {
			reads++
		}
	}
	return reads, err
}

// outage measures three kinds of dead server.
func (l *lab) outage() error {
	n := l.options.hosts
	const patience = 3 * time.Second
	servers := []struct {
		name string
		make func() (*dead, error)
	}{{"refuses", refuses}, {"hangs up", hangsUp}, {"is silent", silent}}
	for _, server := range servers {
		var waits, dials []float64
		for range l.options.rounds {
			d, err := server.make()
			if err != nil {
				return err
			}
			t := l.task("library", n)
			t.Address, t.Patience = d.address, patience
			o, err := t.run()
			d.close()
			if err != nil {
				return err
			}
			if o.Ready != 0 {
				return fmt.Errorf("%d hosts are ready without a Vault", o.Ready)
			}
			waits = append(waits, o.Wall.Seconds()/patience.Seconds())
			dials = append(dials, float64(max(o.Dials, int(d.dials.Load()))))
		}
		work := fmt.Sprintf("%d hosts, dead Vault that %s", n, server.name)
		l.add(row{Work: work, Figure: "last result", Beside: fmt.Sprintf("patience is %v", patience), Measured: median(waits), Unit: "× patience", Promised: new(1.1), Rounds: waits})
		l.add(row{Work: work, Figure: "dials", Measured: median(dials), Promised: new(12.0), Rounds: dials})
	}
	return nil
}

func (l *lab) parsing() error {
	const field, times = "vault:secret/luumen/windev#password", 400_000
	clock := func(parse func()) time.Duration {
		began := time.Now()
		for range times {
			parse()
		}
		return time.Since(began) / times
	}
	var ours, theirs []time.Duration
	for range 15 {
		ours = append(ours, clock(func() { ref.Parse(field) }))
		theirs = append(theirs, clock(func() { url.Parse(field) }))
	}
	r := ratios(ours, theirs)
	const work = "parse one reference"
	l.add(row{
		Work: work, Figure: "time relative to url.Parse", Measured: median(r), Unit: "×", Promised: new(1.0), Rounds: r,
		Beside: short(median(ours)) + " against " + short(median(theirs)),
	})
	l.add(row{Work: work, Figure: "allocations", Measured: testing.AllocsPerRun(1000, func() { ref.Parse(field) }), Promised: new(0.0)})
	return nil
}

func mib(o outcome) float64 { return float64(o.Peak) / (1 << 20) }

// more is a row about how much more memory one task needs than another.
func more(work, than string, ours, theirs []outcome) row {
	a, b := each(ours, mib), each(theirs, mib)
	differences := make([]float64, len(a))
	for i := range a {
		differences[i] = a[i] - b[i]
	}
	return row{
		Work: work, Figure: "peak memory above " + than, Measured: median(differences), Unit: "MiB", Promised: new(48.0), Rounds: differences,
		Beside: number(median(a), "MiB") + " against " + number(median(b), "MiB"),
	}
}

func (l *lab) memory() error {
	n := l.options.hosts
	literal := l.task("library", n)
	literal.Fields = "literal"
	rounds, err := l.inTurn(l.task("library", n), literal)
	if err != nil {
		return err
	}
	l.add(more(fmt.Sprintf("%d hosts, %d paths", n, n), "that of literals", rounds[0], rounds[1]))
	return nil
}

// large measures the memory for secrets of which the fields use a small part, while
// the caller is slower than the reads.
func (l *lab) large() error {
	var tasks []task
	for _, kind := range secretSizes {
		t := l.task("library", largeSecrets)
		t.Fields, t.Slow = kind, 20*time.Millisecond
		tasks = append(tasks, t)
	}
	rounds, err := l.inTurn(tasks...)
	if err != nil {
		return err
	}
	l.add(more(fmt.Sprintf("%d secrets of 1 MB in one value, slow caller", largeSecrets), "that of small ones", rounds[1], rounds[0]))
	l.add(more(fmt.Sprintf("%d secrets of 1 MB in many keys, slow caller", largeSecrets), "that of small ones", rounds[2], rounds[0]))
	return nil
}

func (l *lab) goroutines() error {
	few, many := l.task("library", min(100, l.options.hosts)), l.task("library", l.options.hosts)
	few.Watch, many.Watch = true, true
	rounds, err := l.inTurn(many, few)
	if err != nil {
		return err
	}
	most := func(o outcome) float64 { return float64(o.Goroutines) }
	left := func(o outcome) float64 { return float64(o.Left) }
	work := fmt.Sprintf("goroutines for %d hosts", many.Hosts)
	l.add(row{
		Work: work, Figure: "at most", Measured: median(each(rounds[0], most)), Promised: new(4.0*connections + 8), Rounds: each(rounds[0], most),
		Beside: fmt.Sprintf("%s for %d hosts", number(median(each(rounds[1], most)), ""), few.Hosts),
	})
	l.add(row{Work: work, Figure: "100 ms after the run", Measured: median(each(rounds[0], left)), Promised: new(0.0), Rounds: each(rounds[0], left)})
	return nil
}
