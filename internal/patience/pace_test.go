package patience_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// quota refuses more than a number of requests in each interval, as Vault's rate limit
// quota does, with a Retry-After if it is not 0.
func quota(requests int, interval, retryAfter time.Duration) script {
	var began time.Duration
	var used int
	return func(_, _ int, since time.Duration) (time.Duration, *patience.Failure) {
		if since-began >= interval {
			began, used = since.Truncate(interval), 0
		}
		if used++; used > requests {
			return roundTrip, busyFor(retryAfter)
		}
		return roundTrip, nil
	}
}

func busyFor(retryAfter time.Duration) *patience.Failure {
	f := *busy
	f.RetryAfter = retryAfter
	return &f
}

// serially runs a script that keeps state under a lock.
func serially(s script) script {
	turn := make(chan struct{}, 1)
	return func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
		turn <- struct{}{}
		defer func() { <-turn }()
		return s(request, try, since)
	}
}

func TestQuotaServesAll(t *testing.T) {
	t.Parallel()
	for _, vault := range []struct {
		name     string
		requests int
		quota    script
		atBest   time.Duration
		within   time.Duration
		refusals int
	}{
		{"100 a second", 4_000, quota(100, time.Second, 0), 39 * time.Second, 60 * time.Second, 300},
		{"100 a second, retry after 1 s", 2_000, quota(100, time.Second, time.Second), 19 * time.Second, 40 * time.Second, 300},
		{"1,000 in ten seconds", 4_000, quota(1000, 10*time.Second, 0), 30 * time.Second, 90 * time.Second, 2000},
		{"10 a second", 500, quota(10, time.Second, 0), 49 * time.Second, 100 * time.Second, 300},
		{"used up by somebody else at first", 2_000, script(healthy).between(0, 10*time.Second, always(busy)), 10 * time.Second, 60 * time.Second, 100},
		{"blocked for 30 s at first", 2_000, script(healthy).between(0, 30*time.Second, always(busyFor(30*time.Second))), 30 * time.Second, 90 * time.Second, 100},
	} {
		t.Run(vault.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := patience.New(budget, patience.Limits{})
				r := play(t.Context(), p, vault.requests, workers, serially(vault.quota))
				assert.Empty(t, r.failed())
				t.Logf("%s for %s at best, %d refused", r.took, vault.atBest, len(r.sends)-vault.requests)
				assert.LessOrEqual(t, r.took, vault.within)
				assert.LessOrEqual(t, len(r.sends)-vault.requests, vault.refusals)
			})
		})
	}
}

func TestRefusedForEver(t *testing.T) {
	t.Parallel()
	for _, retryAfter := range []time.Duration{0, -time.Second, time.Nanosecond, 10 * time.Second, budget, 24 * time.Hour} {
		t.Run(retryAfter.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				vault := script(healthy).between(blip, forever, always(busyFor(retryAfter)))
				p := patience.New(budget, patience.Limits{})
				r := play(t.Context(), p, 10_000, workers, vault)
				for _, i := range r.failed() {
					require.ErrorIs(t, r.errs[i], fault.RateLimited)
					require.ErrorContains(t, r.errs[i], "vault is rate limiting the agent (tried for 60s)")
				}
				require.NotEmpty(t, r.failed())
				assert.LessOrEqual(t, r.took, blip+enough)
				refused := slices.DeleteFunc(slices.Clone(r.sends), func(at time.Duration) bool { return at < blip })
				// The rate halves once a second, from some hundreds down to one.
				assert.LessOrEqual(t, len(refused), 1000)
				for i := 1; i < len(refused); i++ {
					if refused[i-1] > 15*time.Second {
						assert.GreaterOrEqual(t, refused[i]-refused[i-1], 900*time.Millisecond)
					}
				}
			})
		})
	}
}

// A quota on one path costs that path, and slows the others only at first.
func TestQuotaOnOnePath(t *testing.T) {
	t.Parallel()
	for _, retryAfter := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 20_000, workers, script(healthy).poisoned(always(busyFor(retryAfter)), 1000))
			require.Equal(t, []int{1000}, r.failed())
			assert.ErrorIs(t, r.errs[1000], fault.RateLimited)
			assert.Less(t, r.took, 3*budget)
		})
	}
}

// However few the others are, they do not wait for the one that a quota refuses.
func TestQuotaOnOnePathOfFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := play(t.Context(), patience.New(budget, patience.Limits{}), 100, workers, script(healthy).poisoned(always(busy), 20))
		require.Equal(t, []int{20}, r.failed())
		assert.ErrorIs(t, r.errs[20], fault.RateLimited)
		r.ended[20] = 0
		assert.Less(t, slices.Max(r.ended), time.Second)
	})
}

