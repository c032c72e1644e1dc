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
	hosts     []host
	reads     []*read  // in the order of the hosts
	immediate []int    // hosts that need no read
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
// or an error that is known from the start.
type field struct {
	name  string
	value ref.Value
	read  *read
	err   error
}

// read is one path and version to read.
type read struct {
	path    string
	version int // 0 means the latest
	hosts   []int
	settled bool
	secret  *secret
	err     error
	ofRun   bool  // err is the whole run's
	mount   mount // where the path was found to lie
	sent    bool  // Vault was asked for it
}

func newPlan(vault *auth.Vault, hosts []Host) *plan {
	permits := vault.PathPins()
	p := &plan{hosts: make([]host, len(hosts))}
	type key struct {
		path    string
		version int
	}
	reads := make(map[key]*read)
	total := 0
	for i := range hosts {
		total += len(hosts[i].Fields)
	}
	all := make([]field, 0, total) // one allocation for the fields of all hosts
	for i, given := range hosts {
		start := len(all)
		for name, value := range given.Fields {
			if !value.IsZero() {
				all = append(all, field{name: name, value: value})
			}
		}
		h := &p.hosts[i]
		h.name, h.fields = given.Name, all[start:len(all):len(all)]
		slices.SortFunc(h.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
		for j := range h.fields {
			f := &h.fields[j]
			if err := f.value.Err(); err != nil {
				f.err = badReference(err)
				continue
			}
			r := f.value.Ref()
			if r.IsZero() {
				continue
			}
			k := key{r.Path(), r.Version()}
			f.read = reads[k]
			if f.read == nil {
				f.read = &read{path: k.path, version: k.version, err: permits(k.path)}
				reads[k] = f.read
				if f.read.settled = f.read.err != nil; !f.read.settled {
					p.reads = append(p.reads, f.read)
				}
			}
			if n := len(f.read.hosts); !f.read.settled && (n == 0 || f.read.hosts[n-1] != i) {
				f.read.hosts = append(f.read.hosts, i)
				h.pending++
			}
		}
		if h.pending == 0 {
			p.immediate = append(p.immediate, i)
		}
	}
	p.complete = make(chan int, len(hosts)-len(p.immediate))
	return p
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

// shortOfUses warns of a token that will be used up before the run is through.
// The list of mounts costs no use; a revocation costs one.
func (p *plan) shortOfUses(token auth.Token) []auth.Finding {
	if token.UsesLeft == 0 {
		return nil
	}
	return tooFewUses(token.UsesLeft, p.usesNeeded(token))
}

func tooFewUses(left, needed int) []auth.Finding {
	if left >= needed {
		return nil
	}
	return []auth.Finding{{Code: ShortOfUses, Text: fmt.Sprintf("too few uses are left of the token: %d, where a run of these references needs %d; give it more, or token_num_uses=0", left, needed)}}
}

func (p *plan) usesNeeded(token auth.Token) int {
	if token.Given {
		return len(p.reads)
	}
	return len(p.reads) + 1
}

func badReference(err error) error {
	syntax := err.(*ref.SyntaxError)
	return &fault.Error{Kind: fault.BadReference, What: syntax.Error(), Fix: syntax.Fix, Cause: syntax}
}
