package client

import (
	"context"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// attempt is the context of sending a request once: it ends when that takes too
// long, and sees whether the request's header was sent. It serves one attempt
// after the other, since a context with a timer of its own is a twentieth of what
// a read costs the client.
type attempt struct {
	context.Context
	parent context.Context
	end    context.CancelCauseFunc
	timer  *time.Timer
	sent   atomic.Bool
	body   []byte // of the answer; what is understood of it is a copy
}

// keptBody is the largest buffer that is kept for further answers, in bytes.
const keptBody = 64 << 10

// attempts are those that are free to serve again, all of one parent: a run's
// reads share their context.
type attempts struct {
	mu     sync.Mutex
	parent context.Context
	free   []*attempt
}

func (p *attempts) begin(parent context.Context, limit time.Duration) *attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parent != parent {
		p.drop()
		p.parent = parent
	}
	if last := len(p.free) - 1; last >= 0 {
		a := p.free[last]
		p.free = p.free[:last]
		a.sent.Store(false)
		a.timer.Reset(limit)
		return a
	}
	a := &attempt{parent: parent}
	ctx, end := context.WithCancelCause(parent)
	a.end = end
	a.Context = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { a.sent.Store(true) }})
	a.timer = time.AfterFunc(limit, func() { end(context.DeadlineExceeded) })
	return a
}

// over takes an attempt back, unless its time or its parent has ended.
func (p *attempts) over(a *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cap(a.body) > keptBody {
		a.body = nil
	}
	if a.timer.Stop() && a.Err() == nil && a.parent == p.parent {
		p.free = append(p.free, a)
		return
	}
	a.end(nil)
}

// drop ends what is free.
func (p *attempts) drop() {
	for _, a := range p.free {
		a.end(nil)
	}
	p.free, p.parent = nil, nil
}

func (p *attempts) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
}
