package transport

import (
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// forOptional is how long an optional request may take. In a check it leaves time for
// an attempt of another request.
func (r *Retry) forOptional() time.Duration {
	if r.isCheck() {
		whole := r.Wire.config.Timeout
		return max(min(whole, time.Until(r.Until)-whole), whole/10)
	}
	return r.part()
}

// part is the part of patience that an optional request may take.
func (r *Retry) part() time.Duration {
	if r.hung.Load() {
		return r.Patience.Budget() / 12
	}
	return r.Patience.Budget() / 4
}

// isLate reports whether an optional request gives up. A bare internal error may come
// from the token, so it gives up early and lets the next request show it.
func (s *exchange) isLate(f *patience.Failure) bool {
	r := s.retry
	took := time.Since(s.began) + time.Millisecond
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return took >= r.Patience.Budget()/12
	case f.Retry == patience.Paced, isBlock(f), !f.Unsent:
		return took >= min(s.share, s.part) // the share of a check, which is for silence, may be longer than patience
	}
	return false // Vault itself is down, sealed or without a leader
}

// isBlock reports whether a failure may concern one request alone.
func isBlock(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}
