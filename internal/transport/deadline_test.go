package transport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/transport"
)

func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		var d transport.Deadlines
		began := time.Now()
		first := d.Begin(parent, limit)
		time.Sleep(limit / 100)
		second := d.Begin(parent, limit)
		assert.Same(t, first, second, "they begin at almost the same time")
		d.End(first)
		assert.NoError(t, transport.ContextOf(second).Err(), "an attempt uses it")
		shorter := d.Begin(parent, limit/2)
		d.End(shorter)
		assert.ErrorIs(t, transport.ContextOf(shorter).Err(), context.Canceled, "no attempt uses it")
		shorter = d.Begin(parent, limit/2)
		assert.NoError(t, transport.ContextOf(shorter).Err(), "it does not begin with the one before")
		third := d.Begin(parent, limit)
		assert.NotSame(t, shorter, third, "it may take longer")
		d.End(shorter)
		time.Sleep(limit/100 + 1)
		late := d.Begin(parent, limit)
		assert.NotSame(t, third, late, "it would end too early")
		d.End(late)

		<-transport.ContextOf(second).Done()
		assert.ErrorIs(t, transport.ContextOf(second).Err(), context.DeadlineExceeded)
		assert.Equal(t, limit, time.Since(began), "within its limit, less a hundredth")
		d.End(second)
		<-transport.ContextOf(third).Done()
		assert.Equal(t, limit+limit/100, time.Since(began))
		d.End(third)

		other, cancelOther := context.WithCancel(t.Context())
		fourth, ofOther := d.Begin(parent, limit), d.Begin(other, limit)
		cancel()
		assert.ErrorIs(t, transport.ContextOf(fourth).Err(), context.Canceled)
		assert.NoError(t, transport.ContextOf(ofOther).Err(), "the parent of another attempt has ended")
		cancelOther()
		assert.ErrorIs(t, transport.ContextOf(ofOther).Err(), context.Canceled)
		d.End(fourth)
		d.End(ofOther)
	})
}
