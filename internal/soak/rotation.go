package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// rotation writes new values, one secret after another, through the balancer. A
// write that was not acknowledged may or may not have happened.
type rotation struct {
	address string
	token   string
	client  *http.Client

	mu     sync.Mutex
	acked  [secrets]int // the last number that Vault acknowledged
	number int          // of the last one tried
	total  int          // acknowledged
}

func newRotation(address, token string) *rotation {
	return &rotation{
		address: address,
		token:   token,
		client: &http.Client{
			// Each write uses a new connection: the next node may be well.
			Transport:     &http.Transport{DisableKeepAlives: true},
			Timeout:       2 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// start rotates secrets until it is stopped.
func (r *rotation) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { r.turn(ctx) })
	return func() {
		cancel()
		done.Wait()
	}
}

// turn skips the last secret, which stays deleted.
func (r *rotation) turn(ctx context.Context) {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		r.number++
		secret := r.number % (secrets - 1)
		if r.write(ctx, secret, r.number) {
			r.mu.Lock()
			r.acked[secret] = r.number
			r.total++
			r.mu.Unlock()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

func (r *rotation) write(ctx context.Context, secret, number int) (acknowledged bool) {
	body, err := json.Marshal(rotated(number))
	if err != nil {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, r.address+"/v1/"+apiPath(secret), bytes.NewReader(body))
	if err != nil {
		return false
	}
	request.Header.Set("X-Vault-Token", r.token)
	response, err := r.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode == http.StatusOK
}

// acknowledged returns the last acknowledged rotation of each secret.
func (r *rotation) acknowledged() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.acked[:])
}
