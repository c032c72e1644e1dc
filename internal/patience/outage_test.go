package patience_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// enough is the time by which all results must come if Vault stays dead.
const enough = budget + budget/10

// Limits of requests to a dead Vault. A cluster without a leader gets more, so that a run
// notices the new leader soon.
const (
	dials           = 12
	dialsOfStandbys = 27
)

// A run begins with one request, its login or the look-up of its token. If that ends
// patience, no other request is sent.
func TestDeadFromTheStart(t *testing.T) {
	t.Parallel()
	for _, vault := range []struct {
		name string
		script
		kind  fault.Kind
		text  string
		dials int
	}{
		{"refuses connections", always(refused), fault.Unreachable, "vault unreachable (connection refused, tried for ", dials},
		{"hangs", hangs, fault.Unreachable, "vault unreachable (no answer in time, tried for ", dials},
		{"sealed", always(sealed), fault.Sealed, "vault is sealed (tried for ", dials},
		{"without a leader", always(standby), fault.NoActiveNode, "vault has no active node (tried for ", dialsOfStandbys},
		{"behind a balancer that is well", always(gateway), fault.BadResponse, "the answer is not Vault's (status 502, tried for ", dials},
	} {
		t.Run(vault.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := patience.New(budget, patience.Limits{})
				login := play(t.Context(), p, 1, 1, vault.script)
				login.requireEach(t, vault.kind, vault.text)
				rest := play(t.Context(), p, 10_000, workers, vault.script)
				rest.requireEach(t, vault.kind, vault.text)
				assert.LessOrEqual(t, login.took+rest.took, enough)
				assert.LessOrEqual(t, len(login.sends), vault.dials)
				assert.Empty(t, rest.sends)
			})
		})
	}
}

func TestDeadMidway(t *testing.T) {
	t.Parallel()
	const dies = 100 * time.Millisecond
	for _, vault := range []struct {
		name  string
		dead  script
		kind  fault.Kind
		text  string
		dials int
	}{
		{"refuses connections", always(refused), fault.Unreachable, "vault unreachable (connection refused, tried for 60s)", dials},
		{"resets connections", always(reset), fault.Unreachable, "vault unreachable (connection reset, tried for 60s)", dials},
		{"hangs", hangs, fault.Unreachable, "vault unreachable (no answer in time, tried for 60s)", dials},
		{"sealed", always(sealed), fault.Sealed, "vault is sealed (tried for 60s)", dials},
		{"internal error, as with a full audit device", always(broken), fault.ServerError, "vault answers 500 (tried for 60s)", dials},
		{"behind a balancer that is well", always(gateway), fault.BadResponse, "(status 502, tried for 60s)", dials},
		{"many faults of a node", func(_, try int, since time.Duration) (time.Duration, *patience.Failure) {
			return roundTrip, []*patience.Failure{refused, reset, sealed, standby, gateway}[since.Microseconds()%5]
		}, "", "tried for 60s", dialsOfStandbys},
		{"two faults in turn", func(request, _ int, since time.Duration) (time.Duration, *patience.Failure) {
			return roundTrip, []*patience.Failure{refused, broken}[request%2]
		}, "", "tried for 60s", dials},
	} {
		t.Run(vault.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := play(t.Context(), patience.New(budget, patience.Limits{}), 10_000, workers, script(healthy).between(dies, forever, vault.dead))
				failed := r.failed()
				require.NotEmpty(t, failed)
				for _, i := range failed {
					if vault.kind != "" {
						require.ErrorIs(t, r.errs[i], vault.kind)
					}
					require.Contains(t, r.errs[i].Error(), vault.text)
				}
				assert.LessOrEqual(t, r.took, dies+enough)
				assert.GreaterOrEqual(t, r.took, dies+budget-2*roundTrip)
				first := slices.IndexFunc(r.sends, func(at time.Duration) bool { return at >= dies })
				assert.LessOrEqual(t, len(r.sends)-first, vault.dials+workers, "sends after it died")
				for i, at := range r.sends {
					if at > dies+2*timeout { // requests that were under way when it died have ended
						assert.Zero(t, r.crowd[i], "under way with the probe at %s", at)
					}
				}

				// All end at once.
				out := r.ended[failed[0]]
				for _, i := range failed {
					assert.InDelta(t, out.Seconds(), r.ended[i].Seconds(), 0.1)
				}
			})
		})
	}
}

