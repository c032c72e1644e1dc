package patience_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// Failures of a Vault with a problem, or of a proxy in front of it.
var (
	refused = &patience.Failure{Fault: &fault.Error{Kind: fault.Unreachable, What: "vault unreachable", Detail: "connection refused", Cause: syscall.ECONNREFUSED}, Retry: patience.Later, Unsent: true}
	reset   = &patience.Failure{Fault: &fault.Error{Kind: fault.Unreachable, What: "vault unreachable", Detail: "connection reset", Cause: syscall.ECONNRESET}, Retry: patience.Later}
	late    = &patience.Failure{Fault: &fault.Error{Kind: fault.Unreachable, What: "vault unreachable", Detail: "no answer in time", Cause: context.DeadlineExceeded}, Retry: patience.Later}
	sealed  = &patience.Failure{Fault: &fault.Error{Kind: fault.Sealed, What: "vault is sealed"}, Retry: patience.Later, Unsent: true}
	standby = &patience.Failure{Fault: &fault.Error{Kind: fault.NoActiveNode, What: "vault has no active node"}, Retry: patience.Later, Unsent: true}
	broken  = &patience.Failure{Fault: &fault.Error{Kind: fault.ServerError, What: "vault answers 500"}, Retry: patience.Later}
	gateway = &patience.Failure{Fault: &fault.Error{Kind: fault.BadResponse, What: "the answer is not Vault's", Detail: "status 502"}, Retry: patience.Later}
	busy    = &patience.Failure{Fault: &fault.Error{Kind: fault.RateLimited, What: "vault is rate limiting the agent"}, Retry: patience.Paced, Unsent: true}

	untrusted = &patience.Failure{Fault: fault.New(fault.TLS, "vault's certificate is not trusted", "")}
	foreign   = &patience.Failure{Fault: fault.New(fault.BadResponse, "the answer is not Vault's", "")}
	elsewhere = &patience.Failure{Fault: fault.New(fault.Settings, "vault has no such namespace", "").OfRun()}
)

const (
	budget  = 60 * time.Second
	workers = 16

	roundTrip = time.Millisecond // of an answer

	forever = time.Hour             // longer than any attempt may last
	timeout = 10 * time.Second      // of one attempt
	blip    = 20 * time.Millisecond // shorter than any wait but the first
)

// script is how Vault handles an attempt: how long it takes, and the failure, or nil for an
// answer. try counts the attempts of the request from 1; since is the time since the run
// began.
type script func(request, try int, since time.Duration) (took time.Duration, f *patience.Failure)

func healthy(int, int, time.Duration) (time.Duration, *patience.Failure) { return roundTrip, nil }

// after answers everything after a while.
func after(took time.Duration) script {
	return func(int, int, time.Duration) (time.Duration, *patience.Failure) { return took, nil }
}

// always fails every request.
func always(f *patience.Failure) script {
	return func(int, int, time.Duration) (time.Duration, *patience.Failure) { return roundTrip, f }
}

// hangs answers nothing.
func hangs(int, int, time.Duration) (time.Duration, *patience.Failure) { return forever, nil }

// between replaces the script for some time.
func (s script) between(from, to time.Duration, other script) script {
	return func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
		if from <= since && since < to {
			return other(request, try, since)
		}
		return s(request, try, since)
	}
}

// poisoned replaces the script for some requests.
func (s script) poisoned(other script, requests ...int) script {
	return func(request, try int, since time.Duration) (time.Duration, *patience.Failure) {
		if slices.Contains(requests, request) {
			return other(request, try, since)
		}
		return s(request, try, since)
	}
}

// run is the outcome of a run against a scripted Vault. All times count from its beginning.
type run struct {
	patience *patience.Patience
	took     time.Duration
	errs     []error
	ended    []time.Duration
	tries    []int
	sends    []time.Duration
	crowd    []int // for each attempt, how many were under way already
}

// play runs requests on workers against a scripted Vault, as a resolver would.
func play(ctx context.Context, p *patience.Patience, requests, workers int, vault script) *run {
	r := &run{patience: p, errs: make([]error, requests), ended: make([]time.Duration, requests), tries: make([]int, requests)}
	began := time.Now()
	var mu sync.Mutex
	underWay := 0
	send := func(request int) func(context.Context, time.Duration) *patience.Failure {
		return func(ctx context.Context, limit time.Duration) *patience.Failure {
			mu.Lock()
			r.tries[request]++
			r.sends = append(r.sends, time.Since(began))
			r.crowd = append(r.crowd, underWay)
			underWay++
			try := r.tries[request]
			mu.Unlock()
			defer func() {
				mu.Lock()
				underWay--
				mu.Unlock()
			}()
			took, f := vault(request, try, time.Since(began))
			if limit = min(limit, timeout); took > limit {
				took, f = limit, late
			}
			select {
			case <-time.After(took):
				return f
			case <-ctx.Done():
				return late
			}
		}
	}
	next := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range next {
				r.errs[i] = p.Do(ctx, send(i))
				r.ended[i] = time.Since(began)
			}
		})
	}
	for i := range requests {
		next <- i
	}
	close(next)
	group.Wait()
	r.took = time.Since(began)
	return r
}

// failed are the requests that ended with an error.
func (r *run) failed() (requests []int) {
	for i, err := range r.errs {
		if err != nil {
			requests = append(requests, i)
		}
	}
	return requests
}

// requireEach checks that every error has the kind, and the text of the last concrete
// cause.
func (r *run) requireEach(t *testing.T, kind fault.Kind, text string) {
	t.Helper()
	for i, err := range r.errs {
		require.ErrorIs(t, err, kind, "request %d", i)
		require.Contains(t, err.Error(), text, "request %d", i)
	}
}

func (r *run) String() string {
	return fmt.Sprintf("%d sends in %s, failed %v", len(r.sends), r.took, r.failed())
}
