package transport

import (
	"context"
	"sync"
	"time"
)

// limiter makes the contexts that end attempts at their time limit. A context and a timer
// for each would take about 2 % of the CPU time of a run. So attempts that begin within a
// hundredth of the limit share one, and an attempt may end that much earlier.
type limiter struct {
	mu     sync.Mutex
	latest *limited // nil if no attempt uses it
}

// limited is the context of some attempts.
type limited struct {
	ctx      context.Context
	cancel   context.CancelFunc
	parent   <-chan struct{} // ends the context earlier
	limit    time.Duration
	began    time.Time
	attempts int // under way
}

// begin returns the context of an attempt that begins now. It ends with the parent, or
// after the limit.
func (l *limiter) begin(parent context.Context, limit time.Duration) *limited {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.latest
	if c == nil || c.parent != parent.Done() || c.limit != limit || time.Since(c.began) > limit/100 {
		c = &limited{parent: parent.Done(), limit: limit, began: time.Now()}
		c.ctx, c.cancel = context.WithTimeout(quiet{parent}, limit)
		l.latest = c
	}
	c.attempts++
	return c
}

// end notes that an attempt has ended. The last one releases the context.
func (l *limiter) end(c *limited) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.attempts--; c.attempts > 0 {
		return
	}
	c.cancel()
	if l.latest == c {
		l.latest = nil
	}
}

// quiet is a context without the caller's values: an httptrace among them would see the
// token. Only package context's own value remains. It has no deadline either: a context of
// another package may not end at its deadline, and context.WithTimeout would then make no
// timer.
type quiet struct{ context.Context }

func (quiet) Deadline() (time.Time, bool) { return time.Time{}, false }

func (q quiet) Value(key any) any {
	if own, ok := q.Context.Value(key).(context.Context); ok {
		return own
	}
	return nil
}
