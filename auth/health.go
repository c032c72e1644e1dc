package auth

import (
	"context"
	"strings"
	"time"

	"github.com/luumen/patch-vault/internal/reply"
)

// Health is what Vault's sys/health says.
type Health struct {
	Version     string `json:"version,omitempty"` // a release number; empty if Vault hides it
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`    // it forwards requests to the active node
	Namespaces  bool   `json:"namespaces"` // false if it certainly has none
	Ahead       int    `json:"ahead"`      // seconds by which Vault's clock is ahead of the Patch server's
}

// askHealth asks for Vault's health while the login goes on. If there is no answer,
// the requests of the login show why, or a proxy blocks this one alone.
func (s *session) askHealth(ctx context.Context) {
	told, ok := s.logins.Health(ctx)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health = &Health{
		Initialized: told.Initialized,
		Sealed:      told.Sealed,
		Standby:     told.Standby,
		Version:     told.Version,
		Namespaces:  hasNamespaces(told),
		Ahead:       int(told.Ahead.Round(time.Second).Seconds()),
	}
}

// hasNamespaces is false for Vault's Community Edition, which ignores the header.
// OpenBao has namespaces too; its versions begin at 2.
func hasNamespaces(h reply.Health) bool {
	return h.Enterprise || strings.Contains(h.Version, "+ent") || !strings.HasPrefix(h.Version, "1.")
}