// Requests that are given up one after another are probes, too: what follows them waits as
// long as if it had sent them itself.
func TestDeadForRequestsThatAreGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		sends, began := 0, time.Now()
		for _, until := range []time.Duration{budget / 4, budget / 3, forever} {
			p.Do(t.Context(), func(context.Context, time.Duration) *patience.Failure {
				left := until - time.Since(began)
				if left <= 0 {
					return reset.GivenUp()
				}
				sends++
				time.Sleep(roundTrip)
				return reset.AgainWithin(left)
			})
		}
		assert.Error(t, p.Over())
		assert.LessOrEqual(t, time.Since(began), enough)
		assert.LessOrEqual(t, sends, dials+1)
	})
}

// In an outage one request is sent at a time: the first at once, the next ones after
// growing waits.
func TestOneProber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := play(t.Context(), patience.New(budget, patience.Limits{}), workers, workers, always(reset))
		r.requireEach(t, fault.Unreachable, "connection reset, tried for 60s")

		// All sixteen fail at the same moment. The first may be sent again before the
		// second has failed.
		began := slices.IndexFunc(r.sends, func(at time.Duration) bool { return at > roundTrip })
		assert.LessOrEqual(t, began, workers+2)
		assert.LessOrEqual(t, r.sends[began-1], roundTrip, "the first retry goes at once")
		probes := r.sends[began:]
		for i, others := range r.crowd[began:] {
			assert.Zero(t, others, "under way with probe %d", i)
		}
		wait := time.Second
		for i := 1; i < len(probes); i++ {
			waited := probes[i] - probes[i-1] - roundTrip
			assert.GreaterOrEqual(t, waited, wait, "before probe %d", i)
			assert.LessOrEqual(t, waited, wait*5/4+time.Microsecond, "before probe %d", i)
			wait = min(2*wait, 10*time.Second)
		}
	})
}

// A node that is down causes several kinds of fault, which make one outage.
func TestFaultsOfOneCause(t *testing.T) {
	t.Parallel()
	for _, other := range []*patience.Failure{reset, late, sealed, standby, gateway} {
		t.Run(other.Fault.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := play(t.Context(), patience.New(budget, patience.Limits{}), 2, 2, script(always(refused)).poisoned(always(other), 1))
				assert.Len(t, r.failed(), 2)
				most := dials
				if other == standby {
					most = dialsOfStandbys
				}
				assert.LessOrEqual(t, len(r.sends), most+2)
				if other == standby { // an election ends soon, even if a dead node is among the probes
					for i, at := range r.sends[4:] {
						assert.Less(t, at-r.sends[i+3], 5*time.Second, "before the send at %s", at)
					}
				}
			})
		})
	}
}

// Agents that lose the same Vault at the same moment do not send their probes together.
func TestProbesOfTwoRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sends [2][]time.Duration
		for i := range sends {
			sends[i] = play(t.Context(), patience.New(budget, patience.Limits{}), 2, 2, always(refused)).sends
		}
		for i := 4; i < min(len(sends[0]), len(sends[1])); i++ { // the first ones are sent at once
			assert.NotEqual(t, sends[0][i], sends[1][i], "send %d", i)
		}
	})
}

// Requests that were never sent and ones that failed take turns as the prober.
func TestProbersTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		var failed, fresh *run
		var group sync.WaitGroup
		group.Go(func() { failed = play(t.Context(), p, 2, 2, always(sealed)) })
		time.Sleep(blip)
		group.Go(func() { fresh = play(t.Context(), p, 10, 10, always(sealed)) })
		group.Wait()

		turns := make(map[time.Duration]string)
		for _, at := range failed.sends {
			turns[at] = "failed"
		}
		for i, at := range fresh.sends {
			turns[at+blip] = "fresh"
			if i >= 4 { // all others have been sent before
				turns[at+blip] = "failed"
			}
		}
		var last string
		for _, at := range slices.Sorted(maps.Keys(turns)) {
			if at > 10*time.Second { // one by one, and no request is left that was not sent
				break
			}
			if at > time.Second {
				assert.NotEqual(t, last, turns[at], "at %s", at)
			}
			last = turns[at]
		}
		assert.GreaterOrEqual(t, len(fresh.sends), 3)
		assert.GreaterOrEqual(t, len(failed.sends), 6)
	})
}

