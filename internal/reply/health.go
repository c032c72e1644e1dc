package reply

import (
	"encoding/json"
	"regexp"
	"time"
)

// Health is what sys/health tells without a token.
type Health struct {
	Initialized bool          `json:"initialized"`
	Sealed      bool          `json:"sealed"`
	Standby     bool          `json:"standby"`
	Enterprise  bool          `json:"enterprise"`
	Version     string        `json:"version"` // a release number, or empty
	ServerTime  int64         `json:"server_time_utc"`
	Ahead       time.Duration `json:"-"` // of Vault's clock before this machine's
}

// release is what the version of a release looks like. Anything else is not
// shown: it goes to the UI, and a server could have put a token there.
var release = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}([-+](ent|hsm|fips1402|fips1403|beta|rc|dev|[0-9.]){1,6})*$`)

// ParseHealth reads the answer of sys/health to a request that was sent and
// received at these times.
func ParseHealth(body []byte, sent, received time.Time) (h Health, ok bool) {
	if json.Unmarshal(body, &h) != nil || h.ServerTime == 0 {
		return Health{}, false
	}
	if !release.MatchString(h.Version) {
		h.Version = ""
	}
	// Vault tells whole seconds, so the middle of its second is compared with
	// the middle of the request.
	here := sent.Add(received.Sub(sent) / 2)
	there := time.Unix(h.ServerTime, int64(500*time.Millisecond))
	h.Ahead = there.Sub(here).Round(time.Second)
	return h, true
}
