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
// from any number of goroutines, until the function that it was given to
// returns.
type Session struct {
	// A func, because a print through reflection would find the token in what
	// is behind, down to the buffers of the connections.
	reach func() *session
}

// KVVersion is the version that the settings give to mounts of which Vault
// does not tell it: 1 or 2.
func (s *Session) KVVersion() int { return s.reach().plan.kvVersion }

// Mounts are the paths of mounts that the settings name.
func (s *Session) Mounts() []string { return s.reach().plan.mounts }

// Over returns the error that ended the session for every request, or nil: Vault
// answered nothing for a whole patience, or no token works any more.
func (s *Session) Over() error { return s.reach().isOver() }

// Token is what is known of the run's token so far.
func (s *Session) Token() Token { return s.reach().facts() }

// Unanswered returns the error of a server that has answered nothing as a Vault
// does so far; nil once it has, or if it was not asked yet.
func (s *Session) Unanswered() error {
	if f := s.reach().blocked.Load(); f != nil && !s.reach().answered.Load() {
		return f
	}
	return nil
}

// Get reads a path of Vault's API, given as plain text below /v1/, with an
// escaped query. It repeats what was not answered and logs in once more if the
// token has died. A refusal by policy, and any other answer of status 400 to
// 499, is an answer and not an error. The error is ctx's, or of a kind that
// says why there is no answer.
func (s *Session) Get(ctx context.Context, path, query string) (*Answer, error) {
	return s.reach().request(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query}, (*session).send)
}

// Ask is a Get, or with a body a POST of it as JSON, for what the caller can do
// without. Vault, or what stands before it, may block it in whatever way: after
// a third of patience at most, the answer is one of no status.
func (s *Session) Ask(ctx context.Context, path string, body any) (*Answer, error) {
	r := client.Request{Method: http.MethodGet, Path: path}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r.Method, r.Body = http.MethodPost, data
	}
	return s.reach().request(ctx, r, func(s *session, ctx context.Context, r client.Request) (*Answer, error) {
		return s.ask(ctx, r, s.budget/3)
	})
}

// session is what is behind a Session.
type session struct {
	plan     *plan
	client   *client.Client
	patience *patience.Patience
	budget   time.Duration // of patience
	runID    string

	// Vault 1.16 or newer, as an answer has shown. It refuses a dead token in
	// other words than what no policy grants.
	modern atomic.Bool

	answered atomic.Bool                 // any request
	blocked  atomic.Pointer[fault.Error] // the last fault that can be one request's alone

	mu       sync.Mutex
	token    *token
	strays   []*token        // that a method made beside it
	times    []time.Duration // of the answered requests
	findings []Finding
	health   *Health

	fatal atomic.Pointer[fault.Error] // why no token works any more; set under login, read without waiting for one

	login sync.Mutex // one login at a time; guards the rest
	again bool       // the one further login of a run has been tried

	// Vault 1.17 or newer, as a refusal has shown: it has called a token invalid.
	// Older ones, and OpenBao, refuse a dead token in the words for one that may
	// not be used from here.
	explicit bool
}

func (s *session) request(ctx context.Context, r client.Request, send func(*session, context.Context, client.Request) (*Answer, error)) (*Answer, error) {
	for {
		t := s.current()
		r.Header = t.header
		r.Secrets = []string{t.secret.Reveal()}
		answer, err := send(s, ctx, r)
		if err != nil {
			return nil, err
		}
		replaced, err := s.afterRefusal(ctx, t, answer)
		if err != nil {
			return nil, err
		}
		if !replaced {
			if answer.Ok() && !t.worked.Load() {
				t.worked.Store(true)
			}
			return answer, nil
		}
	}
}

// send sends the request until it is answered.
func (s *session) send(ctx context.Context, r client.Request) (*Answer, error) {
	var answer *Answer
	err := s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		answer, f = s.once(ctx, r, limit)
		return f
	})
	return answer, err
}

// ask sends a request that the run can do without. Where it is still blocked
// after most, the answer is one of no status.
func (s *session) ask(ctx context.Context, r client.Request, most time.Duration) (*Answer, error) {
	var answer *Answer
	began := time.Now()
	err := s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		answer, f = s.once(ctx, r, limit)
		if isBlock(f) && time.Since(began) >= most {
			f.Retry = fault.Never
		}
		return f
	})
	if f, ok := err.(*fault.Error); ok && isBlock(f) && s.patience.Over() == nil {
		return &Answer{}, nil
	}
	return answer, err
}

// isBlock reports whether a fault can be that of one request alone. A Vault that
// is away shows by other kinds, or fails the requests that follow.
func isBlock(f *fault.Error) bool {
	return f != nil && (f.Kind == fault.BadResponse || f.Kind == fault.ServerError)
}

func (s *session) once(ctx context.Context, r client.Request, limit time.Duration) (*Answer, *fault.Error) {
	began := time.Now()
	answer, f := s.client.Send(ctx, r, limit)
	switch {
	case f == nil:
		s.note(time.Since(began), answer)
	case isBlock(f):
		s.blocked.Store(f)
	}
	return answer, f
}