// A failure shorter than patience costs no request: a leader change, a restart, a balancer
// that loses its nodes for a while.
func TestShorterThanPatienceCostsNothing(t *testing.T) {
	t.Parallel()
	const lasts = 45 * time.Second
	from := 100 * time.Millisecond
	for _, vault := range []struct {
		name string
		script
	}{
		{"refused", after(blip).between(from, lasts, always(refused))},
		{"reset", after(blip).between(from, lasts, always(reset))},
		{"hangs", after(blip).between(from, lasts, hangs)},
		{"internal error", after(blip).between(from, lasts, always(broken))},
		{"a balancer without nodes", after(blip).between(from, lasts, always(gateway))},
		{"leader change", after(blip).
			between(from, 600*time.Millisecond, hangs).
			between(600*time.Millisecond, time.Second, always(standby)).
			between(time.Second, 2600*time.Millisecond, always(refused))},
		{"from the start", after(blip).between(0, lasts, always(sealed))},
		{"a blip", after(blip).between(from, from+blip, always(reset))},
		{"a blip after an outage", after(blip).
			between(from, lasts, always(reset)).
			between(lasts, lasts+10*time.Second, after(blip)).
			between(lasts+10*time.Second, lasts+10*time.Second+blip, always(gateway))},
		{"twice, longer than patience together", after(blip).
			between(from, lasts, always(gateway)).
			between(lasts+15*time.Second, 2*lasts+15*time.Second, always(broken))},
		{"every second for half a second", func(_, _ int, since time.Duration) (time.Duration, *patience.Failure) {
			if since%time.Second < time.Second/2 {
				return roundTrip, sealed
			}
			return blip, nil
		}},
	} {
		t.Run(vault.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := patience.New(budget, patience.Limits{})
				r := play(t.Context(), p, 10_000, workers, vault.script)
				assert.Empty(t, r.failed())
				assert.Nil(t, p.Over())
			})
		})
	}
}

// While standbys answer, the cluster is electing a leader. It gets more requests than a
// dead one, so that a run notices the end of a long election soon.
func TestElection(t *testing.T) {
	t.Parallel()
	for lasts := 10 * time.Second; lasts < 30*time.Second; lasts += time.Second / 2 {
		synctest.Test(t, func(t *testing.T) {
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 2*workers, workers, script(healthy).between(0, lasts, always(standby)))
			assert.Empty(t, r.failed())
			assert.LessOrEqual(t, r.took-lasts, 3500*time.Millisecond, "an election of %s", lasts)
		})
	}
}

// The leader of three nodes is gone, and a balancer still leads to it: that a probe meets
// the dead node instead of a standby does not make the next one wait longer.
func TestElectionBehindBalancer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 1))
			election := func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
				mu.Lock()
				defer mu.Unlock()
				if random.IntN(3) == 0 {
					return always(reset)(request, try, since)
				}
				return always(standby)(request, try, since)
			}
			const lasts = 45 * time.Second
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 2*workers, workers, script(healthy).between(0, lasts, election))
			assert.Empty(t, r.failed(), "seed %d", seed)
			assert.LessOrEqual(t, r.took-lasts, 3500*time.Millisecond, "seed %d", seed)
		})
	}
}

// Behind a balancer, two of three connections lead to a node that is sealed.
func TestSealedNodeBehindBalancer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var connections atomic.Int64
		vault := func(int, int, time.Duration) (time.Duration, *patience.Failure) {
			if connections.Add(1)%3 == 0 {
				return roundTrip, nil
			}
			return roundTrip, sealed
		}
		r := play(t.Context(), patience.New(budget, patience.Limits{}), 1000, workers, vault)
		assert.Empty(t, r.failed())
	})
}