// If others use up most of a quota, each request is refused now and then, and none fails.
func TestQuotaThatOthersUseUp(t *testing.T) {
	t.Parallel()
	for one := range 3 {
		synctest.Test(t, func(t *testing.T) {
			chance := rand.New(rand.NewPCG(1, uint64(one)))
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 5000, workers, serially(func(_, _ int, _ time.Duration) (time.Duration, *patience.Failure) {
				if chance.IntN(20) < one+1 {
					return roundTrip, busy
				}
				return roundTrip, nil
			}))
			assert.Empty(t, r.failed())
		})
	}
}

// Retry-After applies to all requests, within bounds.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, asked := range []struct{ retryAfter, waits time.Duration }{
		{0, roundTrip},
		{time.Nanosecond, 100 * time.Millisecond},
		{7 * time.Second, 7 * time.Second},
		{budget - time.Second, budget - time.Second},
		{24 * time.Hour, budget - time.Second},
	} {
		t.Run(asked.retryAfter.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				vault := script(healthy).between(blip, blip+roundTrip, always(busyFor(asked.retryAfter)))
				r := play(t.Context(), patience.New(budget, patience.Limits{}), 1000, workers, vault)
				require.Empty(t, r.failed())
				next := slices.IndexFunc(r.sends, func(at time.Duration) bool { return at >= blip+roundTrip })
				assert.InDelta(t, asked.waits.Seconds(), (r.sends[next] - blip).Seconds(), 0.01)
			})
		})
	}
}

// An answer ends the pause that Retry-After asked for: the quota may be for some paths alone.
func TestRetryAfterForSomePaths(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := play(t.Context(), patience.New(budget, patience.Limits{}), 100, workers, after(blip).poisoned(always(busyFor(time.Hour)), 0, 1))
		require.Equal(t, []int{0, 1}, r.failed())
		assert.Less(t, slices.Max(r.ended[2:]), budget/2)
	})
}

// While anything succeeds, patience is full.
func TestRefusalsAmongAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// One answer in 50 s, for half an hour.
		vault := script(always(busy))
		for at := 50 * time.Second; at < 30*time.Minute; at += 50 * time.Second {
			vault = vault.between(at, at+2*time.Second, serially(quota(1, forever, 0)))
		}
		p := patience.New(budget, patience.Limits{})
		r := play(t.Context(), p, 100, workers, vault)
		assert.NotEmpty(t, r.failed())
		assert.Greater(t, r.took, 30*time.Minute)
		assert.ErrorIs(t, p.Over(), fault.RateLimited)
	})
}

func TestRefusedInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vault := after(blip).
			between(time.Second, 10*time.Second, always(standby)).
			between(10*time.Second, 20*time.Second, always(busy)).
			between(20*time.Second, 30*time.Second, always(refused))
		r := play(t.Context(), patience.New(budget, patience.Limits{}), 1500, workers, vault)
		assert.Empty(t, r.failed())
		assert.Greater(t, r.took, 30*time.Second)
	})
}

// VAULT_RATE_LIMIT applies at all times, even in outages.
func TestOperatorsLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct {
		name      string
		perSecond float64
		burst     int
		requests  int
		vault     script
		within    time.Duration
	}{
		{"healthy", 100, 10, 500, healthy, 6 * time.Second},
		{"slow", 0.5, 1, 20, healthy, 41 * time.Second},
		{"no burst", 50, 0, 250, healthy, 6 * time.Second},
		{"through an outage", 100, 10, 500, script(healthy).between(time.Second, 10*time.Second, always(reset)), 50 * time.Second},
		{"above Vault's quota", 200, 50, 1000, serially(quota(100, time.Second, 0)), 30 * time.Second},
		{"below Vault's least", 0.25, 1, 5, script(healthy).between(0, 10*time.Second, always(busy)), 60 * time.Second},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := play(t.Context(), patience.New(budget, patience.Limits{PerSecond: limit.perSecond, Burst: limit.burst}), limit.requests, workers, limit.vault)
				assert.Empty(t, r.failed())
				assert.LessOrEqual(t, r.took, limit.within)
				burst := max(limit.burst, 1)
				for i := burst; i < len(r.sends); i++ {
					least := time.Duration(float64(time.Second) / limit.perSecond)
					for _, j := range []int{i - burst, max(i-5*burst, 0), 0} {
						spared := time.Duration(i-j-burst+1) * least
						require.GreaterOrEqual(t, r.sends[i]-r.sends[j], spared-time.Millisecond, "from send %d to %d", j, i)
					}
				}
			})
		})
	}
}

