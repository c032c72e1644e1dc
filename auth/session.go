package auth

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// Answer is what Vault said to a request of a Session: its status is 200, 204
// or one of the 400s, with the API's own JSON.
type Answer = client.Answer

// Session is a Vault that the run is logged in to. Its methods may be called
// from any number of goroutines.
type Session struct {
	plan     *plan
	client   *client.Client
	patience *patience.Patience

	// Newer than Vault 1.15, as an answer has shown: its text tells a dead
	// token from a policy.
	modern atomic.Bool

	mu       sync.Mutex
	token    *token
	times    []time.Duration // of the answered requests
	findings []Finding
	health   *Health

	login sync.Mutex   // one login at a time; guards the rest
	again bool         // the one further login of a run has been tried
	fatal *fault.Error // why no token works any more
	alive bool         // a look at the token has shown so, and nothing was read since
}

// KVVersion is the version that the settings give to mounts of which Vault
// does not tell it: 1 or 2.
func (s *Session) KVVersion() int { return s.plan.kvVersion }

// Mounts are the paths of mounts that the settings name.
func (s *Session) Mounts() []string { return s.plan.mounts }

// Over returns the error that ended the session for every request, or nil: Vault
// answered nothing for a whole patience, or no token works any more.
func (s *Session) Over() error {
	if f := s.patience.Over(); f != nil {
		return f
	}
	s.login.Lock()
	defer s.login.Unlock()
	if s.fatal != nil {
		return s.fatal
	}
	return nil
}

// Get reads a path of Vault's API, given as plain text below /v1/, with an
// escaped query. It repeats what was not answered and logs in once more if the
// token has died. A refusal by policy, and any other answer of status 400 to
// 499, is an answer and not an error. The error is ctx's, or of a kind that
// says why there is no answer.
func (s *Session) Get(ctx context.Context, path, query string) (*Answer, error) {
	return s.request(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
}

// Post sends body as JSON to a path of Vault's API; see Get.
func (s *Session) Post(ctx context.Context, path string, body any) (*Answer, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return s.request(ctx, client.Request{Method: http.MethodPost, Path: path, Body: data})
}

func (s *Session) request(ctx context.Context, r client.Request) (*Answer, error) {
	for {
		t := s.current()
		r.Header = t.header
		r.Secrets = []string{t.secret.Reveal()}
		answer, err := s.send(ctx, r)
		if err != nil {
			return nil, err
		}
		replaced, err := s.afterRefusal(ctx, t, answer)
		if err != nil {
			return nil, err
		}
		if !replaced {
			return answer, nil
		}
	}
}

// send sends the request until it is answered.
func (s *Session) send(ctx context.Context, r client.Request) (*Answer, error) {
	var answer *Answer
	err := s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) *fault.Error {
		began := time.Now()
		a, f := s.client.Send(ctx, r, limit)
		if f == nil {
			s.note(time.Since(began), a)
			answer = a
		}
		return f
	})
	return answer, err
}

func (s *Session) note(took time.Duration, a *Answer) {
	if a.MountType != "" && !s.modern.Load() {
		s.modern.Store(true)
	}
	s.mu.Lock()
	s.times = append(s.times, took)
	s.mu.Unlock()
}

func (s *Session) current() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

func (s *Session) warn(f Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.findings, f) {
		s.findings = append(s.findings, f)
	}
}

// afterRefusal makes sense of a 403. It reports whether there is a new token
// to send the request with.
func (s *Session) afterRefusal(ctx context.Context, used *token, answer *Answer) (replaced bool, err error) {
	refusal := answer.Refusal()
	if refusal == client.NotRefused {
		return false, nil
	}
	s.login.Lock()
	defer s.login.Unlock()
	switch {
	case s.fatal != nil:
		return false, s.fatal
	case s.current() != used:
		return true, nil // another request has replaced it already
	case refusal == client.BySource:
		s.fatal = s.sourceRefused(answer)
		return false, s.fatal
	case refusal == client.ByPolicy:
		dead, err := s.isDead(ctx, used)
		if err != nil || !dead {
			return false, err
		}
	}
	return true, s.replace(ctx, used)
}

// isDead tells a dead token from a policy where Vault's text does not: before
// 1.17, and on OpenBao.
func (s *Session) isDead(ctx context.Context, t *token) (bool, error) {
	if s.modern.Load() && !t.isSpent(time.Now()) || s.again || s.alive {
		return false, nil
	}
	answer, err := s.look(ctx, t)
	if err != nil {
		return false, err
	}
	s.alive = answer.Ok()
	// A token that may not look at itself says nothing by that, unless it could
	// before or a new one is to be had.
	return !answer.Ok() && (t.seen || !t.given), nil
}

// replace gets the one further token of a run: by a new login, or from the
// token file, which may hold a new one by now.
func (s *Session) replace(ctx context.Context, dead *token) error {
	if s.again {
		s.fatal = s.tokenDied(dead, "a second time in this run")
		return s.fatal
	}
	s.again = true
	t, err := s.obtain(ctx)
	if err != nil {
		if f, ok := err.(*fault.Error); ok {
			s.fatal = f
		}
		return err
	}
	if t.given && t.secret.Reveal() == dead.secret.Reveal() {
		s.fatal = s.tokenDied(dead, "")
		return s.fatal
	}
	return nil
}

func (s *Session) tokenDied(t *token, when string) *fault.Error {
	f := &fault.Error{Kind: fault.Token, What: "the vault token is expired, revoked or used up", Detail: when}
	switch {
	case !t.given:
		f.Do = "give the role a longer token_ttl and token_num_uses=0"
	case s.plan.token.file != "":
		f.Do = "have " + s.plan.token.file + " (VAULT_TOKEN_FILE) written with a new one"
	default:
		f.Do = "set VAULT_TOKEN to a new one on the Patch server, and start the agent again"
	}
	return f
}

func (s *Session) sourceRefused(answer *Answer) *fault.Error {
	return &fault.Error{
		Kind: fault.Token, What: "vault refuses the token itself", Detail: answer.Words() + " at " + s.client.Address(),
		Do:    "check that it may be used from the Patch server's address (token_bound_cidrs), and that its entity is not disabled",
		Cause: s.client.ResponseError(nil, answer),
	}
}

// Summary is what a use of Vault took.
type Summary struct {
	Requests    int           // tried, retries included
	Retries     int           // of those
	Connections int           // tried
	Waited      time.Duration // in which Vault answered nothing
	Median      time.Duration // of the answered requests
	P95         time.Duration // 95 of 100 were answered within it
	Longest     time.Duration
	Token       Token
	Health      *Health   // nil where it was not asked for, or not told
	Warnings    []string  // complete, for the agent's log alone
	Findings    []Finding // the same, as the UI may show them
}

func (s *Session) summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	retries, waited := s.patience.Stats()
	sum := Summary{
		Requests:    s.client.Requests(),
		Retries:     retries,
		Connections: s.client.Dials(),
		Waited:      waited,
		Health:      s.health,
	}
	sum.find(s.findings)
	if s.token != nil {
		sum.Token = s.token.facts
	}
	if n := len(s.times); n > 0 {
		slices.Sort(s.times)
		sum.Median, sum.P95, sum.Longest = s.times[n/2], s.times[min(n*95/100, n-1)], s.times[n-1]
	}
	return sum
}

func oneLine(texts []string) string { return strings.Join(texts, "; ") }
