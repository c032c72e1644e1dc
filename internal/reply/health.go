package reply

import (
	"encoding/json"
	"regexp"
	"time"
)

// Health is the answer of sys/health.
type Health struct {
	Initialized bool          `json:"initialized"`
	Sealed      bool          `json:"sealed"`
	Standby     bool          `json:"standby"`
	Enterprise  bool          `json:"enterprise"`
	Version     string        `json:"version"` // a release number, or empty
	ServerTime  int64         `json:"server_time_utc"`
	Ahead       time.Duration `json:"-"` // of Vault's clock before this machine's
}

// release matches the version of a release. Any other version is dropped: it would go to
// the UI, and a server could put a token there.
var release = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}([-+](ent|hsm|fips1402|fips1403|beta|rc|dev|[0-9.]){1,6})*$`)

// ParseHealth parses the answer of sys/health. sent and received are the times of the
// request and its answer.
func ParseHealth(body []byte, sent, received time.Time) (h Health, ok bool) {
	if json.Unmarshal(body, &h) != nil || h.ServerTime == 0 {
		return Health{}, false
	}
	if !release.MatchString(h.Version) {
		h.Version = ""
	}
	// Vault sends whole seconds, so compare the middle of its second with the
	// middle of the request.
	here := sent.Add(received.Sub(sent) / 2)
	there := time.Unix(h.ServerTime, int64(500*time.Millisecond))
	h.Ahead = there.Sub(here).Round(time.Second)
	return h, true
}
