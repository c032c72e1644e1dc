package patience_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/patience"
)

// With Vaults that behave at random, every request ends with the right outcome, and no two
// probe at the same time.
func TestRandomVaults(t *testing.T) {
	t.Parallel()
	seeds := uint64(500)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { randomVault(t, rand.New(rand.NewPCG(seed, 1))) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomVault(t *testing.T, random *rand.Rand) {
	faults := []*patience.Failure{refused, reset, late, sealed, standby, broken, gateway, busy}
	some := func() *patience.Failure { return faults[random.IntN(len(faults))] }
	within := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most))) }
	requests, workers := 1+random.IntN(400), 1+random.IntN(20)
	vault := after(within(blip))

	// Outages, each shorter than patience and with a healthy time after it.
	var last time.Duration
	for range random.IntN(4) {
		from := last + 5*time.Second + within(10*time.Second)
		until := from + within(40*time.Second)
		vault = vault.between(from, until, always(some()))
		last = until
	}
	poisoned := make(map[int]bool)
	for range random.IntN(4) * random.IntN(2) {
		poisoned[random.IntN(requests)] = true
	}
	for i := range poisoned {
		f := []*patience.Failure{reset, broken, gateway, foreign}[random.IntN(4)]
		vault = vault.poisoned(always(f), i)
	}
	dies := forever
	if random.IntN(3) == 0 {
		dies = within(last + time.Second)
		vault = vault.between(dies, forever, always(faults[random.IntN(len(faults))]))
	}

	p := patience.New(budget, patience.Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	canceled := forever
	if random.IntN(4) == 0 {
		canceled = within(last + 30*time.Second)
		time.AfterFunc(canceled, cancel)
	}
	r := play(ctx, p, requests, workers, vault)

	for i, err := range r.errs {
		switch {
		case err == nil:
			assert.False(t, poisoned[i], "request %d", i)
		case err == context.Canceled:
			require.GreaterOrEqual(t, r.ended[i], canceled)
		default:
			// Patience may end though Vault is well, with all of few requests
			// poisoned, or the last.
			require.True(t, poisoned[i] || p.Over() != nil, "request %d: %v", i, err)
			require.NotContains(t, err.Error(), "context")
		}
	}
	if p.Over() != nil {
		require.True(t, dies < forever || len(poisoned) > 0, "patience ended: %v", p.Over())
	}
	if r.took > canceled {
		assert.Fail(t, "ran on after it was canceled", "%s, canceled at %s", r.took, canceled)
	}
	if len(poisoned) == 0 && dies < forever {
		assert.LessOrEqual(t, r.took, max(dies, last)+enough+timeout)
	}
}
