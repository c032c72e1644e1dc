package resolver

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
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

// simulation is a run over some good mounts and some bad ones. Reads in the bad ones fail always,
// or until some time; those in the good ones fail only in an outage of Vault.
type simulation struct {
	good, bad   int // paths
	goodMounts  int // 0 means 1
	badMounts   int // 0 means 1
	workers     int
	badFails    *patience.Failure // in a bad mount
	badUntil    time.Duration     // 0 means always
	outageFails *patience.Failure // in the outage
	againFails  *patience.Failure // in the second one, if it differs
	from, lasts time.Duration     // the outage
	share       float64           // of the requests that fail in the outage; 0 means all
	again       time.Duration     // from its end until one in which all fail; 0 means none
	latency     time.Duration     // of a healthy read, less up to a half
	served      int               // paths
	servedAt    time.Duration     // when the last of them was
	inOutage    int               // requests in the outage
	over        *fault.Error      // why patience ended
}

const (
	simulatedPatience = time.Minute
	simulatedTimeout  = 6 * time.Second
)

func (s *simulation) run(random *rand.Rand) {
	var reads []*read
	for i := range s.good + s.bad {
		path := fmt.Sprint("good", i%max(s.goodMounts, 1))
		if i >= s.good {
			path = fmt.Sprint("bad", i%max(s.badMounts, 1))
		}
		reads = append(reads, &read{mount: &mount{Mount: Mount{Path: path}}})
	}
	if random.IntN(2) == 0 {
		random.Shuffle(len(reads), func(i, j int) { reads[i], reads[j] = reads[j], reads[i] })
	}
	p, share, began := patience.New(simulatedPatience, patience.Limits{}), newShare(reads, s.workers), time.Now()
	var mu sync.Mutex
	send := func(r *read) func(context.Context, time.Duration) *patience.Failure {
		return func(_ context.Context, limit time.Duration) *patience.Failure {
			var f *patience.Failure
			hangs := false
			mu.Lock()
			took := s.latency - time.Duration(random.Int64N(int64(s.latency)/2))
			isOut := s.fails(time.Since(began), random)
			mu.Unlock()
			switch {
			case isOut:
				f = s.outageFails
				if time.Since(began) >= s.from+s.lasts {
					f = cmp.Or(s.againFails, f)
				}
				hangs = f == nil
				mu.Lock()
				s.inOutage++
				mu.Unlock()
			case strings.HasPrefix(r.mount.Path, "bad") && (s.badUntil == 0 || time.Since(began) < s.badUntil):
				f, hangs = s.badFails, s.badFails == nil
			}
			if hangs {
				time.Sleep(min(limit, simulatedTimeout))
				return late
			}
			time.Sleep(took)
			return f
		}
	}
	var working sync.WaitGroup
	for range s.workers {
		working.Go(func() {
			for r := share.take(); r != nil; r = share.take() {
				err := p.Try(context.Background(), r.request, send(r))
				share.done(r, err == patience.ErrAside)
				if err == nil {
					mu.Lock()
					s.served++
					s.servedAt = time.Since(began)
					mu.Unlock()
				}
			}
		})
	}
	working.Wait()
	s.over = p.Over()
}

// fails reports whether a request fails in an outage.
func (s *simulation) fails(at time.Duration, random *rand.Rand) bool {
	since := at - s.from
	if s.again > 0 && since >= s.lasts+s.again {
		return since < 2*s.lasts+s.again
	}
	return since >= 0 && since < s.lasts && (s.share == 0 || random.Float64() < s.share)
}

// A few paths that fail for less than a moment, while others are answered, are read. They are
// sent again at once, and that often if an outage seems to begin and end in between.
func TestFewPathsThatFailForAMoment(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			s := &simulation{
				good: 100 + random.IntN(1000), bad: 2 + random.IntN(3), badMounts: 1 + random.IntN(2), workers: 2 + random.IntN(15), latency: 3 * time.Millisecond,
				badFails: page, badUntil: time.Duration(5+random.IntN(250)) * time.Millisecond,
			}
			s.run(random)
			assert.Equal(t, s.good+s.bad, s.served, "seed %d: %+v", seed, *s)
		})
	}
}

// A balancer meets nodes that are down, and soon after all of Vault is down, with another
// cause: failures of the first time say nothing of a path that fails again the second time.
func TestOutageAfterSomeNodesWereDown(t *testing.T) {
	t.Parallel()
	faults := []*patience.Failure{reset, broken, page, sealed}
	lost := 0
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			s := &simulation{
				good: 200 + random.IntN(1000), goodMounts: 2 + random.IntN(2), workers: 4 + random.IntN(13), latency: 8 * time.Millisecond,
				outageFails: faults[random.IntN(len(faults))], againFails: faults[random.IntN(len(faults))], share: 0.2 + random.Float64()*0.3,
				lasts: time.Duration(random.Int64N(int64(2 * time.Second))), again: time.Duration(1 + random.Int64N(int64(100*time.Millisecond))),
			}
			s.from = time.Duration(random.Int64N(int64(s.latency)*int64(s.good)/int64(s.workers) + 1))
			s.run(random)
			lost += s.good - s.served
		})
	}
	assert.LessOrEqual(t, lost, 5, "a path may meet such a node three times by chance")
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

// More bad mounts than workers cost no path of a good one.
func TestManyBadMounts(t *testing.T) {
	t.Parallel()
	for _, fails := range []*patience.Failure{nil, reset, broken, sealed, busy} {
		for seed := range uint64(5) {
			synctest.Test(t, func(t *testing.T) {
				s := &simulation{good: 1000, bad: 100, badMounts: 20, workers: 16, badFails: fails, latency: 3 * time.Millisecond}
				s.run(rand.New(rand.NewPCG(seed, 1)))
				assert.Equal(t, s.good, s.served)
			})
		}
	}
}

// A read that must wait does not keep the only worker from those that need not.
func TestSealedMountWithOneWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{good: 300, bad: 10, workers: 1, badFails: sealed, latency: 3 * time.Millisecond}
		s.run(rand.New(rand.NewPCG(1, 1)))
		assert.Equal(t, s.good, s.served)
		assert.Less(t, s.servedAt, 5*time.Second)
	})
}

// Vault dies when only a mount that always fails is left. That is an outage like any other.
func TestDeadBesideABadMount(t *testing.T) {
	t.Parallel()
	refused := &patience.Failure{Fault: reset.Fault, Retry: patience.Later, Unsent: true}
	for _, dead := range []*patience.Failure{sealed, refused} {
		for _, bad := range []*patience.Failure{reset, broken} {
			synctest.Test(t, func(t *testing.T) {
				s := &simulation{good: 600, bad: 500, workers: 16, badFails: bad, outageFails: dead, latency: 3 * time.Millisecond, from: 300 * time.Millisecond, lasts: time.Hour}
				s.run(rand.New(rand.NewPCG(1, 1)))
				assert.LessOrEqual(t, s.inOutage, 12+s.workers)
			})
		}
	}
}

// Reads that a proxy may have refused for their rate do not give way. They leave a worker for
// another mount nonetheless.
func TestPathBesideAMountThatMayBePaced(t *testing.T) {
	t.Parallel()
	paced := &patience.Failure{Fault: page.Fault, Retry: patience.Later, Unsent: true, MayBePaced: true}
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			s := &simulation{good: 1, bad: 200, workers: 16, badFails: paced, latency: 3 * time.Millisecond}
			s.run(rand.New(rand.NewPCG(seed, 1)))
			assert.Equal(t, 1, s.served)
		})
	}
}
