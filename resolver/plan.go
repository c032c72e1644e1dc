package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/session"
	"github.com/luumen/patch-vault/ref"
)

// plan is what a run has to do: hosts with their fields, and the distinct
// paths to read for them.
type plan struct {
	hosts     []host
	reads     []*read  // in the order of the hosts
	immediate []int    // hosts that need no read
	odd       examples // of literals that look mistyped
	complete  chan int // hosts whose last path has been read; has room for all

	config    *session.Config
	configErr error // why there is none

	mu   sync.Mutex // guards what next, elsewhere and settle change
	from int        // reads before it are taken
}

// host is one host of the run.
type host struct {
	name    string
	fields  []field // sorted by name
	pending int     // reads under way
}

// field is one credential field of a host: a literal, a reference to be read,
// or invalid.
type field struct {
	name  string
	value ref.Value
	read  *read // nil if the value is no reference
}

// read is one path and version to read.
type read struct {
	path    string
	version int // 0 means the latest
	hosts   []int
	fields  int  // that have yet to get their part of the secret
	taken   bool // by one who reads it
	settled bool
	secret  *secret // nil, too, when no field wants it any more
	err     error
	ofRun   bool   // err is the whole run's
	mount   mount  // where the path was found to lie
	sent    bool   // Vault was asked for it
	almost  string // custom metadata whose name is almost luumen_hosts; empty if there is none
}

func newPlan(vault *auth.Vault, hosts []Host) *plan {
	p := &plan{hosts: make([]host, len(hosts))}
	p.config, p.configErr = vault.Session()
	readFor := p.grouping()
	total := 0
	for i := range hosts {
		total += len(hosts[i].Fields)
	}
	all := make([]field, 0, total) // one allocation for the fields of all hosts
	for i, given := range hosts {
		start := len(all)
		all = appendFields(all, given.Fields)
		h := &p.hosts[i]
		h.name, h.fields = given.Name, all[start:len(all):len(all)]
		for j := range h.fields {
			f := &h.fields[j]
			if r := f.value.Ref(); !r.IsZero() {
				f.read = readFor(r)
				f.read.fields++
				f.read.awaitedBy(i, h)
			} else if warning := f.value.Warning(); warning != "" && !f.isEmpty() {
				p.odd.add(h.name + ": " + f.name + " " + warning)
			}
		}
		if h.pending == 0 {
			p.immediate = append(p.immediate, i)
		}
	}
	p.complete = make(chan int, len(hosts)-len(p.immediate))
	return p
}

// appendFields appends the fields that are there, sorted by name.
func appendFields(all []field, fields map[string]ref.Value) []field {
	start := len(all)
	for name, value := range fields {
		if !value.IsZero() {
			all = append(all, field{name: name, value: value})
		}
	}
	slices.SortFunc(all[start:], func(a, b field) int { return strings.Compare(a.name, b.name) })
	return all
}

// grouping returns what finds the one read of all references to the same path
// and version. A read that the pins do not permit has ended before it began.
func (p *plan) grouping() (readFor func(ref.Ref) *read) {
	type key struct {
		path    string
		version int
	}
	known := make(map[key]*read)
	return func(r ref.Ref) *read {
		k := key{r.Path(), r.Version()}
		one := known[k]
		if one == nil {
			one = &read{path: k.path, version: k.version}
			if p.config != nil {
				one.err = p.config.Permits(k.path)
			}
			known[k] = one
			if one.settled = one.err != nil; !one.settled {
				p.reads = append(p.reads, one)
			}
		}
		return one
	}
}

// awaitedBy has the host wait for the read, once for all of its fields.
func (r *read) awaitedBy(i int, h *host) {
	if n := len(r.hosts); r.settled || n > 0 && r.hosts[n-1] == i {
		return
	}
	r.hosts = append(r.hosts, i)
	h.pending++
}

// next takes the next read; nil if none is left.
func (p *plan) next() *read {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; p.from < len(p.reads); p.from++ {
		if r := p.reads[p.from]; !r.taken {
			r.taken = true
			return r
		}
	}
	return nil
}

// elsewhere takes a read that is likely to have nothing in common with those
// under way: far from them, and of a mount with none of them if there is one.
func (p *plan) elsewhere(mounts *mountTable) *read {
	p.mu.Lock()
	defer p.mu.Unlock()
	mountOf := func(r *read) string { m, _ := mounts.find(r.path); return m.Path }
	busy := make(map[string]bool)
	for _, r := range p.reads {
		if r.taken && !r.settled {
			busy[mountOf(r)] = true
		}
	}
	var found *read
	for _, r := range slices.Backward(p.reads) {
		if r.taken {
			continue
		}
		if idle := !busy[mountOf(r)]; idle || found == nil {
			found = r
			if idle {
				break
			}
		}
	}
	if found != nil {
		found.taken = true
	}
	return found
}

// settle takes down how a read ended; only the first time counts.
func (p *plan) settle(r *read, s *secret, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.settled {
		r.secret, r.err = s, err
		p.finish(r)
	}
}

// settleAll ends all reads that have not ended yet with the run's error.
func (p *plan) settleAll(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reads {
		if !r.settled {
			r.err, r.ofRun = err, true
			p.finish(r)
		}
	}
}

// finish hands on the hosts that waited for nothing but this read.
func (p *plan) finish(r *read) {
	r.settled = true
	for _, i := range r.hosts {
		if p.hosts[i].pending--; p.hosts[i].pending == 0 {
			p.complete <- i
		}
	}
}

// session logs in for the reads, and for use.
func (p *plan) session(ctx context.Context, options session.Options, use func(context.Context, *session.Session) error) (session.Summary, error) {
	if p.configErr != nil {
		return session.Summary{}, p.configErr
	}
	return session.Do(ctx, p.config, options, use)
}

// isEmpty holds for the empty literal, of which the UI warns who typed it: to a
// host, it is a password like any other.
func (f *field) isEmpty() bool {
	text, ok := f.value.Reveal()
	return ok && text == ""
}

// oddLiterals warn of literals that look mistyped: hosts will refuse them, and
// nobody would know why.
func (p *plan) oddLiterals() []Finding {
	return p.odd.finding(nil, Finding{Code: OddField, Text: "what looks mistyped is used as it stands, as a literal"})
}

// misspeltHosts warn of secrets that were read and go to every host by mistake.
func (p *plan) misspeltHosts() []Finding {
	var misspelt examples
	for _, r := range p.reads {
		if r.almost != "" {
			misspelt.add(fmt.Sprintf("%q of %s", r.almost, r.path))
		}
	}
	return misspelt.finding(nil, hostsMisspelt)
}

// examples are things that are counted, of which the first stands for all.
type examples struct {
	first string
	count int
}

func (e *examples) add(one string) {
	if e.count++; e.count == 1 {
		e.first = one
	}
}

// finding appends the finding about them, if there are any.
func (e *examples) finding(findings []Finding, f Finding) []Finding {
	switch {
	case e.count == 0:
		return findings
	case e.count == 1:
		f.Detail = e.first
	default:
		f.Detail = fmt.Sprintf("%s, and %d more", e.first, e.count-1)
	}
	return append(findings, f)
}

func badReference(err error) error {
	syntax := err.(*ref.SyntaxError)
	return &fault.Error{Kind: fault.BadReference, What: syntax.Error(), Fix: syntax.Fix, Cause: syntax}
}
