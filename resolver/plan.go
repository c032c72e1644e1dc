package resolver

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/ref"
)

// plan is the work of a run: hosts with their fields, and the distinct paths to read.
type plan struct {
	vault    *auth.Vault
	invalid  error // why Vault cannot be used, when the plan was made
	hosts    []host
	reads    []*read                    // in the order of the hosts
	mounts   atomic.Pointer[mountTable] // nil before the login, and if Vault did not answer; a list that comes late replaces it
	again    sync.Once                  // the list of mounts was asked for again
	powers   powers                     // of the token; only of a check
	odd      examples                   // literals that look mistyped: hosts will refuse them, and nothing else says why
	complete chan int                   // hosts that wait for no more reads, in this order; has room for all hosts

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
	name  string
	value ref.Value
	read  *read // nil if the value is not a reference
	key   int   // in read.keys
}

// read is one path and version to read.
type read struct {
	path    string
	version int               // 0 means the latest
	keys    keys              // that fields want
	uses    int               // fields that want a key and do not have its value yet
	hosts   []int             // that wait for it
	mount   *mount            // of the path; nil before the mounts are listed
	sent    bool              // a request was sent
	part    *part             // in share
	request *patience.Request // while a worker has the read, and after it gave way
	secret  *secret           // nil until the read is settled, and if there is an error
	err     error             // why there is no secret
}

// settled reports whether it is known how the read ended.
func (r *read) settled() bool { return r.secret != nil || r.err != nil }

func newPlan(vault *auth.Vault, hosts []Host) *plan {
	vault = cmp.Or(vault, auth.New(auth.Settings{}, auth.Options{}))
	p := &plan{vault: vault, invalid: vault.Validate(), hosts: make([]host, len(hosts)), complete: make(chan int, len(hosts))}
	reads := make(map[pathVersion]*read, len(hosts))
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
				f.read = p.readFor(f.value.Ref(), reads)
				f.read.uses++
				f.key = f.read.keys.add(f.value.Ref().Key())
				f.read.awaitedBy(i, h)
			} else if warning := f.value.Warning(); warning != "" {
				p.odd.add(quoted(f.name)+" of "+quoted(h.name), oddField(warning))
			}
		}
		if h.pending == 0 {
			p.complete <- i
		}
	}
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

type pathVersion struct {
	path    string
	version int
}

// readFor returns the one read of a path and version. One that the pins do not permit is
// settled from the start.
func (p *plan) readFor(reference ref.Ref, reads map[pathVersion]*read) *read {
	at := pathVersion{reference.Path(), reference.Version()}
	r := reads[at]
	if r == nil {
		r = &read{path: at.path, version: at.version}
		r.keys.all = make([]string, 0, 2) // a user name and a password
		if p.invalid == nil {
			r.err = p.vault.ValidatePath(at.path)
		}
		if !r.settled() {
			p.reads = append(p.reads, r)
		}
		reads[at] = r
	}
	return r
}

// awaitedBy makes the host wait for the read, once however many of its fields need it.
func (r *read) awaitedBy(i int, h *host) {
	if n := len(r.hosts); r.settled() || n > 0 && r.hosts[n-1] == i {
		return
	}
	r.hosts = append(r.hosts, i)
	h.pending++
}

// settle notes how a read ended, and completes the hosts that waited only for it. Only the
// first call for a read has an effect.
func (p *plan) settle(r *read, s *secret, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.settled() {
		return
	}
	r.secret, r.err = s, err
	for _, i := range r.hosts {
		if p.hosts[i].pending--; p.hosts[i].pending == 0 {
			p.complete <- i
		}
	}
}

func (p *plan) isSettled(r *read) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.settled()
}

// settleAll ends all reads that are not settled with an error of the run.
func (p *plan) settleAll(err error) {
	if f, ok := err.(*fault.Error); ok {
		err = f.OfRun()
	}
	for _, r := range p.reads {
		p.settle(r, nil, err)
	}
}

// hasSecret reports whether a read has found a secret.
func (p *plan) hasSecret() bool {
	return slices.ContainsFunc(p.reads, func(r *read) bool { return r.secret != nil })
}

// forget drops the secrets of hosts that were not taken: the Run may be kept for its report.
func (p *plan) forget() {
	for _, r := range p.reads {
		r.secret = nil
	}
}
