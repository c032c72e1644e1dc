package resolver

import (
	"container/heap"
	"sync"
	"time"
)

// share hands the reads of a run to its workers. Paths that fail for a while should
// not occupy all workers, since only the answer to another path shows that Vault is
// well. So the reads are cut into parts, each in one mount, and a worker takes from
// the part with the fewest reads under way, alternately from its two ends. A part of which
// reads gave way counts as if up to two more were under way, so other parts come first, but
// not with all workers. Reads that failed and gave way come one at a time among the others,
// and last.
type share struct {
	mu       sync.Mutex
	parts    parts
	aside    []*read // those that failed and gave way; the one that has waited longest first
	retrying bool    // a worker has one of them, while others are fresh
}

// rest is the time after which a read that gave way is tried again, even while others are
// fresh.
const rest = 500 * time.Millisecond

// part is some of the reads in one mount.
type part struct {
	reads    []*read // not taken yet
	gaveWay  int
	underWay int
	place    int // in parts
}

// newShare cuts the reads into parts of one mount each.
func newShare(reads []*read, workers int) *share {
	s := &share{}
	size := (len(reads) + workers - 1) / workers
	latest := make(map[string]*part) // by mount
	for _, r := range reads {
		p := latest[r.mount.Path]
		if p == nil || len(p.reads) == size {
			p = &part{place: len(s.parts)}
			s.parts = append(s.parts, p)
			latest[r.mount.Path] = p
		}
		p.reads = append(p.reads, r)
		r.part = p
	}
	return s
}

// take returns a read that no worker has, or nil if none is left.
func (s *share) take() *read {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.aside) > 0 && (len(s.parts) == 0 || !s.retrying && time.Since(s.aside[0].since) >= rest) {
		r := s.aside[0]
		s.aside = s.aside[1:]
		s.retrying = true
		return r
	}
	if len(s.parts) == 0 {
		return nil
	}
	p := s.parts[0]
	last := len(p.reads) - 1
	var r *read
	if p.underWay%2 == 0 {
		r, p.reads = p.reads[0], p.reads[1:]
	} else {
		r, p.reads = p.reads[last], p.reads[:last]
	}
	p.underWay++
	if len(p.reads) == 0 {
		heap.Pop(&s.parts)
	} else {
		heap.Fix(&s.parts, p.place)
	}
	return r
}

// done takes a read back from its worker. If it gave way, it is taken again later.
func (s *share) done(r *read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.part == nil {
		s.retrying = false
	} else {
		r.part.underWay--
		if r.aside != nil {
			r.part.gaveWay++
		}
		if len(r.part.reads) > 0 {
			heap.Fix(&s.parts, r.part.place)
		}
	}
	if r.aside != nil {
		r.part, r.since = nil, time.Now()
		s.aside = append(s.aside, r)
	}
}

// hasFresh reports whether there is a read that no worker has taken yet.
func (s *share) hasFresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.parts) > 0
}

// parts is a heap of the parts with reads left; the one to take from comes first.
type parts []*part

func (p parts) Len() int { return len(p) }
func (p parts) Less(i, j int) bool {
	return p[i].underWay+min(p[i].gaveWay, 2) < p[j].underWay+min(p[j].gaveWay, 2)
}
func (p parts) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].place, p[j].place = i, j
}
func (p *parts) Push(one any) { *p = append(*p, one.(*part)) }
func (p *parts) Pop() any {
	last := len(*p) - 1
	one := (*p)[last]
	*p = (*p)[:last]
	return one
}
