package transport

import (
	"context"
	"time"
)

// Steady returns a caller's context as one that package context can be built on,
// whatever its type makes of the interface: Done is one channel, Err is an error
// from when that is closed and not before, and there is no deadline but the
// closing of it. Package context panics in a goroutine of its own, which ends the
// process, if Err is nil after Done is closed.
func Steady(ctx context.Context) context.Context { return steady{ctx, ctx.Done()} }

type steady struct {
	context.Context
	done <-chan struct{}
}

func (s steady) Done() <-chan struct{} { return s.done }

func (s steady) Err() error {
	select {
	case <-s.done:
		if err := s.Context.Err(); err != nil {
			return err
		}
		return context.Canceled
	default:
		return nil
	}
}

func (steady) Deadline() (time.Time, bool) { return time.Time{}, false }
