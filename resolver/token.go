package resolver

import (
	"fmt"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// TokenState describes the token of a run or a check. It does not hold the token.
type TokenState struct {
	Given      bool      `json:"given"`               // by the environment; otherwise it comes from a login
	Batch      bool      `json:"batch,omitempty"`     // cannot be revoked or renewed
	Known      bool      `json:"known"`               // Vault told expiry and uses; otherwise they are zero
	Expires    time.Time `json:"expires,omitzero"`    // of a given token; zero means never
	TTL        int       `json:"ttl,omitempty"`       // in seconds; 0 means that it does not expire
	UsesLeft   *int      `json:"uses_left,omitempty"` // for the next run; nil means no limit
	UsesNeeded int       `json:"uses_needed"`         // by a run of these references
}

// tokenState returns the state for the next run: this one's reads have used up a part
// of a given token's uses. It is nil if Vault accepted no token.
func (p *plan) tokenState(t auth.Token) *TokenState {
	if !t.Proven && !t.Known {
		return nil
	}
	state := &TokenState{Given: t.Given, Batch: t.Batch, Known: t.Known, UsesNeeded: p.usesNeeded(t)}
	if !t.Expires.IsZero() {
		state.TTL = max(int(time.Until(t.Expires).Round(time.Second).Seconds()), 1)
	}
	left := t.UsesLeft
	if t.Given {
		state.Expires = encodable(t.Expires.UTC().Truncate(time.Second))
		state.UsesNeeded++ // the look-up
		for _, r := range p.reads {
			if r.sent && left > 0 {
				left--
			}
		}
	}
	if t.UsesLeft > 0 {
		state.UsesLeft = &left
	}
	return state
}

// encodable returns the time, or zero if JSON cannot hold it.
func encodable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// String returns one line.
func (t *TokenState) String() string {
	words := []string{"by login"}
	if t.Given {
		words[0] = "given"
	}
	if !t.Known {
		return words[0] + ", expiry unknown"
	}
	if t.Batch {
		words = append(words, "of type batch")
	}
	ttl := fault.Duration(time.Duration(t.TTL) * time.Second)
	switch {
	case t.TTL == 0:
		words = append(words, "does not expire")
	case t.Expires.IsZero():
		words = append(words, "lives for "+ttl)
	default:
		words = append(words, "expires at "+fault.Time(t.Expires)+", in "+ttl)
	}
	if t.UsesLeft != nil {
		words = append(words, fmt.Sprintf("uses left: %d (a run needs %d)", *t.UsesLeft, t.UsesNeeded))
	}
	return strings.Join(words, ", ")
}

// usesNeeded is how many uses of a token a run costs. The mount list costs none; the
// revocation costs one, and the look-up before it another.
func (p *plan) usesNeeded(token auth.Token) int {
	if token.Given {
		return len(p.reads)
	}
	return len(p.reads) + 2
}

// shortOfUses warns of a token with too few uses left for the run.
func (p *plan) shortOfUses(token auth.Token) []Finding {
	if token.UsesLeft == 0 {
		return nil
	}
	return tooFewUses(token.Given, token.UsesLeft, p.usesNeeded(token))
}

func tooFewUses(given bool, left, needed int) []Finding {
	if left >= needed {
		return nil
	}
	do := "set token_num_uses=0 on its role"
	if given {
		do = "replace it with one without a limit of uses"
	}
	return []Finding{{Code: ShortOfUses, Text: fmt.Sprintf("the token has %s left; a run of these references needs %d; %s", counted(left, "use"), needed, do)}}
}
