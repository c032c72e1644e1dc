package resolver

import (
	"slices"
	"strings"
	"sync"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// plan is the work of a run: hosts with their fields, and the distinct paths to read.
type plan struct {
	vault     *auth.Vault
	invalid   error // why Vault cannot be used
	hosts     []host
	reads     []*read  // in the order of the hosts
	immediate []int    // hosts that need no read
	odd       examples // literals that look mistyped
	complete  chan int // hosts whose last path has been read; has room for all hosts

	mu sync.Mutex // guards what settle changes
}

// host is one host of the run.
type host struct {
	name    string
	fields  []field // sorted by name
	pending int     // reads under way
}

// field is one credential field of a host.
type field struct {
	name   string
	value  ref.Value
	read   *read   // nil if the value is not a reference
	wanted *wanted // nil if the value is not a reference
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
	mount   mount // of the path
	visible bool  // the token can see the mount, or Vault's list is not available
	sent    bool  // the read was sent
}

// wanted is a key that fields ask for, with its value once the read is settled.
type wanted struct {
	key    string
	fields int // number of fields that do not have it yet
	found
}

// found is the value of a key.
type found struct {
	text   string // a string itself; a number or boolean as its exact JSON text
	number bool
	err    error // why there is no text
}

func newPlan(vault *auth.Vault, hosts []Host) *plan {
	p := &plan{vault: vault, invalid: vault.Validate(), hosts: make([]host, len(hosts))}
	g := grouping{plan: p, reads: make(map[pathVersion]*read, len(hosts)), rare: make(map[ref.Ref]*wanted)}
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

// appendFields appends the fields that are not absent, sorted by name.
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

// grouping maps references to the same path and version to one read, and references
// to the same key to one value.
type grouping struct {
	plan  *plan
	reads map[pathVersion]*read
	rare  map[ref.Ref]*wanted // beyond the first few keys of a path
}

// fewKeys is how many keys of a path are found by a search, which costs less than a map
// of all keys of the run.
const fewKeys = 4

type pathVersion struct {
	path    string
	version int
}

// add connects a field with its read. A read that the pins do not permit is settled
// from the start.
func (g *grouping) add(f *field) {
	reference := f.value.Ref()
	at := pathVersion{reference.Path(), reference.Version()}
	r := g.reads[at]
	if r == nil {
		r = &read{path: at.path, version: at.version, wanted: make([]*wanted, 0, 2)} // a user name and a password
		if g.plan.invalid == nil {
			r.err = g.plan.vault.Permits(at.path)
		}
		if r.settled = r.err != nil; !r.settled {
			g.plan.reads = append(g.plan.reads, r)
		}
		g.reads[at] = r
	}
	w := g.find(r, reference)
	w.fields++
	f.read, f.wanted = r, w
}

// find returns what the read wants for the reference.
func (g *grouping) find(r *read, reference ref.Ref) *wanted {
	first := r.wanted[:min(len(r.wanted), fewKeys)]
	if i := slices.IndexFunc(first, func(w *wanted) bool { return w.key == reference.Key() }); i >= 0 {
		return first[i]
	}
	if w := g.rare[reference]; w != nil {
		return w
	}
	w := &wanted{key: reference.Key()}
	if len(first) == fewKeys {
		g.rare[reference] = w
	}
	r.wanted = append(r.wanted, w)
	return w
}

// awaitedBy makes the host wait for the read, once for all fields.
func (r *read) awaitedBy(i int, h *host) {
	if n := len(r.hosts); r.settled || n > 0 && r.hosts[n-1] == i {
		return
	}
	r.hosts = append(r.hosts, i)
	h.pending++
}

// settle notes how a read ended and gives its fields their values. Only the first call
// for a read has an effect.
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

// settleAll ends all reads that are not settled with an error of the run.
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

// finish completes the hosts that waited only for this read.
func (p *plan) finish(r *read) {
	r.settled = true
	for _, i := range r.hosts {
		if p.hosts[i].pending--; p.hosts[i].pending == 0 {
			p.complete <- i
		}
	}
}

// isEmpty reports whether the field is the empty literal. A check warns of it, but a
// run does not: it may be an intended empty password.
func (f *field) isEmpty() bool {
	text, ok := f.value.Reveal()
	return ok && text == ""
}
