package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// task is what one process does.
type task struct {
	Do       string // one of the names in obey
	Address  string
	CAFile   string
	Token    string
	Fields   string // one of the cases of fleet
	Hosts    int
	Rounds   int           // for a task that repeats its work
	Patience time.Duration // 0 means the library's own
	Watch    bool          // count goroutines, which costs time
	RunID    string
	HTTP1    bool          // vault/api speaks HTTP/1.1 instead of HTTP/2
	Slow     time.Duration // the caller's time for each result
	Deadline time.Duration // of the context; 0 means none
	Profile  string        // file for a CPU profile; empty means none
}

// outcome is what a task cost.
type outcome struct {
	Wall        time.Duration // of the work alone
	CPU         time.Duration // user and system time of the process
	Allocations int
	Peak        int64           // memory of the whole process, in bytes
	Walls       []time.Duration // for a task that repeats its work
	Ready       int             // hosts or reads that succeeded
	Requests    int
	Dials       int
	Goroutines  int // the most at one time, beyond the caller's
	Left        int // goroutines 100 ms after the work
}

// run does the task in a process of its own, with an empty environment.
func (t task) run() (outcome, error) {
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	input, err := json.Marshal(t)
	if err != nil {
		return outcome{}, err
	}
	cmd := exec.Command(self, "-child")
	cmd.Env = []string{}
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("%s of %d hosts: %w", t.Do, t.Hosts, err)
	}
	var o outcome
	return o, json.Unmarshal(output, &o)
}

// obey does the task that run sent to this process.
func obey(options) error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return err
	}
	work, ok := map[string]func(task) (outcome, error){
		"library":  library,
		"inherit":  inherit,
		"misspelt": misspelt,
		"canceled": canceled,
		"bare":     bare,
		"kv":       kv,
		"sequence": sequence,
	}[t.Do]
	if !ok {
		return fmt.Errorf("%q: no such task", t.Do)
	}
	if t.Profile != "" {
		file, err := os.Create(t.Profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
	}
	o, err := work(t)
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	o.Peak = peak()
	return json.NewEncoder(os.Stdout).Encode(o)
}

// stopwatch measures a piece of work.
type stopwatch struct {
	began       time.Time
	cpu         time.Duration
	allocations int
}

func watch() stopwatch { return stopwatch{time.Now(), cpuTime(), allocations()} }

func (s stopwatch) stop(o *outcome) {
	o.Wall, o.CPU, o.Allocations = time.Since(s.began), cpuTime()-s.cpu, allocations()-s.allocations
}

func allocations() int {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int(memory.Mallocs)
}

// library is the agent's loop over a fleet.
func library(t task) (outcome, error) {
	vault, hosts := t.connect(), t.fleet(t.Hosts)
	var o outcome
	before := runtime.NumGoroutine()
	stop := func() int { return 0 }
	if t.Watch {
		stop = countGoroutines()
	}
	w := watch()
	report, err := t.loop(vault, hosts, &o)
	w.stop(&o)
	o.Goroutines = stop() - before
	if err != nil {
		return o, err
	}
	if t.Watch {
		time.Sleep(100 * time.Millisecond)
		o.Left = runtime.NumGoroutine() - before
	}
	o.Requests, o.Dials = report.Requests, report.Connections
	return o, nil
}

// inherit is the agent's loop over one host, and then over a fleet that shares its
// fields. Walls are the differences.
func inherit(t task) (outcome, error) { return t.beyondOne() }

func (t task) beyondOne() (outcome, error) {
	vault, one, all := t.connect(), t.fleet(1), t.fleet(t.Hosts)
	var o outcome
	for range t.Rounds {
		w := watch()
		if _, err := t.loop(vault, one, &o); err != nil {
			return o, err
		}
		w.stop(&o)
		alone := o.Wall
		w = watch()
		if _, err := t.loop(vault, all, &o); err != nil {
			return o, err
		}
		w.stop(&o)
		o.Walls = append(o.Walls, o.Wall-alone)
	}
	return o, nil
}

func (t task) connect() *auth.Vault {
	variables := map[string]string{"VAULT_TOKEN": t.Token, "VAULT_CACERT": t.CAFile}
	return auth.New(auth.Settings{Address: t.Address}, auth.Options{Getenv: func(name string) string { return variables[name] }})
}

func (t task) loop(vault *auth.Vault, hosts []resolver.Host, o *outcome) (resolver.Report, error) {
	o.Ready = 0
	run := resolver.Resolve(ctx, vault, hosts, resolver.Options{Patience: t.Patience, RunID: t.RunID})
	for i, result := range run.Results() {
		ok := result.Err() == nil
		for field := range hosts[i].Fields {
			c, err := result.Credential(field)
			ok = ok && err == nil && c.Reveal() != ""
		}
		if ok {
			o.Ready++
		}
		time.Sleep(t.Slow)
	}
	report := run.Report()
	if t.Patience == 0 && t.Fields != "misspelt" && o.Ready != len(hosts) {
		return report, fmt.Errorf("only %d of %d hosts are ready: %v", o.Ready, len(hosts), report)
	}
	return report, nil
}

// fleet makes the hosts, as a configuration would.
func (t task) fleet(n int) []resolver.Host {
	hosts := make([]resolver.Host, n)
	shared := map[string]ref.Value{
		"user":     ref.Parse("vault:" + secretPath(0) + "#user"),
		"password": ref.Parse("vault:" + secretPath(0) + "#password"),
		"sudo":     ref.Parse("vault:" + secretPath(0) + "#password"),
	}
	for i := range hosts {
		hosts[i] = resolver.Host{Name: "host-" + strconv.Itoa(i) + ".example.com", Fields: shared}
		switch t.Fields {
		case "distinct":
			hosts[i].Fields = map[string]ref.Value{
				"user":     ref.Parse("vault:" + secretPath(i) + "#user"),
				"password": ref.Parse("vault:" + secretPath(i) + "#password"),
			}
		case "small", "large", "many":
			hosts[i].Fields = map[string]ref.Value{"password": ref.Parse("vault:secret/" + sizedPath(t.Fields, i) + "#password")}
		case "misspelt", "mounts":
			hosts[i].Fields = hostileFields(t.Fields, i)
		case "literal":
			hosts[i].Fields = map[string]ref.Value{
				"user":     ref.Parse("user-" + strconv.Itoa(i)),
				"password": ref.Parse("correct horse battery staple " + strconv.Itoa(i)),
			}
		}
	}
	return hosts
}

// countGoroutines counts goroutines every 100 µs until it is stopped.
func countGoroutines() (stop func() (most int)) {
	end, most := make(chan bool), make(chan int)
	go func() {
		seen := 0
		for {
			select {
			case <-end:
				most <- seen
				return
			default:
				seen = max(seen, runtime.NumGoroutine()-1)
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	return func() int {
		close(end)
		return <-most
	}
}
