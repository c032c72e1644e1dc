package auth

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/ref"
)

const (
	soon        = 7 * 24 * time.Hour // a given token with less to live is worth a warning
	lastMoments = 2 * time.Second    // for a login cut off by cancelling, and for a revocation
)

// Token is what is known of the run's token; never the token itself.
type Token struct {
	Given     bool      // by VAULT_TOKEN or VAULT_TOKEN_FILE; else logged in
	Batch     bool      // cannot be revoked or renewed
	Known     bool      // Vault told the rest; it may refuse to
	Expires   time.Time // zero means never
	UsesLeft  int       // 0 means any number
	Renewable bool
	Policies  []string
}

// token is a token with what it takes to send it.
type token struct {
	secret ref.Secret
	header http.Header // of reads
	own    http.Header // of requests about the token itself, in its own namespace
	given  bool
	keep   bool        // not to be revoked
	looked bool        // at itself; guarded by session.login
	worked atomic.Bool // for a request of the run, or a look
	facts  Token
}

func (t *token) isExpired(now time.Time) bool {
	return !t.facts.Expires.IsZero() && now.After(t.facts.Expires)
}

// open gets the run's first token, and looks at it if it was given.
func (s *session) open(ctx context.Context) error {
	t, err := s.obtain(ctx)
	if err != nil || !t.given {
		return err
	}
	return s.examine(ctx, t)
}

// obtain gets a token and makes it the session's.
func (s *session) obtain(ctx context.Context) (*token, error) {
	var f files
	defer func() {
		for _, finding := range f.findings {
			s.warn(finding)
		}
	}()
	if s.plan.name == tokenMethod && s.plan.handedIn == nil {
		secret, err := f.credential(s.plan.token)
		if err != nil {
			return nil, err
		}
		t := s.newToken(secret, "")
		t.given, t.keep, t.facts.Given = true, true, true
		s.setToken(t)
		return t, nil
	}
	return s.logIn(ctx, &f)
}

func (s *session) newToken(secret, index string) *token {
	t := &token{
		secret: ref.NewSecret(secret),
		header: s.client.Header(secret, s.plan.namespace),
		own:    s.client.Header(secret, s.plan.loginNamespace),
	}
	if index != "" {
		// A performance standby must have heard of the token before it is used.
		t.header["X-Vault-Index"] = []string{index}
		t.own["X-Vault-Index"] = []string{index}
	}
	return t
}

func (s *session) setToken(t *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = t
}

// addStray has a token revoked that came with the answer, and is not the run's.
func (s *session) addStray(answer *Answer) {
	if t, _ := s.accept(answer); t != nil {
		s.mu.Lock()
		s.strays = append(s.strays, t)
		s.mu.Unlock()
	}
}

// look asks Vault about the token. Where that is blocked, the answer is one of
// no status.
func (s *session) look(ctx context.Context, t *token) (*Answer, error) {
	return s.ask(ctx, client.Request{Method: http.MethodGet, Path: "auth/token/lookup-self", Header: t.own, Secrets: []string{t.secret.Reveal()}}, 0)
}