// A balancer chooses among three nodes at random, and one is down. The few requests that
// meet it three times in a row do not fail.
func TestNodeAwayBehindBalancer(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]script{
		"its balancer answers 502": always(gateway),
		"resets":                   always(reset),
		"hangs":                    hangs,
		"internal error":           always(broken),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, lasts := range []time.Duration{time.Second, 10 * time.Second} {
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					random := rand.New(rand.NewPCG(1, 1))
					vault := after(blip).between(time.Second, time.Second+lasts, func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
						mu.Lock()
						defer mu.Unlock()
						if random.IntN(3) == 0 {
							return away(request, try, since)
						}
						return blip, nil
					})
					r := play(t.Context(), patience.New(budget, patience.Limits{}), 20_000, workers, vault)
					assert.Empty(t, r.failed(), "%s: %d of %d", lasts, len(r.failed()), len(r.errs))
				})
			}
		})
	}
}

// Vault goes down while the last requests are under way, and still answers those that it has
// taken. That does not mean that the others fail for their own reasons: three that fail alike
// are an outage, and fewer wait for some time.
func TestLastRequestsUnderWay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		requests, down int
		lasts          time.Duration
	}{
		{2, 1, 4 * time.Second},
		{3, 2, 4 * time.Second},
		{4, 3, 45 * time.Second},
		{12, 11, 45 * time.Second},
		{16, 5, 45 * time.Second},
	} {
		for name, fails := range map[string]script{"gateway": always(gateway), "reset": always(reset), "broken": always(broken), "hangs": hangs} {
			for _, late := range []time.Duration{blip, 200 * time.Millisecond, time.Second} {
				synctest.Test(t, func(t *testing.T) {
					vault := func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
						if request >= test.requests-test.down && since < test.lasts {
							return fails(request, try, since)
						}
						return late, nil
					}
					r := play(t.Context(), patience.New(budget, patience.Limits{}), test.requests, workers, vault)
					assert.Empty(t, r.failed(), "%v, %s, %s", test, name, late)
				})
			}
		}
	}
}

// The clock starts when the first request that failed was sent, or at the last answer, if
// that is later.
func TestClockStartsWithTheSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		r := play(t.Context(), p, 1, 1, hangs)
		assert.Equal(t, budget, r.took, "not %s later, when the first attempt had failed", timeout)
		_, waited := p.Stats()
		assert.Equal(t, budget, waited)
	})
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		var group sync.WaitGroup
		began := time.Now()
		group.Go(func() { play(t.Context(), p, 1, 1, hangs) })
		time.Sleep(blip)
		play(t.Context(), p, 1, 1, healthy)
		group.Wait()
		assert.Equal(t, blip+roundTrip+budget, time.Since(began))
	})
}

// The limit of an attempt is what is left of the budget.
func TestLimitOfAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		began := time.Now()
		var causes []*patience.Failure
		err := p.Do(t.Context(), func(_ context.Context, limit time.Duration) *patience.Failure {
			assert.Equal(t, budget-time.Since(began), limit)
			took := min(limit, 25*time.Second)
			time.Sleep(took)
			cut := *late.Fault
			cut.Detail = "no answer within " + fault.Duration(took)
			f := &patience.Failure{Fault: &cut, Retry: patience.Later}
			causes = append(causes, f)
			return f
		})
		require.Len(t, causes, 3)
		// The last attempt was cut short by patience itself, and says nothing new.
		assert.EqualError(t, err, "vault unreachable (no answer within 25s, tried for 60s)")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A probe that is cut short says less than what failed before it, even if patience has
// not ended.
func TestProbeCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		attempts := 0
		err := p.Do(t.Context(), func(_ context.Context, limit time.Duration) *patience.Failure {
			if attempts++; attempts == 1 {
				return sealed
			}
			time.Sleep(min(limit, 25*time.Second))
			return &patience.Failure{Fault: late.Fault, Retry: patience.Later, CutShort: true}
		})
		assert.Equal(t, 4, attempts)
		assert.ErrorIs(t, err, fault.Sealed)
	})
}

// An outage does not count against a request that was under way when it ended.
func TestUnderWayAsTheOutageEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		var group sync.WaitGroup
		group.Go(func() {
			tries := 0
			err := p.Do(t.Context(), func(context.Context, time.Duration) *patience.Failure {
				tries++
				switch tries {
				case 1:
					time.Sleep(roundTrip)
				case 2:
					time.Sleep(budget - 2*time.Second) // longer than the outage
				case 3:
					time.Sleep(5 * time.Second)
				default:
					return nil
				}
				return sealed
			})
			assert.NoError(t, err)
			assert.Equal(t, 4, tries)
		})
		time.Sleep(blip)
		r := play(t.Context(), p, 500, workers, after(time.Second).between(0, budget/2, always(reset)))
		assert.Empty(t, r.failed())
		group.Wait()
	})
}

