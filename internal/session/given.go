package session

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// look asks Vault about the token. Where that is blocked, the answer is one of
// no status.
func (s *session) look(ctx context.Context, t *token, data any) (*client.Answer, error) {
	return s.ask(ctx, client.Request{Method: http.MethodGet, Path: "auth/token/lookup-self", Header: t.own, Data: data}, 0)
}

// examine looks at a given token once, warns of its end, and renews it.
func (s *session) examine(ctx context.Context, t *token) error {
	var data struct {
		TTL         int64     `json:"ttl"`          // seconds; 0 means that it does not expire
		CreationTTL int64     `json:"creation_ttl"` // seconds
		Period      int64     `json:"period"`       // seconds
		Expires     time.Time `json:"expire_time"`
		UsesLeft    int       `json:"num_uses"`
		Renewable   bool      `json:"renewable"`
		Type        string    `json:"type"`
		Policies    []string  `json:"policies"`
		OfEntity    []string  `json:"identity_policies"`
	}
	answer, err := s.look(ctx, t, &data)
	if err != nil {
		return err
	}
	if refusal := answer.Refusal; refusal == client.DeadToken || refusal == client.BySource {
		s.login.Lock()
		err := s.replace(ctx, t, answer)
		s.login.Unlock()
		if err != nil {
			return err
		}
		return s.examine(ctx, s.current())
	}
	if !answer.Ok() || answer.BadData {
		s.warn(Finding{Code: TokenUnknown, Text: "the token may not look at itself, so nobody is warned before it expires; grant read on auth/token/lookup-self, or have it let through by what stands before Vault"})
		return nil
	}
	if data.UsesLeft < 0 {
		return fault.New(fault.Token, "the given token had one use left, which the look at it took", "have it replaced by one without a limit of uses")
	}
	t.worked.Store(true)
	facts := Token{Given: true, Batch: data.Type == "batch", Known: true, Expires: data.Expires,
		UsesLeft: data.UsesLeft, Renewable: data.Renewable, Policies: slices.Concat(data.Policies, data.OfEntity)}
	refused := false
	if data.Renewable && data.TTL > 0 && data.TTL < max(data.CreationTTL, data.Period)/2 {
		facts.Expires, refused = s.renew(ctx, t, facts.Expires)
	}
	if left := time.Until(facts.Expires); !facts.Expires.IsZero() && left < soon {
		do := "have it replaced"
		if data.Period > 0 && data.Renewable && !refused {
			do = "a run renews it, if there is one before then"
		}
		s.warn(Finding{Code: TokenExpires, Text: fmt.Sprintf("the given token expires at %s, in %s; %s", fault.Time(facts.Expires), fault.Duration(left), do)})
	}
	s.mu.Lock()
	t.facts = facts
	s.mu.Unlock()
	return nil
}

// renew returns when the token expires now.
func (s *session) renew(ctx context.Context, t *token, expires time.Time) (until time.Time, refused bool) {
	answer, err := s.ask(ctx, client.Request{Method: http.MethodPost, Path: "auth/token/renew-self", Header: t.own, Body: []byte("{}")}, 0)
	if err != nil || !answer.Ok() || answer.Auth == nil {
		s.warn(Finding{Code: TokenNotRenewed, Text: "the given token could not be renewed; grant update on auth/token/renew-self, or have it replaced before " + fault.Time(expires)})
		return expires, true
	}
	return time.Now().Add(time.Duration(answer.Auth.LeaseDuration) * time.Second), false
}
