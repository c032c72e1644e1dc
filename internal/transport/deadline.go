package transport

import (
	"context"
	"sync"
	"time"
)

// deadlines end attempts at their time limit. A context and a timer for each would take
// about 2 % of the CPU time of a run. So attempts that begin within a hundredth of the limit
// share one, and an attempt may end that much earlier.
type deadlines struct {
	mu     sync.Mutex
	latest *deadline // nil if no attempt uses it
}

// deadline is the context of some attempts.
type deadline struct {
	ctx      context.Context
	cancel   context.CancelFunc
	parent   <-chan struct{} // ends the context earlier
	limit    time.Duration
	began    time.Time
	attempts int // under way
}

// begin returns the deadline of an attempt that begins now. Its context ends with the
// parent, or after the limit.
func (d *deadlines) begin(parent context.Context, limit time.Duration) *deadline {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.latest
	if one == nil || one.parent != parent.Done() || one.limit != limit || time.Since(one.began) > limit/100 {
		one = &deadline{parent: parent.Done(), limit: limit, began: time.Now()}
		one.ctx, one.cancel = context.WithTimeout(quiet{parent}, limit)
		d.latest = one
	}
	one.attempts++
	return one
}

// end notes that an attempt has ended. The last one releases the context.
func (d *deadlines) end(one *deadline) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one.attempts--; one.attempts > 0 {
		return
	}
	one.cancel()
	if d.latest == one {
		d.latest = nil
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
