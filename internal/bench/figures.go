package main

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
)

const conditions = "Vault runs on the same machine, over TLS, its audit device off but for the count of reads; the token has one policy, and not the default one"

func (l *lab) figures() ([]row, error) {
	var rows []row
	for _, measure := range []func() ([]row, error){
		l.throughput, l.nearby, l.faraway, l.inherited, l.outage, parsing, l.memory, l.goroutines,
	} {
		more, err := measure()
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// pair is a round of the library and one of its yardstick.
type pair struct{ ours, yardstick []outcome }

// inTurn runs rounds of two tasks, each going first every other time.
func (l *lab) inTurn(ours, yardstick task) (p pair, err error) {
	for i := range l.options.rounds {
		tasks := []task{ours, yardstick}
		results := make([]outcome, 2)
		for n := range tasks {
			which := (n + i) % 2
			if results[which], err = tasks[which].run(); err != nil {
				return p, err
			}
		}
		p.ours, p.yardstick = append(p.ours, results[0]), append(p.yardstick, results[1])
	}
	return p, nil
}

func each[T any](outcomes []outcome, what func(outcome) T) []T {
	all := make([]T, len(outcomes))
	for i, o := range outcomes {
		all[i] = what(o)
	}
	return all
}

func wall(o outcome) time.Duration { return o.Wall }

func (l *lab) throughput() ([]row, error) {
	n := l.options.hosts
	p, err := l.inTurn(l.task("library", n), l.task("bare", n))
	if err != nil {
		return nil, err
	}
	work := fmt.Sprintf("%d hosts, %d paths", n, n)
	perRead := func(o outcome) time.Duration { return o.CPU / time.Duration(n) }
	compare := func(figure string, what func(outcome) time.Duration, promised float64) row {
		ours, theirs := each(p.ours, what), each(p.yardstick, what)
		r := ratios(ours, theirs)
		return row{
			Work: work, Figure: figure, Measured: median(r), Unit: "×", Promised: &promised, Rounds: r,
			Ours: short(median(ours)), Yardstick: "bare net/http " + short(median(theirs)),
		}
	}
	return []row{
		compare("wall time", wall, 1.10),
		compare("client CPU per read", perRead, 1.25),
	}, nil
}

// faster compares the library with reading in sequence; hosts and reads are
// few enough for a round to take seconds.
func (l *lab) faster(work string, ours, sequence task, promised *float64) (row, error) {
	p, err := l.inTurn(ours, sequence)
	if err != nil {
		return row{}, err
	}
	perOurs := each(p.ours, func(o outcome) time.Duration { return o.Wall / time.Duration(ours.Hosts) })
	perTheirs := each(p.yardstick, func(o outcome) time.Duration { return o.Wall / time.Duration(sequence.Hosts) })
	r := ratios(perTheirs, perOurs)
	return row{
		Work: work, Figure: "wall time", Measured: median(r), Unit: "× faster", Promised: promised, AtLeast: true, Rounds: r,
		Ours:      short(median(each(p.ours, wall))),
		Yardstick: fmt.Sprintf("vault/api in sequence %s (from %d reads)", short(median(perTheirs)*time.Duration(ours.Hosts)), sequence.Hosts),
	}, nil
}

func (l *lab) nearby() ([]row, error) {
	n := l.options.hosts
	r, err := l.faster(fmt.Sprintf("the same, %v round trip", nearTrip),
		l.task("library", n).through(l.near), l.task("sequence", 300).through(l.near), new(12.0))
	return []row{r}, err
}

func (l *lab) faraway() ([]row, error) {
	n := min(l.options.hosts, 1000)
	r, err := l.faster(fmt.Sprintf("%d hosts, %d paths, %v round trip", n, n, farTrip),
		l.task("library", n).through(l.far), l.task("sequence", 40).through(l.far), nil)
	return []row{r}, err
}

// inherited counts the reads by Vault's own audit file, and takes the time
// where no audit device costs any.
func (l *lab) inherited() ([]row, error) {
	n := l.options.hosts
	const fields, repeats = 3, 20
	work := fmt.Sprintf("%d hosts × %d fields inheriting a path", n, fields)
	reads, err := l.countReads(n)
	if err != nil {
		return nil, err
	}
	t := l.task("inherit", n)
	t.Fields, t.Rounds = "shared", repeats
	var walls []time.Duration
	for range l.options.rounds {
		o, err := t.run()
		if err != nil {
			return nil, err
		}
		walls = append(walls, median(o.Walls))
	}
	perField := make([]float64, len(walls))
	for i, w := range walls {
		perField[i] = float64(w.Nanoseconds()) / 1000 / float64(n*fields)
	}
	return []row{
		{Work: work, Figure: "reads", Ours: "by Vault's audit file", Measured: float64(reads), Promised: new(1.0)},
		{
			Work: work, Figure: "time per field beyond the requests", Measured: median(perField), Unit: "µs", Promised: new(1.0), Rounds: perField,
			Ours: short(median(walls)) + " in all", Yardstick: "less the same for one host",
		},
	}, nil
}

func (l *lab) countReads(hosts int) (int, error) {
	vault, err := vaulttest.Start(vaulttest.Config{TLS: true})
	if err != nil {
		return 0, err
	}
	defer vault.Stop()
	if err := fill(vault, 1); err != nil {
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

// outage has three ways of being dead take their time at once, for they do
// nothing with it.
func (l *lab) outage() ([]row, error) {
	n := l.options.hosts
	const patience = 3 * time.Second
	ways := []struct {
		name string
		make func() (*dead, error)
	}{{"refuses", refuses}, {"hangs up", hangsUp}, {"is silent", silent}}
	var rows []row
	for _, way := range ways {
		var waits, dials []float64
		for range l.options.rounds {
			d, err := way.make()
			if err != nil {
				return nil, err
			}
			t := l.task("library", n)
			t.Address, t.Patience = d.address, patience
			o, err := t.run()
			d.close()
			if err != nil {
				return nil, err
			}
			if o.Ready != 0 {
				return nil, fmt.Errorf("%d hosts are ready without a Vault", o.Ready)
			}
			waits = append(waits, o.Wall.Seconds()/patience.Seconds())
			dials = append(dials, float64(max(o.Dials, int(d.dials.Load()))))
		}
		work := fmt.Sprintf("%d hosts, Vault dead: it %s", n, way.name)
		rows = append(rows,
			row{Work: work, Figure: "last result", Ours: fmt.Sprintf("patience %v", patience), Measured: median(waits), Unit: "× patience", Promised: new(1.1), Rounds: waits},
			row{Work: work, Figure: "dials", Measured: median(dials), Promised: new(12.0), Rounds: dials},
		)
	}
	return rows, nil
}

func parsing() ([]row, error) {
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
	work := "parse one reference"
	return []row{
		{
			Work: work, Figure: "time", Measured: median(r), Unit: "×", Promised: new(1.25), Rounds: r,
			Ours: short(median(ours)), Yardstick: "url.Parse " + short(median(theirs)),
		},
		{Work: work, Figure: "allocations", Measured: testing.AllocsPerRun(1000, func() { ref.Parse(field) }), Promised: new(0.0)},
	}, nil
}

func (l *lab) memory() ([]row, error) {
	n := l.options.hosts
	literal := l.task("library", n)
	literal.Fields = "literal"
	p, err := l.inTurn(l.task("library", n), literal)
	if err != nil {
		return nil, err
	}
	mib := func(o outcome) float64 { return float64(o.Peak) / (1 << 20) }
	ours, theirs := each(p.ours, mib), each(p.yardstick, mib)
	more := make([]float64, len(ours))
	for i := range ours {
		more[i] = ours[i] - theirs[i]
	}
	return []row{{
		Work: fmt.Sprintf("memory, %d hosts, %d paths", n, n), Figure: "peak of the process", Measured: median(more), Unit: "MiB more", Promised: new(48.0), Rounds: more,
		Ours: number(median(ours), "MiB"), Yardstick: "the same with literals " + number(median(theirs), "MiB"),
	}}, nil
}

func (l *lab) goroutines() ([]row, error) {
	few, many := l.task("library", min(100, l.options.hosts)), l.task("library", l.options.hosts)
	few.Watch, many.Watch = true, true
	p, err := l.inTurn(many, few)
	if err != nil {
		return nil, err
	}
	most := func(o outcome) float64 { return float64(o.Goroutines) }
	left := func(o outcome) float64 { return float64(o.Left) }
	work := "goroutines"
	return []row{
		{
			Work: work, Figure: fmt.Sprintf("at most, %d hosts", many.Hosts), Measured: median(each(p.ours, most)), Promised: new(4.0*connections + 8),
			Yardstick: fmt.Sprintf("%d hosts: %s", few.Hosts, number(median(each(p.yardstick, most)), "")), Rounds: each(p.ours, most),
		},
		{Work: work, Figure: "100 ms after the run", Measured: median(each(p.ours, left)), Promised: new(0.0), Rounds: each(p.ours, left)},
	}, nil
}
