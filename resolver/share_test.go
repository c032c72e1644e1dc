package resolver

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// How a simulated Vault fails. Nil stands for no answer at all.
var (
	later  = func(f *fault.Error) *patience.Failure { return &patience.Failure{Fault: f, Retry: patience.Later} }
	reset  = later(&fault.Error{Kind: fault.Unreachable, What: "connection reset"})
	late   = later(&fault.Error{Kind: fault.Unreachable, What: "no answer in time"})
	broken = later(&fault.Error{Kind: fault.ServerError, What: "status 500"})
	page   = later(&fault.Error{Kind: fault.BadResponse, What: "status 502"})
	sealed = &patience.Failure{Fault: &fault.Error{Kind: fault.Sealed, What: "sealed"}, Retry: patience.Later, Unsent: true}
	busy   = &patience.Failure{Fault: &fault.Error{Kind: fault.RateLimited, What: "status 429"}, Retry: patience.Paced, Unsent: true}
)

// simulation is a run over two mounts. Reads in the bad one always fail; those in the good
// one fail only in an outage of Vault.
type simulation struct {
	good, bad   int // paths in each mount
	workers     int
	badFails    *patience.Failure // in the bad mount
	outageFails *patience.Failure // in the outage
	from, lasts time.Duration     // the outage
	latency     time.Duration     // of a healthy read
	served      int               // paths of the good mount
	over        *fault.Error      // why patience ended
}

const (
	simulatedPatience = time.Minute
	simulatedTimeout  = 6 * time.Second
)

func (s *simulation) run(random *rand.Rand) {
	var reads []*read
	for i := range s.good + s.bad {
		path := "good"
		if i >= s.good {
			path = "bad"
		}
		reads = append(reads, &read{mount: &mount{Mount: Mount{Path: path}}})
	}
	if random.IntN(2) == 0 {
		random.Shuffle(len(reads), func(i, j int) { reads[i], reads[j] = reads[j], reads[i] })
	}
	p, share, began := patience.New(simulatedPatience, patience.Limits{}), newShare(reads, s.workers), time.Now()
	send := func(r *read) func(context.Context, time.Duration) *patience.Failure {
		return func(_ context.Context, limit time.Duration) *patience.Failure {
			var f *patience.Failure
			hangs := false
			switch at := time.Since(began); {
			case s.from <= at && at < s.from+s.lasts:
				f, hangs = s.outageFails, s.outageFails == nil
			case r.mount.Path == "bad":
				f, hangs = s.badFails, s.badFails == nil
			}
			if hangs {
				time.Sleep(min(limit, simulatedTimeout))
				return late
			}
			time.Sleep(s.latency)
			return f
		}
	}
	var mu sync.Mutex
	var working sync.WaitGroup
	for range s.workers {
		working.Go(func() {
			for r := share.take(); r != nil; r = share.take() {
				err := p.Try(context.Background(), r.request, send(r))
				r.gaveWay = err == patience.ErrAside
				share.done(r)
				if err == nil {
					mu.Lock()
					s.served++
					mu.Unlock()
				}
			}
		})
	}
	working.Wait()
	s.over = p.Over()
}

// While the paths of one mount always fail, an outage of Vault that is shorter than patience
// costs no path of another mount.
func TestMountBesideABadOne(t *testing.T) {
	t.Parallel()
	faults := []*patience.Failure{nil, reset, broken, page, sealed, busy}
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			s := &simulation{
				good: 1 + random.IntN(600), bad: 1 + random.IntN(60), workers: 1 + random.IntN(16),
				badFails: faults[random.IntN(len(faults))], outageFails: faults[random.IntN(len(faults))],
				lasts: time.Duration(random.Int64N(int64(simulatedPatience / 3))), latency: time.Duration(1+random.IntN(20)) * time.Millisecond,
			}
			s.from = time.Duration(random.Int64N(int64(s.latency)*int64(s.good)/int64(s.workers) + 1))
			s.run(random)
			assert.Equal(t, s.good, s.served, "seed %d: %+v", seed, *s)
		})
	}
}

// The paths of a mount that always fail do not look like an outage once the others are read:
// each is tried three times and fails alone, even if it was not tried before.
func TestBadMountAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, fails := range []*patience.Failure{reset, broken, page} {
		for _, bad := range []int{20, 100, 500} {
			synctest.Test(t, func(t *testing.T) {
				s := &simulation{good: 3000, bad: bad, workers: 16, badFails: fails, latency: 3 * time.Millisecond}
				began := time.Now()
				s.run(rand.New(rand.NewPCG(1, 1)))
				assert.Nil(t, s.over)
				assert.Less(t, time.Since(began), 5*time.Second)
			})
		}
	}
}
