package resolver

import (
	"math"
	"slices"
	"sync"

	"github.com/luumen/patch-vault/internal/patience"
)

// share hands the reads of a run to its workers. Reads that fail should not occupy all
// workers, since only an answer to another read shows that Vault is well. So the reads of
// each mount are cut into parts, and a worker takes one from the part with the smallest load.
// Reads that gave way come last in their part, unless reads of their mount are served again.
type share struct {
	mu        sync.Mutex
	parts     []*part // those with reads left; the one that was taken from longest ago first
	fewMounts bool    // few enough that each can have a worker
}

// part is some of the reads in one mount.
type part struct {
	mount    *mountLoad
	fresh    []*read // not taken yet
	aside    []*read // gave way; the one that has waited longest first
	underWay int
}

// mountLoad is what all parts of a mount have in common.
type mountLoad struct {
	underWay int
	gaveWay  int // how many of its reads gave way since one was settled
}

func (p *part) isEmpty() bool { return len(p.fresh)+len(p.aside) == 0 }

// load is how many reads of the part are under way. It adds up to two if reads of its mount
// gave way, since the next may fail, too, and two if all reads that are left gave way.
func (p *part) load() int {
	load := p.underWay + min(p.mount.gaveWay, 2)
	if len(p.fresh) == 0 {
		load += 2
	}
	return load
}

func (p *part) mustWait() bool { return len(p.fresh) == 0 && !p.aside[0].request.IsReady() }

// newShare cuts the reads into parts of one mount each.
func newShare(reads []*read, workers int) *share {
	s := &share{}
	size := (len(reads) + workers - 1) / workers
	latest := make(map[string]*part) // by mount
	for _, r := range reads {
		p := latest[r.mount.Path]
		switch {
		case p == nil:
			p = &part{mount: &mountLoad{}}
		case len(p.fresh) == size:
			p = &part{mount: p.mount}
		}
		if len(p.fresh) == 0 {
			s.parts = append(s.parts, p)
			latest[r.mount.Path] = p
		}
		p.fresh = append(p.fresh, r)
		r.part = p
	}
	s.fewMounts = len(latest) <= max(workers/2, 2)
	return s
}

// take returns a read that no worker has, or nil if none is left.
func (s *share) take() *read {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.parts) == 0 {
		return nil
	}
	i := s.lightest()
	p := s.parts[i]
	s.parts = slices.Delete(s.parts, i, i+1)
	r := p.take()
	p.underWay++
	p.mount.underWay++
	if !p.isEmpty() {
		s.parts = append(s.parts, p)
	}
	if r.request == nil {
		r.request = &patience.Request{Group: r.mount.Path, Others: s.hasMore}
	}
	return r
}

// lightest is the index of the part to take from. If mounts are few, one without a read under
// way comes first. Otherwise it could be left to the end, when no read of another mount shows
// whether Vault is well.
func (s *share) lightest() int {
	if s.fewMounts {
		if i := slices.IndexFunc(s.parts, func(p *part) bool { return p.mount.underWay == 0 && !p.mustWait() }); i >= 0 {
			return i
		}
	}
	best, least := 0, math.MaxInt
	for i, p := range s.parts {
		switch load := p.load(); {
		case load == 0:
			return i
		case load < least:
			best, least = i, load
		}
	}
	return best
}

// take takes the next read. One that gave way comes first if it need not wait, and another of
// its mount has been settled since: then it will probably be answered, and many hosts may wait
// for it.
func (p *part) take() (r *read) {
	isSoon := len(p.aside) > 0 && p.mount.gaveWay == 0 && p.aside[0].request.IsReady()
	if len(p.fresh) > 0 && !isSoon {
		r, p.fresh = p.fresh[0], p.fresh[1:]
	} else {
		r, p.aside = p.aside[0], p.aside[1:]
	}
	return r
}

// done takes a read back from its worker. If it gave way, a worker gets it again later.
func (s *share) done(r *read, gaveWay bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := r.part
	p.underWay--
	p.mount.underWay--
	if !gaveWay {
		r.request, p.mount.gaveWay = nil, 0
		return
	}
	p.mount.gaveWay++
	if p.isEmpty() {
		s.parts = append(s.parts, p)
	}
	p.aside = append(p.aside, r)
}

// hasMore reports whether there is a read that no worker has.
func (s *share) hasMore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts) > 0
}
