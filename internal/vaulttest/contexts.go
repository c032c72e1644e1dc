package vaulttest

import (
	"context"
	"errors"
	"time"
)

// OddContext is a context as a caller could make it, against the rules of package
// context or at their edge.
type OddContext struct {
	Name    string
	Context func() context.Context
	Ended   bool // Done is closed
}

// OddContexts are contexts of many types.
func OddContexts() []OddContext {
	closed := make(chan struct{})
	close(closed)
	odd := func(o oddContext) func() context.Context {
		return func() context.Context {
			o.Context = context.Background()
			return o
		}
	}
	return []OddContext{
		{"of a type that cannot be compared", odd(oddContext{done: func() <-chan struct{} { return nil }}), false},
		{"never done, with an error", odd(oddContext{done: func() <-chan struct{} { return nil }, err: context.Canceled}), false},
		{"not done, with an error", odd(oddContext{done: func() <-chan struct{} { return make(chan struct{}) }, err: context.DeadlineExceeded}), false},
		{"a deadline in the past, and not done", odd(oddContext{done: func() <-chan struct{} { return make(chan struct{}) }, deadline: time.Unix(1, 0)}), false},
		{"done, without an error", odd(oddContext{done: func() <-chan struct{} { return closed }}), true},
		{"done, with an error of its own", odd(oddContext{done: func() <-chan struct{} { return closed }, err: errors.New("of its own")}), true},
		{"done, with an error that cannot be compared", odd(oddContext{done: func() <-chan struct{} { return closed }, err: manyErrors{"of", "its", "own"}}), true},
	}
}

// oddContext cannot be compared.
type oddContext struct {
	context.Context
	done     func() <-chan struct{}
	err      error
	deadline time.Time
}

func (o oddContext) Done() <-chan struct{} { return o.done() }

func (o oddContext) Err() error { return o.err }

func (o oddContext) Deadline() (time.Time, bool) { return o.deadline, !o.deadline.IsZero() }

type manyErrors []string

func (m manyErrors) Error() string { return m[0] }
