package auth

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"time"
)

// Health describes a server by its answer to sys/health.
type Health struct {
	Version     string `json:"version,omitempty"` // a release number; empty if Vault hides it
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`    // it is not the active node
	Namespaces  bool   `json:"namespaces"` // false only if it certainly has none
	ClockSkew   int    `json:"clock_skew"` // in seconds; positive if Vault's clock is ahead of the Patch server's
}

// askHealth asks for Vault's health while the login goes on. If there is no answer,
// the requests of the login show why, or a proxy blocks this one alone.
func (s *session) askHealth(ctx context.Context) {
	if answer, at, ok := s.logins.Health(ctx); ok {
		s.health = parseHealth(answer, at)
	}
}

// release matches the version of a release. Any other version is dropped: it would go to
// the UI, and a server could put a token there.
var release = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}([-+](ent|hsm|fips1402|fips1403|beta|rc|dev|[0-9.]){1,6})*$`)

// parseHealth parses the answer of sys/health, or returns nil. at is when Vault answered,
// by the clock of this machine.
func parseHealth(answer []byte, at time.Time) *Health {
	var told struct {
		Initialized bool   `json:"initialized"`
		Sealed      bool   `json:"sealed"`
		Standby     bool   `json:"standby"`
		Enterprise  bool   `json:"enterprise"`
		Version     string `json:"version"`
		ServerTime  int64  `json:"server_time_utc"`
	}
	if json.Unmarshal(answer, &told) != nil || told.ServerTime == 0 {
		return nil
	}
	h := &Health{Initialized: told.Initialized, Sealed: told.Sealed, Standby: told.Standby}
	if release.MatchString(told.Version) {
		h.Version = told.Version
	}
	// Vault's Community Edition has no namespaces and ignores the header. OpenBao has them
	// too; its versions begin at 2.
	h.Namespaces = told.Enterprise || strings.Contains(h.Version, "+ent") || !strings.HasPrefix(h.Version, "1.")
	// Vault sends whole seconds, so its time is in the middle of one.
	there := time.Unix(told.ServerTime, int64(500*time.Millisecond))
	h.ClockSkew = int(there.Sub(at).Round(time.Second).Seconds())
	return h
}
