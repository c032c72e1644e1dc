package resolver

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// plan is what a run has to do: hosts with their fields, and the distinct
// paths to read for them.
type plan struct {
	vault     *auth.Vault
	invalid   error // why Vault cannot be used
	hosts     []host
	reads     []*read  // in the order of the hosts
	immediate []int    // hosts that need no read
	odd       examples // of literals that look mistyped
	complete  chan int // hosts whose last path has been read; has room for all

	mu sync.Mutex // guards what settle changes
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
	name   string
	value  ref.Value
	read   *read   // nil if the value is no reference
	wanted *wanted // likewise
}

// read is one path and version to read.
type read struct {
	path    string
	version int // 0 means the latest
	wanted  []*wanted
	hosts   []int
	settled bool
	secret  *secret
	err     error
	mount   mount // where the path lies
	visible bool  // the token can see the mount, as far as Vault told
	sent    bool  // Vault was asked for it
}

// wanted is a key of a secret that fields ask for, and its value once the read is
// settled.
type wanted struct {
	key    string
	fields int // that have yet to get it
	found
}

// found is the value of a key.
type found struct {
	text   string // of a string, itself; of a number or a boolean, its exact JSON
	number bool
	err    error // why there is no text
}

func newPlan(vault *auth.Vault, hosts []Host) *plan {
	p := &plan{vault: vault, invalid: vault.Validate(), hosts: make([]host, len(hosts))}
	g := grouping{plan: p, reads: make(map[pathVersion]*read), wanted: make(map[ref.Ref]*wanted)}
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
			if !f.value.Ref().IsZero() {
				g.add(f)
				f.read.awaitedBy(i, h)
			} else if warning := f.value.Warning(); warning != "" && !f.isEmpty() {
				p.odd.add(quoted(h.name) + ": " + quoted(f.name) + " " + warning)
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

// grouping finds the one read of all references to the same path and version,
// and the one value of all references to the same key.
type grouping struct {
	plan   *plan
	reads  map[pathVersion]*read
	wanted map[ref.Ref]*wanted
}

type pathVersion struct {
	path    string
	version int
}

// add connects a field with its read. A read that the pins do not permit has
// ended before it began.
func (g *grouping) add(f *field) {
	reference := f.value.Ref()
	at := pathVersion{reference.Path(), reference.Version()}
	r := g.reads[at]
	if r == nil {
		r = &read{path: at.path, version: at.version}
		if g.plan.invalid == nil {
			r.err = g.plan.vault.Permits(at.path)
		}
		if r.settled = r.err != nil; !r.settled {
			g.plan.reads = append(g.plan.reads, r)
		}
		g.reads[at] = r
	}
	w := g.wanted[reference]
	if w == nil {
		w = &wanted{key: reference.Key()}
		g.wanted[reference] = w
		r.wanted = append(r.wanted, w)
	}
	w.fields++
	f.read, f.wanted = r, w
}

// awaitedBy makes the host wait for the read, once for all of its fields.
func (r *read) awaitedBy(i int, h *host) {
	if n := len(r.hosts); r.settled || n > 0 && r.hosts[n-1] == i {
		return
	}
	r.hosts = append(r.hosts, i)
	h.pending++
}

// settle notes how a read ended, and gives its fields their values; only the first
// time counts.
func (p *plan) settle(r *read, s *secret, values []found, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !r.settled {
		r.secret, r.err = s, err
		for i, value := range values {
			r.wanted[i].found = value
		}
		p.finish(r)
	}
}

func (p *plan) isSettled(r *read) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.settled
}

// settleAll ends all reads that have not ended yet with the run's error.
func (p *plan) settleAll(err error) {
	if f, ok := err.(*fault.Error); ok {
		err = f.OfRun()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reads {
		if !r.settled {
			r.err = err
			p.finish(r)
		}
	}
}

// finish passes on the hosts that waited for nothing but this read.
func (p *plan) finish(r *read) {
	r.settled = true
	for _, i := range r.hosts {
		if p.hosts[i].pending--; p.hosts[i].pending == 0 {
			p.complete <- i
		}
	}
}

// isEmpty reports whether the field is the empty literal. The UI warns whoever
// typed it: to a host, it is a password like any other.
func (f *field) isEmpty() bool {
	text, ok := f.value.Reveal()
	return ok && text == ""
}

// oddLiterals warn of literals that look mistyped: hosts will refuse them, and
// nobody would know why.
func (p *plan) oddLiterals() []Finding {
	return p.odd.finding(nil, Finding{Code: OddField, Text: "a literal looks mistyped, and is used as it stands"})
}

// secretFindings warn of secrets that were read and whose custom metadata does
// not do what its author meant.
func (p *plan) secretFindings() []Finding {
	var misspelt, malformed examples
	for _, r := range p.reads {
		if r.secret == nil {
			continue
		}
		if r.secret.almost != "" {
			misspelt.add(fmt.Sprintf("%q of %s", r.secret.almost, r.path))
		}
		if r.secret.hosts.isMalformed() {
			malformed.add(r.path)
		}
	}
	return malformed.finding(misspelt.finding(nil, hostsMisspelt), hostsMalformed)
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
