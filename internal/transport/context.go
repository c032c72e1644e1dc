package transport

import (
	"context"
	"time"
)

// Steady wraps a caller's context, whatever its type does, so that package context can
// derive from it: Done is always the same channel, Err is not nil exactly when Done is
// closed, and there is no other deadline. If Err is nil after Done is closed, package
// context panics in its own goroutine, which ends the process.
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