// examine looks at a given token once, warns of its end, and renews it.
func (s *session) examine(ctx context.Context, t *token) error {
	answer, err := s.look(ctx, t)
	if err != nil {
		return err
	}
	if refusal := answer.Refusal(); refusal == client.DeadToken || refusal == client.BySource {
		s.login.Lock()
		err := s.replace(ctx, t, answer)
		s.login.Unlock()
		if err != nil {
			return err
		}
		return s.examine(ctx, s.current())
	}
	var data struct {
		TTL         int64     `json:"ttl"`          // seconds; 0 means that it does not expire
		CreationTTL int64     `json:"creation_ttl"` // seconds
		Period      int64     `json:"period"`       // seconds
		Expires     time.Time `json:"expire_time"`
		UsesLeft    int       `json:"num_uses"`
		Renewable   bool      `json:"renewable"`
		Type        string    `json:"type"`
		Policies    []string  `json:"policies"`
	}
	if !answer.Ok() || json.Unmarshal(answer.Data, &data) != nil {
		s.warn(Finding{Code: TokenUnknown, Text: "the token may not look at itself, so nobody is warned before it expires; grant read on auth/token/lookup-self, or have it let through by what stands before Vault"})
		return nil
	}
	if data.UsesLeft < 0 {
		return fault.New(fault.Token, "the given token had one use left, which the look at it took", "have it replaced by one without a limit of uses")
	}
	t.worked.Store(true)
	facts := Token{Given: true, Batch: data.Type == "batch", Known: true, Expires: data.Expires,
		UsesLeft: data.UsesLeft, Renewable: data.Renewable, Policies: data.Policies}
	refused := false
	if data.Renewable && data.TTL > 0 && data.TTL < max(data.CreationTTL, data.Period)/2 {
		facts.Expires, refused = s.renew(ctx, t, facts.Expires)
	}
	if left := time.Until(facts.Expires); !facts.Expires.IsZero() && left < soon {
		do := "have it replaced"
		if data.Period > 0 && data.Renewable && !refused {
			do = "a run renews it, if there is one before then"
		}
		s.warn(Finding{Code: TokenExpires, Text: fmt.Sprintf("the given token expires at %s, in %s; %s", stamp(facts.Expires), fault.Duration(left), do)})
	}
	s.mu.Lock()
	t.facts = facts
	s.mu.Unlock()
	return nil
}

// renew returns when the token expires now.
func (s *session) renew(ctx context.Context, t *token, expires time.Time) (until time.Time, refused bool) {
	answer, err := s.ask(ctx, client.Request{Method: http.MethodPost, Path: "auth/token/renew-self", Header: t.own, Body: []byte("{}"), Secrets: []string{t.secret.Reveal()}}, 0)
	if err != nil || !answer.Ok() || answer.Auth == nil {
		s.warn(Finding{Code: TokenNotRenewed, Text: "the given token could not be renewed; grant update on auth/token/renew-self, or have it replaced before " + stamp(expires)})
		return expires, true
	}
	return time.Now().Add(time.Duration(answer.Auth.LeaseDuration) * time.Second), false
}

// revoke ends the tokens that the run logged in, within a time of its own: the
// caller may have cancelled long since.
func (s *session) revoke(ctx context.Context) {
	s.mu.Lock()
	tokens := append(s.strays, s.token)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoments)
	defer cancel()
	for _, t := range tokens {
		if t != nil && !t.keep {
			s.revokeOne(ctx, t)
		}
	}
}

func (s *session) revokeOne(ctx context.Context, t *token) {
	r := client.Request{Method: http.MethodPost, Path: "auth/token/revoke-self", Header: t.own, Body: []byte("{}"), Secrets: []string{t.secret.Reveal()}}
	var answer *Answer
	reason := "vault did not answer"
	once := func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		answer, f = s.client.Send(ctx, r, limit)
		if f != nil && f.Kind != fault.Unreachable {
			reason = f.What + ": " + f.Detail
		}
		return f
	}
	var err error
	if s.patience.Over() != nil { // Vault is gone: ask once, wait for nothing
		if f := once(ctx, lastMoments); f != nil {
			err = f
		}
	} else {
		err = patience.New(lastMoments, 0, 0).Do(ctx, once)
	}
	if err == nil && (answer.Ok() || answer.Refusal() == client.DeadToken) {
		return
	}
	if err == nil {
		reason = "vault answered: " + answer.Words()
	}
	until := "until it expires"
	if !t.facts.Expires.IsZero() {
		until = "until " + stamp(t.facts.Expires)
	}
	text := "the run's token could not be revoked%s and lives %s; grant update on auth/token/revoke-self, or give the role a short token_ttl"
	s.warn(Finding{Code: TokenNotRevoked, Text: fmt.Sprintf(text, "", until), log: fmt.Sprintf(text, " ("+reason+")", until)})
}

func (s *session) facts() Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return Token{}
	}
	return s.token.facts
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }
