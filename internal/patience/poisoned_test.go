package patience_test

import (
	"context"
	"fmt"
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

// A poisoned request always fails. It is tried three times, fails alone, and neither
// delays nor ends the others.
func TestPoisonedFailsAlone(t *testing.T) {
	t.Parallel()
	for _, fleet := range []struct {
		name     string
		requests int
		poisoned []int
		poison   script
		kind     fault.Kind
		within   time.Duration // for the others; 0.63 s without poisoned requests
	}{
		{"internal error", 10_000, []int{5_000}, always(broken), fault.ServerError, time.Second},
		{"reset", 10_000, []int{5_000}, always(reset), fault.Unreachable, time.Second},
		{"hangs", 10_000, []int{5}, hangs, fault.Unreachable, time.Second},
		{"a balancer answers 502", 10_000, []int{5_000}, always(gateway), fault.BadResponse, time.Second},
		{"the first", 10_000, []int{0}, always(reset), fault.Unreachable, time.Second},
		{"one of the last", 10_000, []int{9_950}, always(broken), fault.ServerError, time.Second},
		{"three next to each other", 10_000, []int{100, 101, 102}, always(broken), fault.ServerError, time.Second},
		{"three next to each other, reset", 10_000, []int{100, 101, 102}, always(reset), fault.Unreachable, time.Second},
		{"fifteen next to each other", 10_000, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, always(broken), fault.ServerError, 5 * time.Second}, // 2.8 s were seen
		{"every hundredth", 10_000, every(100, 10_000), always(gateway), fault.BadResponse, 5 * time.Second},
		{"every tenth", 1_000, every(10, 1_000), always(broken), fault.ServerError, 5 * time.Second},
	} {
		t.Run(fleet.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := patience.New(budget, patience.Limits{})
				r := play(t.Context(), p, fleet.requests, workers, script(healthy).poisoned(fleet.poison, fleet.poisoned...))
				assert.Equal(t, fleet.poisoned, r.failed())
				assert.Nil(t, p.Over())
				for _, i := range r.failed() {
					require.ErrorIs(t, r.errs[i], fleet.kind)
					// Failures in what looked like an outage are not its own.
					assert.GreaterOrEqual(t, r.tries[i], 3, "request %d", i)
				}
				if len(fleet.poisoned) == 1 {
					assert.Equal(t, 3, r.tries[fleet.poisoned[0]])
				}
				retries, _ := p.Stats()
				assert.Equal(t, len(r.sends)-fleet.requests, retries)

				// The others end as they would otherwise, apart from the time that
				// their workers spent on poisoned ones.
				var others time.Duration
				for i, at := range r.ended {
					if !slices.Contains(fleet.poisoned, i) {
						others = max(others, at)
					}
				}
				assert.Less(t, others, fleet.within)
			})
		})
	}
}

// Few requests leave little to compare with.
func TestPoisonedAmongFew(t *testing.T) {
	t.Parallel()
	for _, fleet := range []struct {
		name     string
		requests int
		poisoned []int
		vault    script
		poison   script
		within   time.Duration
	}{
		{"the only request, internal error", 1, []int{0}, healthy, always(broken), enough}, // nothing was ever answered
		{"the only request, reset", 1, []int{0}, healthy, always(reset), enough},           // it cannot be told from a dead Vault
		{"one of two", 2, []int{0}, after(blip), always(reset), budget/12 + time.Second},
		{"two of three", 3, []int{0, 1}, after(blip), always(broken), budget/12 + time.Second},
		{"two of three, reset", 3, []int{0, 2}, after(blip), always(reset), budget/12 + time.Second},
		{"all of three", 3, []int{0, 1, 2}, healthy, always(broken), enough}, // it cannot be told from an outage
	} {
		t.Run(fleet.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := play(t.Context(), patience.New(budget, patience.Limits{}), fleet.requests, workers, fleet.vault.poisoned(fleet.poison, fleet.poisoned...))
				assert.Equal(t, fleet.poisoned, r.failed())
				assert.LessOrEqual(t, r.took, fleet.within)
				for _, i := range fleet.poisoned {
					assert.GreaterOrEqual(t, r.tries[i], 3)
					if fleet.within < budget {
						assert.LessOrEqual(t, r.tries[i], 5)
					}
				}
			})
		})
	}
}

// A request that fails with no other beside it fails alone when the budget is spent, if
// others were answered before. If the next ones fail, too, patience is over soon.
func TestPoisonedInSequence(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 1} {
		for name, poison := range map[string]script{"broken": always(broken), "busy": always(busy), "reset": always(reset), "hangs": hangs} {
			t.Run(fmt.Sprint(name, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := patience.New(budget, patience.Limits{UnderWay: limit})
					vault := script(healthy).poisoned(poison, 50).between(budget+time.Second, budget+2*time.Second, always(sealed))
					r := play(t.Context(), p, 10_000, 1, vault)
					assert.Equal(t, []int{50}, r.failed())
					assert.ErrorContains(t, r.errs[50], "tried for 60s")
					assert.LessOrEqual(t, r.took, enough+20*time.Second)

					time.Sleep(time.Hour)
					_, waited := p.Stats()
					assert.Less(t, waited, enough)
				})
				synctest.Test(t, func(t *testing.T) {
					p := patience.New(budget, patience.Limits{UnderWay: limit})
					r := &run{}
					first := play(t.Context(), p, 51, 1, script(healthy).poisoned(poison, 50))
					rest := play(t.Context(), p, 10_000, workers, poison)
					for _, one := range []*run{first, rest} {
						r.took, r.sends, r.crowd = r.took+one.took, append(r.sends, one.sends...), append(r.crowd, one.crowd...)
					}
					assert.Len(t, rest.failed(), 10_000)
					assert.LessOrEqual(t, r.took, enough)
					most := 2 * dials
					if name == "busy" {
						most = int(enough.Seconds()) // once a second
					}
					assert.LessOrEqual(t, len(r.sends)-50, most)
					assert.Zero(t, slices.Max(r.crowd), "one prober")
					assert.Error(t, p.Over())
				})
			})
		}
	}
}

