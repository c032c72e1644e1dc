package transport

import (
	"sync"

	"github.com/luumen/patch-vault/internal/patience"
)

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
