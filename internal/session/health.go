package session

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// Health is what Vault tells of itself to anybody.
type Health struct {
	Version     string // empty where Vault is told to hide it
	Initialized bool
	Sealed      bool
	Standby     bool // it forwards requests to the active node
	Namespaces  bool // false only where it surely has none
	Ahead       int  // seconds of Vault's clock before the Patch server's
}

// healthQuery makes every state an answer of status 200. A balancer may put a
// page of its own in place of any other.
const healthQuery = "standbycode=200&performancestandbycode=200&sealedcode=200&uninitcode=200&drsecondarycode=200&haunhealthycode=200&removedcode=200"

// askHealth asks for Vault's health. Where there is none to be had, the requests
// that follow tell why; a proxy may block this one alone.
func (s *session) askHealth(ctx context.Context) {
	var sent, received time.Time
	var answer client.Answer
	ask := s.asking(&answer)
	err := s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		sent = time.Now()
		f = ask(ctx, limit)
		received = time.Now()
		if isBlock(f) {
			f.Retry = fault.Never
		}
		return f
	})
	if err != nil || answer.Health.ServerTime == 0 {
		return
	}
	h := answer.Health
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health = &Health{
		Initialized: h.Initialized,
		Sealed:      h.Sealed,
		Standby:     h.Standby,
		Version:     h.Version,
		Namespaces:  hasNamespaces(h),
		Ahead:       int(ahead(h.ServerTime, sent, received).Seconds()),
	}
}

// asking returns the function that asks once for Vault's health.
func (s *session) asking(into *client.Answer) func(ctx context.Context, limit time.Duration) *fault.Error {
	r := client.Request{Method: http.MethodGet, Path: "sys/health", Query: healthQuery, Header: s.client.Header("", "")}
	return func(ctx context.Context, limit time.Duration) *fault.Error {
		answer, f := s.once(ctx, r, limit)
		if f == nil {
			*into = *answer
		}
		return f
	}
}

// hasNamespaces is false for Vault's Community Edition, which ignores the
// header. OpenBao has namespaces without being Enterprise; its versions begin
// at 2.
func hasNamespaces(h client.Health) bool {
	return h.Enterprise || strings.Contains(h.Version, "+ent") || !strings.HasPrefix(h.Version, "1.")
}

// ahead compares the clocks. Vault tells whole seconds, so the middle of its
// second is held against the middle of the request.
func ahead(serverTime int64, sent, received time.Time) time.Duration {
	here := sent.Add(received.Sub(sent) / 2)
	there := time.Unix(serverTime, int64(500*time.Millisecond))
	return there.Sub(here).Round(time.Second)
}
