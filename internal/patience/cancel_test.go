package patience_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// When ctx ends, every request ends at once with its error, whether it is under way,
// backing off, waiting for a prober, or paced.
func TestCancelEndsAll(t *testing.T) {
	t.Parallel()
	for _, vault := range []struct {
		name string
		script
		perSecond float64
	}{
		{"under way", hangs, 0},
		{"in an outage", always(refused), 0},
		{"refused by Vault", always(busyFor(time.Hour)), 0},
		{"held back by the operator's limit", healthy, 0.1},
	} {
		t.Run(vault.name, func(t *testing.T) {
			t.Parallel()
			for _, at := range []time.Duration{0, roundTrip, 333 * time.Millisecond, 9 * time.Second, 59 * time.Second} {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), at)
					defer cancel()
					p := patience.New(budget, patience.Limits{PerSecond: vault.perSecond})
					r := play(ctx, p, 1000, workers, vault.script)
					assert.Equal(t, at, r.took)
					for _, i := range r.failed() {
						require.Equal(t, context.DeadlineExceeded, r.errs[i])
					}
					assert.GreaterOrEqual(t, len(r.failed()), 990)
					assert.Nil(t, p.Over(), "cancelling says nothing about Vault")
				})
			}
		})
	}
}

// If the ctx of the prober, or of the next one, ends, another request becomes the prober.
func TestCancelHandsTheProbeOn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			p := patience.New(budget, patience.Limits{})
			began := time.Now()
			var group sync.WaitGroup
			for range workers - 1 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.Int64N(int64(8*time.Second))))
				defer cancel()
				group.Go(func() { play(ctx, p, 1, 1, script(hangs).between(0, blip, always(reset))) })
			}
			group.Go(func() {
				// Its own attempts fail until 20 s, when all others have been canceled.
				r := play(t.Context(), p, 1, 1, script(healthy).between(0, 20*time.Second, always(reset)))
				assert.Empty(t, r.failed())
				assert.Less(t, time.Since(began), 35*time.Second)
			})
			group.Wait()
		})
	}
}

// An answer counts even if ctx has ended meanwhile.
func TestAnswerBeatsCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	err := patience.New(budget, patience.Limits{}).Do(ctx, func(context.Context, time.Duration) *patience.Failure {
		cancel()
		return nil
	})
	assert.NoError(t, err)
}

// Stats includes the time without an answer so far.
func TestStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r := play(ctx, p, 1, 1, always(refused))
		retries, waited := p.Stats()
		assert.Equal(t, len(r.sends)-1, retries, "a wait that led to no send is no retry")
		assert.Equal(t, 20*time.Second, waited)

		play(t.Context(), p, 1, 1, healthy)
		time.Sleep(time.Hour)
		_, waited = p.Stats()
		assert.Equal(t, 20*time.Second+roundTrip, waited)
	})
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		var group sync.WaitGroup
		// Answered after patience has ended: it stays so.
		group.Go(func() {
			err := p.Do(t.Context(), func(context.Context, time.Duration) *patience.Failure { time.Sleep(2 * budget); return nil })
			assert.NoError(t, err)
		})
		play(t.Context(), p, 3, 3, always(reset))
		group.Wait()
		_, waited := p.Stats()
		assert.Equal(t, budget, waited)
		assert.ErrorIs(t, p.Over(), fault.Unreachable)
	})
}

// While nobody waits for an answer, as between two requests of an agent's own, patience is not
// used up, even if the last request failed and its caller gave it up.
func TestIdleTimeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]script{"reset": always(reset), "hangs": hangs, "busy": always(busy)} {
		synctest.Test(t, func(t *testing.T) {
			p := patience.New(budget, patience.Limits{UnderWay: 2})
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				play(ctx, p, 1, 1, fails)
				cancel()
				time.Sleep(10 * budget)
			}
			assert.Nil(t, p.Over(), name)
			_, waited := p.Stats()
			silence, _ := p.Silence()
			assert.LessOrEqual(t, max(waited, silence), budget, name)
			assert.Empty(t, play(t.Context(), p, 1, 1, healthy).failed(), name)
		})
	}
}
