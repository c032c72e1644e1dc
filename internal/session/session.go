// Package session is one use of Vault: it logs in, repeats what was not
// answered, logs in once more if the token dies, and revokes what it logged in.
// Package auth makes its [Config] of settings and environment, and has the tests
// of both.
//
//	summary, err := session.Do(ctx, config, session.Options{}, func(ctx context.Context, s *session.Session) error {
//		answer, err := s.Get(ctx, "secret/data/luumen/windev", "", &data)
//		…
//	})
//
// Start with [Do].
package session

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// version goes into the User-Agent of every request, and so into Vault's audit
// log.
const version = "1.0.0"

// Do logs in, calls use, and revokes the token that it logged in, on every way
// out. The summary is complete whether or not there is an error; the error is
// use's own, ctx's, or one of the kinds that concern a whole run.
func Do(ctx context.Context, config *Config, options Options, use func(context.Context, *Session) error) (summary Summary, err error) {
	s, err := open(config, options.withDefaults())
	defer func() { summary = s.summary() }()
	if err != nil {
		return summary, err
	}
	defer s.client.Close()
	defer s.revoke(ctx)
	if s.options.Health {
		s.askHealth(ctx)
	}
	var ended atomic.Pointer[time.Time]
	defer context.AfterFunc(ctx, func() { ended.Store(new(time.Now())) })()
	if err = s.begin(ctx); err == nil {
		err = use(ctx, &Session{func() *session { return s }})
	}
	if ctx.Err() != nil {
		at := ended.Load()
		if at == nil { // it ended this very moment
			at = new(time.Now())
		}
		s.warnOfSilence(*at)
	}
	return summary, err
}

// warnOfSilence says that Vault did not answer when the caller broke the run off:
// the errors of the hosts are the caller's own, and a deadline shorter than
// patience would hide for ever that Vault is down.
func (s *session) warnOfSilence(brokenOff time.Time) {
	silence, last := s.patience.Silence()
	silence -= time.Since(brokenOff) // a login is waited for
	if silence < time.Second || s.isOver() != nil {
		return
	}
	f := Finding{Code: BrokenOff, Text: "vault had given no answer for " + fault.Duration(silence) + " when the run was broken off; have it checked, or give runs more time than their patience"}
	if last != nil {
		f.Detail = last.Error()
	}
	s.warn(f)
}

// Session is a Vault that the run is logged in to. Its methods may be called
// from any number of goroutines, until the function that it was given to
// returns.
type Session struct {
	// A func, because a print through reflection would find the token in what
	// is behind, down to the buffers of the connections.
	reach func() *session
}

// Over returns the error that ended the session for every request, or nil: Vault
// answered nothing for a whole patience, or no token works any more.
func (s *Session) Over() error { return s.reach().isOver() }

// AwaitOutage returns true as soon as nothing is answered but that one request
// at a time is repeated, and false if ctx ends, or patience does.
func (s *Session) AwaitOutage(ctx context.Context) bool { return s.reach().patience.AwaitOutage(ctx) }

// Mask cuts from a text of Vault's every secret that was sent to it.
func (s *Session) Mask(text string) string { return s.reach().client.Mask(text) }

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
// escaped query, and decodes the data of the answer into the value that data
// points to. It repeats what was not answered and logs in once more if the
// token has died. A refusal by policy, and any other answer of status 400 to
// 499, is an answer and not an error. The error is ctx's, or of a kind that
// says why there is no answer.
func (s *Session) Get(ctx context.Context, path, query string, data any) (*client.Answer, error) {
	return s.reach().request(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query, Data: data}, (*session).send)
}

// Ask is a Get, or with a body a POST of it as JSON, for what the caller can do
// without. Vault, or what stands before it, may block it in whatever way: after
// a third of patience at most, the answer is one of no status.
func (s *Session) Ask(ctx context.Context, path string, body, data any) (*client.Answer, error) {
	r := client.Request{Method: http.MethodGet, Path: path, Data: data}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r.Method, r.Body = http.MethodPost, text
	}
	return s.reach().request(ctx, r, func(s *session, ctx context.Context, r client.Request) (*client.Answer, error) {
		return s.ask(ctx, r, s.options.Patience/3)
	})
}

// session is what is behind a Session.
type session struct {
	config   *Config
	options  Options
	client   *client.Client
	patience *patience.Patience

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

// open makes what a use of Vault works with. It reads the TLS files.
func open(config *Config, options Options) (*session, error) {
	s := &session{config: config, options: options, findings: slices.Clone(config.Findings)}
	s.patience = patience.New(options.Patience, config.PerSecond, config.Burst)
	tlsConfig, err := config.TLS(s.warn)
	s.client = client.New(client.Config{
		Address:     config.Address,
		TLS:         tlsConfig,
		Proxy:       config.Proxy,
		Connections: options.Connections,
		Timeout:     config.Timeout,
		UserAgent:   "luumen-patch-vault/" + version + " run/" + options.RunID,
	})
	return s, err
}

func (s *session) request(ctx context.Context, r client.Request, send func(*session, context.Context, client.Request) (*client.Answer, error)) (*client.Answer, error) {
	for {
		t := s.current()
		r.Header = t.header
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
func (s *session) send(ctx context.Context, r client.Request) (*client.Answer, error) {
	var answer *client.Answer
	err := s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		answer, f = s.once(ctx, r, limit)
		return f
	})
	return answer, err
}

// ask sends a request that the run can do without. Where it is still blocked
// after most, the answer is one of no status.
func (s *session) ask(ctx context.Context, r client.Request, most time.Duration) (*client.Answer, error) {
	var answer *client.Answer
	began := time.Now()
	err := s.patience.Do(ctx, func(ctx context.Context, limit time.Duration) (f *fault.Error) {
		answer, f = s.once(ctx, r, limit)
		if isBlock(f) && time.Since(began) >= most {
			f.Retry = fault.Never
		}
		return f
	})
	if f, ok := err.(*fault.Error); ok && isBlock(f) && s.patience.Over() == nil {
		return &client.Answer{}, nil
	}
	return answer, err
}

// isBlock reports whether a fault can be that of one request alone. A Vault that
// is away shows by other kinds, or fails the requests that follow.
func isBlock(f *fault.Error) bool {
	return f != nil && (f.Kind == fault.BadResponse || f.Kind == fault.ServerError)
}

func (s *session) once(ctx context.Context, r client.Request, limit time.Duration) (*client.Answer, *fault.Error) {
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

func (s *session) note(took time.Duration, a *client.Answer) {
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