// A request that failed twice as an outage began does not get its last try at the moment
// the outage ends.
func TestTriesAroundAnOutage(t *testing.T) {
	t.Parallel()
	for _, begins := range []time.Duration{roundTrip, 3 * roundTrip} {
		synctest.Test(t, func(t *testing.T) {
			vault := func(request, try int, _ time.Duration) (time.Duration, *patience.Failure) {
				switch {
				case request == 0 && try <= 5:
					return roundTrip, reset
				case request == 1 && try == 1: // another fails alike: an outage
					return begins, reset
				case request == 1:
					return blip, nil
				}
				return 10 * roundTrip, nil // which these end
			}
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 1000, workers, vault)
			assert.Empty(t, r.failed(), "begins after %s", begins)
			assert.Equal(t, 6, r.tries[0])
		})
	}
}

// A request that ignores its limit does not delay the others.
func TestPatienceEndsWhileAProbeHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		var group sync.WaitGroup
		for i := range workers {
			group.Go(func() {
				began, tries := time.Now(), 0
				err := p.Do(t.Context(), func(context.Context, time.Duration) *patience.Failure {
					if tries++; tries == 2 {
						time.Sleep(2 * budget)
					}
					return refused
				})
				assert.ErrorIs(t, err, fault.Unreachable)
				if tries == 1 {
					assert.LessOrEqual(t, time.Since(began), enough, "request %d", i)
				}
			})
		}
		group.Wait()
	})
}

// A permanent fault ends its request at once. TLS that fails for two requests without an
// answer in between ends the run.
func TestPermanentFaults(t *testing.T) {
	t.Parallel()
	for _, run := range []struct {
		name   string
		vault  script
		failed int
		sends  int
	}{
		{"one request is answered by something else", script(healthy).poisoned(always(foreign), 5), 1, 1000},
		{"so are many", script(healthy).poisoned(always(foreign), 3, 4, 5, 6, 7), 5, 1000},
		{"all are", always(foreign), 1000, 1000},
		{"one TLS handshake fails", script(healthy).poisoned(always(untrusted), 5), 1, 1000},
		{"two fail, with answers in between", script(healthy).poisoned(always(untrusted), 5, 500), 2, 1000},
		{"all do", always(untrusted), 1000, workers + 1},
		{"a fault concerns the run", always(elsewhere), 1000, workers + 1},
	} {
		t.Run(run.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := play(t.Context(), patience.New(budget, patience.Limits{}), 1000, workers, run.vault)
				assert.Len(t, r.failed(), run.failed)
				assert.LessOrEqual(t, len(r.sends), run.sends)
				assert.Less(t, r.took, time.Second)
			})
		})
	}
	t.Run("TLS in the middle of an outage", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			vault := script(healthy).between(blip, 10*time.Second, always(refused)).between(10*time.Second, forever, always(untrusted))
			p := patience.New(budget, patience.Limits{})
			r := play(t.Context(), p, 1000, workers, vault)
			require.NotEmpty(t, r.failed())
			for _, i := range r.failed() {
				assert.ErrorIs(t, r.errs[i], fault.TLS)
			}
			assert.ErrorIs(t, p.Over(), fault.TLS)
			assert.Less(t, r.took, 30*time.Second)
		})
	})
	t.Run("another server for a moment of an outage", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var others atomic.Int64
			vault := script(healthy).between(blip, forever, always(refused)).between(10*time.Second, forever,
				func(int, int, time.Duration) (time.Duration, *patience.Failure) {
					if others.Add(1) <= 3 {
						return roundTrip, foreign
					}
					return roundTrip, nil
				})
			r := play(t.Context(), patience.New(budget, patience.Limits{}), 1000, workers, vault)
			assert.Len(t, r.failed(), 3)
			for _, i := range r.failed() {
				assert.ErrorIs(t, r.errs[i], fault.BadResponse)
			}
		})
	})
}