func (s *session) note(took time.Duration, a *Answer) {
	if !s.answered.Load() {
		s.answered.Store(true)
	}
	if a.Modern && !s.modern.Load() {
		s.modern.Store(true)
	}
	s.mu.Lock()
	s.times = append(s.times, took)
	s.mu.Unlock()
}

func (s *session) current() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

func (s *session) warn(f Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.findings, f) {
		s.findings = append(s.findings, f)
	}
}

func (s *session) isOver() error {
	if f := s.patience.Over(); f != nil {
		return f
	}
	if f := s.fatal.Load(); f != nil {
		return f
	}
	return nil
}

// afterRefusal makes sense of a 403. It reports whether there is a new token
// to send the request with.
func (s *session) afterRefusal(ctx context.Context, used *token, answer *Answer) (replaced bool, err error) {
	refusal := answer.Refusal()
	if refusal == client.NotRefused {
		return false, nil
	}
	s.login.Lock()
	defer s.login.Unlock()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case s.fatal.Load() != nil:
		return false, s.fatal.Load()
	case s.current() != used:
		return true, nil // another request has replaced it already
	case refusal == client.BySource && !s.mayBeDead(used):
		return false, s.end(s.tokenRefused(used, answer))
	case refusal == client.ByPolicy:
		dead, err := s.isDead(ctx, used)
		if err != nil || !dead {
			return false, err
		}
	}
	return true, s.replace(ctx, used, answer)
}

// mayBeDead reports whether a token that was refused in the words for one that
// may not be used from here could be a dead one. On Vault 1.16 it is one that was
// good for a request before.
func (s *session) mayBeDead(t *token) bool {
	return !s.explicit && (!s.modern.Load() || t.worked.Load() || t.isExpired(time.Now()))
}

// isDead looks once whether a token that was refused in the words for a policy
// is a dead one: some requests to servers before Vault 1.16, and to OpenBao,
// are answered so.
func (s *session) isDead(ctx context.Context, t *token) (bool, error) {
	if s.modern.Load() || t.looked {
		return false, nil
	}
	t.looked = true
	answer, err := s.look(ctx, t)
	if err != nil {
		return false, err
	}
	refusal := answer.Refusal()
	return refusal == client.DeadToken || refusal == client.BySource, nil
}

// replace gets the one further token of a run: by a new login, or from the
// token file, which may hold a new one by now.
func (s *session) replace(ctx context.Context, dead *token, answer *Answer) error {
	if answer.Refusal() == client.DeadToken {
		s.explicit = true
	}
	if s.again {
		return s.end(s.tokenRefused(dead, answer))
	}
	s.again = true
	t, err := s.obtain(ctx)
	if err != nil {
		if f, ok := err.(*fault.Error); ok {
			s.fatal.Store(f)
		}
		return err
	}
	if t.given && t.secret.Reveal() == dead.secret.Reveal() {
		return s.end(s.tokenRefused(dead, answer))
	}
	return nil
}

// end makes the fault that of every further request.
func (s *session) end(f *fault.Error) error {
	s.fatal.Store(f)
	return f
}

// tokenRefused is the fault of a token that is of no use, and cannot be
// replaced once more.
func (s *session) tokenRefused(t *token, answer *Answer) *fault.Error {
	f := &fault.Error{
		Kind: fault.Token, What: "the vault token is expired, revoked or used up",
		Cause: s.client.ResponseError(nil, answer),
	}
	if s.again && !t.given {
		f.Detail = "for a second time in this run"
	}
	switch {
	case !t.given:
		f.Do = "give the role a longer token_ttl and token_num_uses=0"
	case s.plan.token.file != "":
		f.Do = "have " + shownFile(s.plan.token.file) + " (VAULT_TOKEN_FILE) written with a new one"
	default:
		f.Do = "set VAULT_TOKEN to a new one on the Patch server, and start the agent again"
	}
	if answer.Refusal() == client.DeadToken {
		return f
	}
	f.What, f.Detail = "vault refuses the token itself", answer.Words()+" at "+s.client.Address()
	f.Do = "check that it may be used from the Patch server's address (token_bound_cidrs), and that its entity is not disabled"
	if s.mayBeDead(t) {
		f.Do = "check that it is not expired, revoked or used up, that it may be used from the Patch server's address (token_bound_cidrs), and that its entity is not disabled"
	}
	return f
}

// Summary is what a use of Vault took.
type Summary struct {
	RunID       string        // part of the User-Agent, and so of Vault's audit log
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

func (s *session) summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	retries, waited := s.patience.Stats()
	sum := Summary{
		RunID:       s.runID,
		Requests:    s.client.Requests(),
		Retries:     retries,
		Connections: s.client.Dials(),
		Waited:      waited,
		Health:      s.health,
	}
	findings := s.findings
	if !s.answered.Load() {
		// It was not the look at the token alone that was blocked.
		findings = slices.DeleteFunc(findings, func(f Finding) bool { return f.Code == TokenUnknown })
	}
	sum.find(findings)
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