// At a limited rate, requests are sent in the order in which they began to wait.
func TestLimitIsFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers, perSecond = 8, 10
		p := patience.New(budget, patience.Limits{PerSecond: perSecond})
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for range 50 {
					began := time.Now()
					assert.NoError(t, p.Try(t.Context(), &patience.Request{}, func(context.Context, time.Duration) *patience.Failure {
						assert.LessOrEqual(t, time.Since(began), workers*time.Second/perSecond+time.Millisecond)
						time.Sleep(time.Duration(rand.N(int64(10 * time.Millisecond))))
						return nil
					}))
				}
			})
		}
		group.Wait()
	})
}

// An answer can end the wait of the first in line at a limited rate. Then it goes at once, since
// the others wait for it.
func TestFirstInLineIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const moment = budget / 120
		p := patience.New(budget, patience.Limits{PerSecond: 100})
		var group sync.WaitGroup
		request := func(at, took time.Duration, failures int) {
			group.Go(func() {
				time.Sleep(at)
				began, tries := time.Now(), 0
				assert.NoError(t, p.Try(t.Context(), &patience.Request{}, func(context.Context, time.Duration) *patience.Failure {
					time.Sleep(took)
					if tries++; tries <= failures {
						return reset
					}
					return nil
				}))
				if failures == 0 {
					assert.Less(t, time.Since(began), took+50*time.Millisecond)
				}
			})
		}
		request(0, moment/2, 0) // the only one that is answered, until Vault may have gone down
		request(10*time.Millisecond, time.Millisecond, 2)
		request(moment*7/5, time.Millisecond, 0)
		request(moment*7/5+50*time.Millisecond, time.Millisecond, 0)
		group.Wait()
	})
}

// After refusals that had another cause, a 429 halves the rate at which requests were sent.
func TestRateAfterNotPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		play(t.Context(), p, 1000, 1, after(10*time.Millisecond)) // 100 a second
		p.NotPaced()
		play(t.Context(), p, 2, 2, func(_, try int, _ time.Duration) (time.Duration, *patience.Failure) {
			if try == 1 {
				return roundTrip, busy
			}
			assert.InDelta(t, 50, p.Rate(), 1)
			return roundTrip, nil
		})
	})
}

func TestNoLimitTakesNoTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := patience.New(budget, patience.Limits{})
		for range 1000 {
			require.NoError(t, p.Do(t.Context(), func(context.Context, time.Duration) *patience.Failure { return nil }))
		}
		assert.Zero(t, time.Since(began))
	})
}

// Refusals with 429, however many, do not count as failures of the request.
func TestFaultAfterLongPacing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		faults := 0
		unlucky := serially(func(_, _ int, since time.Duration) (time.Duration, *patience.Failure) {
			if since < 2*budget {
				return roundTrip, busy
			}
			if faults++; faults <= 3 {
				return roundTrip, sealed
			}
			return roundTrip, nil
		})
		others := 0
		paced := serially(func(_, _ int, since time.Duration) (time.Duration, *patience.Failure) {
			if others++; others%50 == 0 && since < 2*budget {
				return roundTrip, busy
			}
			return roundTrip, nil
		})
		r := play(t.Context(), patience.New(budget, patience.Limits{PerSecond: 10}), 2000, workers, paced.poisoned(unlucky, 7))
		assert.Empty(t, r.failed(), "%v", r.errs[7])
		assert.Greater(t, r.ended[7], 2*budget)
	})
}

// In an outage at a reduced rate, the prober may be a request that met a 429. It does not wait
// then until others were sent.
func TestOutageAtReducedRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, began := patience.New(budget, patience.Limits{}), time.Now()
		downFor := func(lasts time.Duration) script { return script(healthy).between(0, lasts, always(refused)) }
		paced := func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
			if try == 1 {
				return roundTrip, busy
			}
			return downFor(5*time.Second)(request, try, since)
		}
		var group sync.WaitGroup
		send := func(after time.Duration, requests int, vault script) {
			time.Sleep(after)
			group.Go(func() { assert.Empty(t, play(t.Context(), p, requests, requests, vault).failed()) })
		}
		send(0, 2, paced)
		send(blip, 2, downFor(5*time.Second))
		send(2500*time.Millisecond, 1, downFor(2500*time.Millisecond))
		group.Wait()
		assert.Less(t, time.Since(began), 15*time.Second)
	})
}
