package transport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/transport"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		var l transport.Limiter
		began := time.Now()
		first := l.Begin(parent, limit)
		time.Sleep(limit / 100)
		second := l.Begin(parent, limit)
		assert.Same(t, first, second, "they begin at almost the same time")
		l.End(first)
		assert.NoError(t, transport.ContextOf(second).Err(), "an attempt uses it")
		shorter := l.Begin(parent, limit/2)
		l.End(shorter)
		assert.ErrorIs(t, transport.ContextOf(shorter).Err(), context.Canceled, "no attempt uses it")
		shorter = l.Begin(parent, limit/2)
		assert.NoError(t, transport.ContextOf(shorter).Err(), "it does not begin with the one before")
		third := l.Begin(parent, limit)
		assert.NotSame(t, shorter, third, "it may take longer")
		l.End(shorter)
		time.Sleep(limit/100 + 1)
		late := l.Begin(parent, limit)
		assert.NotSame(t, third, late, "it would end too early")
		l.End(late)

		<-transport.ContextOf(second).Done()
		assert.ErrorIs(t, transport.ContextOf(second).Err(), context.DeadlineExceeded)
		assert.Equal(t, limit, time.Since(began), "within its limit, less a hundredth")
		l.End(second)
		<-transport.ContextOf(third).Done()
		assert.Equal(t, limit+limit/100, time.Since(began))
		l.End(third)

		other, cancelOther := context.WithCancel(t.Context())
		fourth, ofOther := l.Begin(parent, limit), l.Begin(other, limit)
		cancel()
		assert.ErrorIs(t, transport.ContextOf(fourth).Err(), context.Canceled)
		assert.NoError(t, transport.ContextOf(ofOther).Err(), "the parent of another attempt has ended")
		cancelOther()
		assert.ErrorIs(t, transport.ContextOf(ofOther).Err(), context.Canceled)
		l.End(fourth)
		l.End(ofOther)
	})
}