// The answers to requests that say nothing of others do not make one fail alone: it is tried
// for the whole budget.
func TestAnswersBesideAFailingRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		play(t.Context(), p, 1, 1, healthy)
		var group sync.WaitGroup
		group.Go(func() {
			for began := time.Now(); time.Since(began) < budget; time.Sleep(time.Second) {
				assert.NoError(t, p.Try(t.Context(), &patience.Request{Beside: true}, answered))
			}
		})
		time.Sleep(blip)
		r := play(t.Context(), p, 1, 1, script(always(reset)).between(budget/2, forever, healthy))
		assert.Empty(t, r.failed())
		group.Wait()
	})
}

// A slow Vault has time to answer the request after one that spent the budget: it shows that
// Vault is not down.
func TestSlowAnswerAfterAPoisonedRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		r := play(t.Context(), p, 10, 1, after(budget/12-time.Second).poisoned(hangs, 5))
		assert.Equal(t, []int{5}, r.failed())
		assert.Nil(t, p.Over())
	})
}

// A quota that refuses all requests for good ends patience soon, though they come one after
// another, and each fails with no other beside it.
func TestRefusedInSequence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		r := play(t.Context(), p, 100, 1, script(healthy).between(roundTrip, forever, always(busy)))
		assert.Len(t, r.failed(), 99)
		require.NotNil(t, p.Over())
		assert.ErrorIs(t, p.Over(), fault.RateLimited)
		assert.LessOrEqual(t, r.took, enough)
	})
}

// Requests that their callers give up do not make patience longer.
func TestPoisonedAndGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		play(t.Context(), p, 1, 1, healthy)
		began := time.Now()
		for i := 0; p.Over() == nil && i < 100; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			play(ctx, p, 1, 1, script(hangs).between(0, roundTrip, always(reset)))
			cancel()
		}
		assert.LessOrEqual(t, time.Since(began), enough+timeout)
	})
}

// If Vault did not see the request, the failure is not the request's own. It is repeated
// for the whole budget while others succeed.
func TestUnsentIsNeverItsOwn(t *testing.T) {
	t.Parallel()
	for _, f := range []*patience.Failure{refused, sealed, standby} {
		t.Run(string(f.Fault.Kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				unlucky := func(_, try int, _ time.Duration) (time.Duration, *patience.Failure) {
					if try <= 8 {
						return roundTrip, f
					}
					return roundTrip, nil
				}
				r := play(t.Context(), patience.New(budget, patience.Limits{}), 20_000, workers, after(blip).poisoned(unlucky, 7))
				assert.Empty(t, r.failed())
				assert.Equal(t, 9, r.tries[7])
			})
		})
	}
	t.Run("an outage is not counted", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			// It ends early enough for two probes, of which one is not the unlucky one's.
			unlucky := script(healthy).between(0, 75*time.Second, always(sealed))
			vault := after(blip).poisoned(unlucky, 7).between(time.Second, 35*time.Second, always(reset))
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 40_000, workers, vault)
			assert.Empty(t, r.failed())
		})
	})
	t.Run("for all of patience", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := play(t.Context(), patience.New(budget, patience.Limits{}), workers*1000, workers, after(70*time.Millisecond).poisoned(always(sealed), 7))
			assert.Equal(t, []int{7}, r.failed())
			assert.ErrorContains(t, r.errs[7], "vault is sealed (tried for ")
			assert.InDelta(t, budget.Seconds(), r.ended[7].Seconds(), 15)
		})
	})
}

func every(n, below int) (requests []int) {
	for i := 0; i < below; i += n {
		requests = append(requests, i)
	}
	return requests
}

// Before the third attempt of a request, Vault may have gone down if no other was answered for
// a moment.
func TestMayBeDown(t *testing.T) {
	t.Parallel()
	for others, mayBeDown := range map[int]bool{
		10_000: false, // answered all the time
		4:      true,  // answered before the second attempt fails
	} {
		synctest.Test(t, func(t *testing.T) {
			p, request := patience.New(budget, patience.Limits{}), &patience.Request{}
			var answering sync.WaitGroup
			answering.Go(func() {
				for range others {
					assert.NoError(t, p.Do(t.Context(), func(context.Context, time.Duration) *patience.Failure {
						time.Sleep(400 * time.Microsecond)
						return nil
					}))
				}
			})
			var reported []bool
			p.Try(t.Context(), request, func(context.Context, time.Duration) *patience.Failure {
				reported = append(reported, p.MayBeDown(request))
				time.Sleep(time.Millisecond)
				return broken
			})
			assert.Equal(t, []bool{false, false, mayBeDown}, reported, "%d others", others)
			answering.Wait()
		})
	}
}
