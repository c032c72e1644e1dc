package resolver

import (
	"fmt"
	"time"

	"github.com/luumen/patch-vault/auth"
)

// afterRun returns the token as the next run finds it: this one's reads have used up a
// part of a given token's uses. The token of a login is gone by then, so its expiry says
// nothing. It returns the zero Token if Vault accepted no token.
func (p *plan) afterRun(t auth.Token) auth.Token {
	if !t.Proven && !t.Known {
		return auth.Token{}
	}
	t.Expires = t.Expires.Truncate(time.Second)
	if !t.Given {
		t.Expires = time.Time{}
	} else if t.UsesLeft != nil {
		left := *t.UsesLeft
		for _, r := range p.reads {
			if r.sent && left > 0 {
				left--
			}
		}
		t.UsesLeft = &left
	}
	return t
}

// shortOfUses warns of a token, as afterRun returned it, with too few uses left for the next
// run of these reads. Each read costs one. A given token needs one more for its look-up, and
// the token of a login two, for its look-up and its revocation. The mount list costs none.
func (p *plan) shortOfUses(token auth.Token) []auth.Finding {
	needed, do := len(p.reads)+2, "set token_num_uses=0 on its role"
	if token.Given {
		needed, do = len(p.reads)+1, "replace it with one without a use limit"
	}
	if token.UsesLeft == nil || *token.UsesLeft >= needed {
		return nil
	}
	return []auth.Finding{warning(ShortOfUses, fmt.Sprintf("the token has %s left; a run of these references needs %d; %s", counted(*token.UsesLeft, "use"), needed, do))}
}
