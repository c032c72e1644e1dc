package transport

import (
	"context"
	"sync"

	"github.com/luumen/patch-vault/internal/patience"
)

type others struct{}

// GivingWay marks the requests of a context, with distinct URLs, as ones to lay aside. If
// one has failed and must wait, and exist reports that another one could be sent, its error
// is [patience.ErrAside]. Send it again later. So requests that fail for their own reasons
// do not occupy all workers.
func GivingWay(ctx context.Context, exist func() bool) context.Context {
	return context.WithValue(ctx, others{}, exist)
}

// asides are the requests that were laid aside, by URL.
type asides struct {
	mu  sync.Mutex
	all map[string]*patience.Request
}

// take returns the request as it was laid aside, or a new one.
func (a *asides) take(s *exchange) *patience.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) == 0 {
		return &patience.Request{}
	}
	url := s.request.URL.String()
	r := a.all[url]
	if r == nil {
		return &patience.Request{}
	}
	delete(a.all, url)
	return r
}

func (a *asides) put(s *exchange, r *patience.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = make(map[string]*patience.Request)
	}
	a.all[s.request.URL.String()] = r
}

// try sends the request with patience.
func (s *exchange) try(ctx context.Context) error {
	r := s.retry
	exist, ok := s.request.Context().Value(others{}).(func() bool)
	if !ok {
		return r.Patience.Do(ctx, s.once)
	}
	request := r.asides.take(s)
	err := r.Patience.Try(ctx, request, exist, s.once)
	if err == patience.ErrAside {
		r.asides.put(s, request)
	}
	return err
}
