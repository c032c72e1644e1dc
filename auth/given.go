package auth

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// soon is how early every run warns that a given token expires.
const soon = 7 * 24 * time.Hour

// look looks up the token of a client. The data is nil if the answer has none.
func (s *session) look(ctx context.Context, client *api.Client) (*reply.Answer, *lookup, error) {
	var data *lookup
	answer, err := reply.Read(transport.WithOwn(ctx, transport.Own{Optional: transport.AtOnce}), client, "auth/token/lookup-self", nil, &data)
	if err != nil {
		return nil, nil, err
	}
	if !answer.Ok() || answer.Malformed || data != nil && !data.isToken() {
		data = nil
	}
	return answer, data, nil
}

// lookup is the answer to a token look-up.
type lookup struct {
	ID          string    `json:"id"` // the token itself
	Accessor    string    `json:"accessor"`
	TTL         int64     `json:"ttl"`              // seconds; 0 means that it does not expire
	CreationTTL int64     `json:"creation_ttl"`     // seconds
	Period      int64     `json:"period"`           // seconds
	MaxTTL      int64     `json:"explicit_max_ttl"` // seconds; 0 if renewals may go on
	Expires     time.Time `json:"expire_time"`
	UsesLeft    int       `json:"num_uses"`
	Renewable   bool      `json:"renewable"`
	Type        string    `json:"type"`
	Policies    []string  `json:"policies"`
	OfEntity    []string  `json:"identity_policies"`
	Namespace   string    `json:"namespace_path"` // missing for the root namespace, and without namespaces
}

// isToken reports whether the answer describes a token at all.
func (l *lookup) isToken() bool {
	return l.ID != "" || l.Accessor != "" || l.TTL != 0 || l.CreationTTL != 0 || l.Policies != nil
}

// examine looks up a given token once, renews it, and warns if it expires soon. It sets
// expiryUnknown if the look-up does not show that.
func (s *session) examine(ctx context.Context, t *token) error {
	ctx, client := s.about(ctx, t, s.reads)
	sent := time.Now()
	answer, data, err := s.look(ctx, client)
	if err != nil {
		return s.lookFailed(t, err)
	}
	switch refusal := answer.Refusal(); {
	case refusal.IsOfToken():
		s.login.Lock()
		err := s.replace(ctx, t, answer)
		s.login.Unlock()
		if err != nil {
			return err
		}
		return s.examine(ctx, s.token.Load())
	case refusal == reply.ByPolicy:
		t.setAccepted()
	}
	switch {
	case data == nil:
		t.foreign = answer.Ok() || answer.Status == http.StatusNotFound
		s.expiryUnknown = &Finding{Code: TokenExpiryUnknown, Text: "the token's expiry is unknown: it may not read auth/token/lookup-self; grant read on it, or let the proxy in front of Vault pass it"}
		return nil
	case data.UsesLeft < 0:
		return fault.New(fault.Token, "the given token had one use left, which its look-up used", "replace it with one without a use limit")
	}
	t.setServed()
	if data.ID != "" && data.ID != t.secret && data.Accessor == "" {
		return nil // a Vault Agent or Proxy puts its own token in place of each, and renews that one
	}
	t.facts = s.factsIn(data, sent)
	lifetime, renewable := seconds(max(data.CreationTTL, data.Period)), data.Renewable
	if renewable && data.TTL > 0 && seconds(data.TTL) < lifetime/2 {
		renewable = s.renew(ctx, client, t, lifetime)
	}
	s.warnOfExpiry(t.facts.Expires, lifetime, renewable && data.Period > 0 && data.MaxTTL == 0)
	return nil
}

// lookFailed returns the error of a look-up without an answer, or keeps the warning of it if
// the run can go on.
func (s *session) lookFailed(t *token, err error) error {
	f, ok := err.(*fault.Error)
	switch {
	case !ok:
		return err
	case f.Kind == fault.Token:
		return withOddity(f, t.odd)
	case f.Run, f.Kind == fault.TLS:
		return f // the requests that follow fail, too
	}
	s.expiryUnknown = &Finding{Code: TokenExpiryUnknown, Text: "the token's expiry is unknown: " + reply.Unanswered("auth/token/lookup-self", f), Detail: f.Error()}
	return nil
}

// warnOfUnknownExpiry warns after the use that the look-up did not show when the token expires.
// If nothing at all was answered, or no token worked, the errors say more than this finding.
func (s *session) warnOfUnknownExpiry() {
	if s.expiryUnknown != nil && s.patience.HasAnswers() && (s.fatal.Load() == nil || s.token.Load().hasServed()) {
		s.findings.add(*s.expiryUnknown)
	}
}

// factsIn describes a given token, by the answer to its look-up.
func (s *session) factsIn(data *lookup, sent time.Time) Token {
	t := Token{
		Given: true, Batch: data.Type == "batch", Known: true, Expires: fault.Encodable(data.Expires), UsesLeft: usesLeft(data.UsesLeft), Renewable: data.Renewable,
		Policies: s.shown(slices.Concat(data.Policies, data.OfEntity)), Namespace: cmp.Or(strings.Trim(data.Namespace, "/"), s.config.pins.namespace), Located: data.Namespace != "",
	}
	if !isNamespace(t.Namespace) || s.wire.Sent.Words(t.Namespace) != t.Namespace {
		t.Namespace, t.Located = s.config.loginNamespace, false // a server may send anything
	}
	if data.TTL > 0 {
		t.Expires = sent.Add(seconds(data.TTL)) // the clocks may differ
	}
	return t
}

// warnOfExpiry warns if a given token expires soon. The next runs renew it if it is
// periodic.
func (s *session) warnOfExpiry(expires time.Time, lifetime time.Duration, periodic bool) {
	early := soon
	if s.config.credentials.credential.file != "" && lifetime > 0 && lifetime < soon {
		early = lifetime / 10 // whatever writes the file, such as Vault Agent, renews the token
	}
	left := time.Until(expires)
	if expires.IsZero() || left >= early {
		return
	}
	do := "replace it"
	if periodic {
		do = "a run before then renews it"
	}
	s.findings.add(Finding{Code: TokenExpires, Text: fmt.Sprintf("the given token expires at %s, in %s; %s", fault.Time(expires), fault.Duration(max(left, 0)), do)})
}

// renew renews a given token for a whole lifetime, with a client that has it, and reports
// whether Vault did so. Without an increment, Vault repeats that of the last renewal, which
// may have been short.
func (s *session) renew(ctx context.Context, client *api.Client, t *token, lifetime time.Duration) bool {
	if t.facts.UsesLeft != nil {
		*t.facts.UsesLeft-- // the renewal costs one, refused or not
	}
	answer, err := reply.Write(transport.WithOwn(ctx, transport.Own{Optional: transport.AtOnce, Harmless: true}), client, "auth/token/renew-self", map[string]int{"increment": int(lifetime.Seconds())}, nil)
	if err == nil && answer.Ok() && answer.Auth != nil {
		t.facts.Expires = time.Now().Add(seconds(answer.Auth.LeaseDuration))
		return true
	}
	do, detail := ";", ""
	switch {
	case err != nil:
		do, detail = ": "+reply.Unanswered("auth/token/renew-self", err)+", or", err.Error()
	case answer.Refusal() == reply.ByPolicy:
		do = "; grant update on auth/token/renew-self, or"
	case !answer.Ok():
		detail = "vault answered: " + answer.Words()
	}
	s.findings.add(Finding{Code: TokenNotRenewed, Text: "the given token could not be renewed" + do + " replace the token before " + fault.Time(t.facts.Expires), Detail: detail})
	return false
}
