package patience

import (
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// Failure is why a request was not answered, with what decides whether it is
// sent again.
type Failure struct {
	Fault      *fault.Error
	Retry      When
	Unsent     bool          // Vault certainly did not act on the request
	RetryAfter time.Duration // what Vault asked for; 0 if it asked for nothing
	GiveUp     bool          // this request is not sent again; Retry is about others
	MayBePaced bool          // a proxy may have refused the request because it came too fast
	Within     time.Duration // the request is sent again after this at the latest; 0 means no limit
	CutShort   bool          // the attempt had less time than usual, and got no answer in it
}

// Final returns the same failure for a request that must not be sent again.
func (f Failure) Final() *Failure {
	f.Retry = Never
	return &f
}

// GivenUp returns the same failure for a request that is not sent again, although Vault
// may recover.
func (f Failure) GivenUp() *Failure {
	f.GiveUp = true
	return &f
}

// AgainWithin returns the same failure for a request that is sent again after d at the
// latest. d is more than 0.
func (f Failure) AgainWithin(d time.Duration) *Failure {
	f.Within = d
	return &f
}

// When says when a request that was not answered may succeed.
type When int

const (
	Never When = iota // the same request would fail again
	Later             // Vault, or the network, may recover
	Paced             // Vault asked for fewer requests
)
