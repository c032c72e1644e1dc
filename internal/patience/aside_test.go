package patience_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

func answered(context.Context, time.Duration) *patience.Failure { return nil }

// A request that gave way for longer than patience goes on where it was.
func TestRequestThatGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const budget = 2 * time.Second
		p, tries := patience.New(budget, patience.Limits{}), 0
		fails := func(context.Context, time.Duration) *patience.Failure {
			if tries++; tries <= 3 {
				return sealed
			}
			return nil
		}
		others := true
		request := &patience.Request{Others: func() bool { return others }}
		require.ErrorIs(t, p.Try(t.Context(), request, fails), patience.ErrAside)
		assert.Equal(t, 2, tries, "the second time at once")
		require.NoError(t, p.Do(t.Context(), answered))
		time.Sleep(5 * budget)
		require.NoError(t, p.Do(t.Context(), answered))
		others = false
		require.NoError(t, p.Try(t.Context(), request, fails))
		assert.Equal(t, 4, tries)
	})
}

// A request that waits for its rate does not give way: another would wait, too.
func TestRequestThatWaitsForItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, tries := patience.New(time.Minute, patience.Limits{PerSecond: 1}), 0
		failsOnce := func(context.Context, time.Duration) *patience.Failure {
			if tries++; tries == 1 {
				return sealed
			}
			return nil
		}
		require.NoError(t, p.Try(t.Context(), &patience.Request{Others: func() bool { return true }}, failsOnce))
		assert.Equal(t, 2, tries)
	})
}

// Requests that wait for another to end have their whole time afterwards, and are not sent
// once patience is over.
func TestLimitOfRequestsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const budget, timeout = 6 * time.Second, 2 * time.Second
		p := patience.New(budget, patience.Limits{UnderWay: 3})
		var underWay, sent atomic.Int32
		silent := func(_ context.Context, limit time.Duration) *patience.Failure {
			sent.Add(1)
			assert.LessOrEqual(t, underWay.Add(1), int32(3))
			defer underWay.Add(-1)
			time.Sleep(min(limit, timeout))
			return &patience.Failure{Fault: &fault.Error{Kind: fault.Unreachable, What: "silent"}, Retry: patience.Later}
		}
		began := time.Now()
		errs := make(chan error)
		for range 100 {
			go func() { errs <- p.Do(t.Context(), silent) }()
		}
		for range 100 {
			assert.ErrorIs(t, <-errs, fault.Unreachable)
		}
		assert.Less(t, time.Since(began), budget*11/10)
		assert.LessOrEqual(t, sent.Load(), int32(12))
	})
}
