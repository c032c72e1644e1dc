package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// Retry is a RoundTripper that repeats what was not answered. Its responses are
// answers of Vault, whole and in memory; everything else is an error that wraps
// a *fault.Error, or the error of a context.
//
// A GET is repeated freely. Of other requests only a login is repeated where it
// is unclear whether Vault acted on it, and that once, when Vault is well.
type Retry struct {
	Patience *patience.Patience
	Wire     *Wire
	Budget   time.Duration // of Patience

	// Run ends every request with it. The one under way goes on until Last ends,
	// if that is not nil: a login is not abandoned halfway.
	Run, Last context.Context

	// Unclear is called for each login that may have been processed, though its
	// answer was lost. Nil says that requests do not log in.
	Unclear func()

	// Until is when a check ends; zero for a run. An attempt of a check lasts as
	// long as one of a run, whatever is left of patience, and silence after it is
	// final.
	Until time.Time

	times    times
	internal internalErrors
	refusals proxyRefusals
}

type optional struct{}

// How a request ends that the run can do without.
const (
	AtOnce   = iota + 1 // when it fails as it alone may fail
	InAWhile            // a third of patience later
)

// Optional marks the requests of a context as ones that the run can do without.
// What stands before Vault can block them alone; then they end as given. One that
// hangs ends after a third of patience. They go on while Vault as a whole is away.
func Optional(ctx context.Context, end int) context.Context {
	return context.WithValue(ctx, optional{}, end)
}

func endOf(ctx context.Context) int { end, _ := ctx.Value(optional{}).(int); return end }

type harmless struct{}

// Harmless marks the requests of a context as ones that can be repeated freely,
// whatever their method.
func Harmless(ctx context.Context) context.Context { return context.WithValue(ctx, harmless{}, true) }

// IsHarmless reports whether a request changes nothing in Vault.
func IsHarmless(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, "LIST":
		return true
	}
	return request.Context().Value(harmless{}) != nil
}

// RoundTrip sends the request until it is answered, fails for good, or patience
// or a context ends.
func (r *Retry) RoundTrip(request *http.Request) (*http.Response, error) {
	request, err := Replayable(request)
	if err != nil {
		return nil, err
	}
	ctx, end := endingWith(request.Context(), r.Run)
	defer end()
	sending := ctx
	if r.Last != nil {
		var endLast func()
		sending, endLast = endingWith(request.Context(), r.Last)
		defer endLast()
	}
	s := &exchange{retry: r, request: request, sending: sending, began: time.Now(), end: endOf(ctx), share: r.forOptional()}
	err = r.Patience.Do(ctx, s.once)
	switch {
	case err == nil:
		return s.response, nil
	case r.Run.Err() != nil:
		return nil, r.Run.Err()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	f, ok := errors.AsType[*fault.Error](err)
	if ok && !f.Run && s.end == 0 && !r.Patience.HasAnswers() {
		f = f.OfRun() // the first request fails, and so would all others
	}
	return nil, f
}

// endingWith returns ctx as a context that also ends with other, and a func to
// call when it is not needed any more. A read of a run has the run's own context,
// which ends with it already.
func endingWith(ctx, other context.Context) (context.Context, func()) {
	if ctx.Done() == other.Done() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

func (r *Retry) isCheck() bool { return !r.Until.IsZero() }

// attempt is how long an attempt may take that patience does not limit.
func (r *Retry) attempt() time.Duration {
	if r.isCheck() {
		return min(r.Wire.config.Timeout, time.Until(r.Until))
	}
	return r.Wire.config.Timeout
}

// forOptional is how long a request may take that the run can do without. In a
// check it leaves the time for an attempt of another one.
func (r *Retry) forOptional() time.Duration {
	if r.isCheck() {
		whole := r.Wire.config.Timeout
		return max(min(whole, time.Until(r.Until)-whole), whole/10)
	}
	return r.Budget / 3
}

// exchange is one request with its repetitions.
type exchange struct {
	retry    *Retry
	request  *http.Request
	sending  context.Context // of each time that it is sent
	response *http.Response
	began    time.Time
	end      int           // of a request that is optional; 0 for others
	share    time.Duration // that such a request may take

	last    *patience.Failure
	unclear int       // how often it was sent and may have been processed
	failed  time.Time // when it was last
	well    bool      // Vault's health was good since then
	refused refusals
}

// once sends the request once.
func (s *exchange) once(ctx context.Context, limit time.Duration) *patience.Failure {
	r := s.retry
	switch {
	case r.isCheck():
		if limit = r.attempt(); limit <= 0 {
			return r.tooSlow()
		}
	case r.Unclear != nil && s.unclear == 0 && limit < r.Wire.config.Timeout:
		limit -= limit / 10 // for a look at Vault's health; see isWaiting
	}
	if s.end != 0 {
		if left := s.share - time.Since(s.began); left > 0 {
			limit = min(limit, max(left, s.share/10))
		}
	}
	began := time.Now()
	if s.unclear > 0 {
		// Once more is harmless; more could use up a secret id, or leave tokens
		// behind. So the one more time is when Vault is well again.
		if f := s.isIll(ctx, limit); f != nil {
			return f
		}
		limit = max(limit-time.Since(began), time.Millisecond)
	}
	sent := time.Now()
	response, f := r.Wire.send(s.sending, s.request, limit)
	if f == nil {
		f = s.judge(ctx, response, time.Since(sent))
	}
	s.last = f
	if f == nil {
		s.response = response
		return nil
	}
	return s.orFinal(ctx, f)
}

// tooSlow is the failure of a request for which a check has no time left.
func (r *Retry) tooSlow() *patience.Failure {
	return &patience.Failure{Fault: fault.New(fault.Unreachable, "vault answers too slowly for a check, which ends before a run does",
		"check again; if the next run fails as well, check Vault's load and the network in between")}
}

// isBlock reports whether a failure can be that of one request alone.
func isBlock(f *patience.Failure) bool {
	return f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError && !f.Unsent
}

// isLate reports whether the failure ends a request that the run can do without.
// A bare internal error may be Vault's trouble with the token, of which the next
// request tells more.
func (s *exchange) isLate(f *patience.Failure) bool {
	r := s.retry
	took := time.Since(s.began) + time.Millisecond
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return took >= r.Budget/12
	case isBlock(f):
		return took >= r.Budget/3
	}
	return !f.Unsent && took >= s.share
}

// judge says whether the response is an answer, and takes what was sent out of
// the errors of one.
func (s *exchange) judge(ctx context.Context, response *http.Response, took time.Duration) *patience.Failure {
	r := s.retry
	body := response.Body.(*buffered).Bytes()
	if response.StatusCode == http.StatusProxyAuthRequired && r.Wire.dialer.forwards() {
		return r.Wire.failureOf(&proxyError{proxyRefusal(response.StatusCode)}, &progress{})
	}
	f := r.Wire.source.Judge(response.StatusCode, response.Header, body)
	if f == nil {
		if response.StatusCode >= 400 {
			response.Body = &buffered{*bytes.NewBuffer(r.Wire.source.MaskErrors(body))}
		}
		r.times.add(took)
		r.refusals.answered(s.request.URL.Path)
		return nil
	}
	r.Wire.retire(f)
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return r.internal.judge(ctx, s, f)
	case reply.IsProxyRefusal(response.StatusCode, f):
		return r.refusals.judge(s, f)
	}
	return f
}

// orFinal makes a failure final where the request must not be sent again.
func (s *exchange) orFinal(ctx context.Context, f *patience.Failure) *patience.Failure {
	r := s.retry
	switch {
	case s.request.Context().Value(once{}) != nil:
		return f.Final()
	case r.isCheck() && isSilence(f) && r.Unclear == nil && (s.end != 0 || r.Patience.HasAnswers()):
		return f.Final() // Vault is there, and other requests go on
	case s.end == AtOnce && isBlock(f):
		return f.Final()
	case s.end != 0 && s.isLate(f):
		// Not final: if the next request fails alike, Vault as a whole is away.
		left := *f
		left.GiveUp = true
		return &left
	case f.Unsent || IsHarmless(s.request):
		return f
	case f.Retry != patience.Later && s.sending.Err() == nil:
		return f
	case r.Unclear == nil:
		return f.Final()
	}
	s.unclear++
	if isSilence(f) && s.isWaiting(ctx) {
		if s.unclear == 1 {
			r.Unclear()
		}
		return waiting(f)
	}
	if s.unclear == 1 {
		r.Unclear()
		s.failed = time.Now()
		return f
	}
	again := *f.Fault
	again.Detail += ", sent twice and not again, since Vault may have acted on it"
	return &patience.Failure{Fault: &again}
}

// isSilence reports whether a request was sent and no answer came in time.
func isSilence(f *patience.Failure) bool {
	return !f.Unsent && f.Fault.Kind == fault.Unreachable && isTimeout(f.Fault.Cause)
}

// isWaiting reports whether Vault itself waits for somebody else, after its last
// silence about a login: its health is good.
func (s *exchange) isWaiting(ctx context.Context) bool {
	r := s.retry
	if s.unclear > 1 {
		return s.well
	}
	limit := r.Budget - time.Since(s.began)
	switch {
	case r.isCheck():
		limit = r.attempt()
	case limit > r.Budget/10:
		return false // there is time for the one more
	}
	_, f := r.health(ctx, limit)
	return f == nil
}

// waiting is the failure of a login that Vault does not answer while it is well.
// What it waits for depends on the method.
func waiting(f *patience.Failure) *patience.Failure {
	login := *f.Fault
	login.Kind, login.What, login.Do = fault.Login, "vault does not answer, while sys/health does", ""
	login.Reason = "Vault does not answer the agent's login, though it is well"
	login.Fix = "check what Vault asks for this login; the agent's log names it"
	return &patience.Failure{Fault: &login}
}

// isIll asks for Vault's health after a login that failed, and returns why it is
// too early for the one more.
func (s *exchange) isIll(ctx context.Context, limit time.Duration) *patience.Failure {
	r := s.retry
	waited := time.Since(s.failed)
	_, f := r.health(ctx, limit)
	s.well = f == nil
	blocked := f != nil && (f.Fault.Kind == fault.BadResponse || f.Fault.Kind == fault.ServerError)
	switch {
	case f != nil && (f.Fault.Kind == fault.TLS || f.Retry != patience.Never) && !(blocked && waited >= r.Budget/3):
		return f
	case s.last != nil && s.last.Fault.Kind == fault.ServerError && waited < r.Budget/12:
		return s.last // Vault itself is in trouble that its health does not show
	}
	return nil // well, or what stands before it blocks this one request
}

// healthQuery makes every state an answer of status 200. A balancer may put a
// page of its own in place of any other.
const healthQuery = "standbycode=200&performancestandbycode=200&sealedcode=200&uninitcode=200&drsecondarycode=200&haunhealthycode=200&removedcode=200"

// health asks for Vault's health once, without a token.
func (r *Retry) health(ctx context.Context, limit time.Duration) (*http.Response, *patience.Failure) {
	return r.get(ctx, "sys/health", healthQuery, limit)
}

// get sends one request without a token, outside of patience.
func (r *Retry) get(ctx context.Context, path, query string, limit time.Duration) (*http.Response, *patience.Failure) {
	u := *r.Wire.config.Address
	u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/" + path
	u.RawQuery = query
	request := &http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: http.Header{"X-Vault-Request": {"true"}}}
	response, f := r.Wire.send(ctx, request, limit)
	if f != nil {
		return nil, f
	}
	f = r.Wire.source.Judge(response.StatusCode, response.Header, response.Body.(*buffered).Bytes())
	return response, r.Wire.retire(f)
}

// Replayable returns the request with a body that can be read again for each
// time that it is sent.
func Replayable(request *http.Request) (*http.Request, error) {
	if request.Body == nil || request.Body == http.NoBody || request.GetBody != nil {
		return request, nil
	}
	defer request.Body.Close()
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	again := *request // a RoundTripper does not change what it is given
	again.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	again.Body, _ = again.GetBody()
	again.ContentLength = int64(len(body))
	return &again, nil
}

// Times returns how long each answered request took.
func (r *Retry) Times() []time.Duration {
	r.times.mu.Lock()
	defer r.times.mu.Unlock()
	return slices.Clone(r.times.all)
}

type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, took)
}

// internalErrors tells a credential that Vault cannot process from a Vault that
// is in trouble. Vault answers both with a bare internal error; its health shows
// only some of its troubles.
type internalErrors struct {
	mu    sync.Mutex
	asked time.Time // when Vault's health was asked for last
	good  bool      // it was good then, too
}

// judge makes a bare internal error final if it is the answer again, a twelfth
// of patience later, and Vault's health is good both times. One to a request that
// the run can do without is left to the next request.
func (e *internalErrors) judge(ctx context.Context, s *exchange, f *patience.Failure) *patience.Failure {
	r := s.retry
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.asked) < r.Budget/12 {
		return f
	}
	response, unwell := r.get(ctx, "sys/health", "", r.attempt())
	good := unwell == nil && (response.StatusCode == http.StatusOK || response.StatusCode == 473) // a performance standby
	again := good && e.good
	e.asked, e.good = time.Now(), good
	if !again || s.end != 0 {
		return f
	}
	credential := *f.Fault
	if r.Unclear != nil {
		credential.Kind, credential.What = fault.Login, "vault answers the login with an internal error, while its health is good"
		credential.Do = "check the credential of the login, and that Vault's audit device works: a dead one looks the same"
	} else {
		credential.Kind, credential.What = fault.Token, "vault answers this token with an internal error, while its health is good"
		credential.Do = "check that the token is a Vault token of this server, and that Vault's audit device works: a dead one looks the same"
	}
	return &patience.Failure{Fault: &credential}
}

// proxyRefusals tells a proxy that refuses with 503 what comes too fast from a
// balancer whose nodes are away.
type proxyRefusals struct {
	pacing atomic.Bool // two different paths that were refused have since been answered

	mu      sync.Mutex
	refused map[string]bool // paths, until they are answered
	passed  int
}

const paceAfter = 2 // paths that were refused and then answered

// refusals are those of one request at a pace.
type refusals struct {
	count int
	last  time.Time
}

func (p *proxyRefusals) answered(path string) {
	if p.pacing.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[path] {
		delete(p.refused, path)
		if p.passed++; p.passed == paceAfter {
			p.refused = nil
			p.pacing.Store(true)
		}
	}
}

func (p *proxyRefusals) judge(s *exchange, f *patience.Failure) *patience.Failure {
	if !IsHarmless(s.request) {
		return f // who knows whether Vault acted on it
	}
	if !p.pacing.Load() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.refused == nil {
			p.refused = make(map[string]bool)
		}
		p.refused[s.request.URL.Path] = true
		return f
	}
	// Refusals within a second count once: they came before the pace was slowed.
	if now := time.Now(); now.Sub(s.refused.last) >= time.Second {
		s.refused.count, s.refused.last = s.refused.count+1, now
	}
	if s.refused.count >= 3 {
		return f.Final()
	}
	paced := *f.Fault
	paced.Kind, paced.What = fault.RateLimited, "the proxy before vault is rate limiting the agent"
	paced.Do = "raise its limit, or set VAULT_RATE_LIMIT=RATE:BURST on the Patch server below it"
	return &patience.Failure{Fault: &paced, Retry: patience.Paced, Unsent: true}
}

type once struct{}

// Once marks the requests of a context as ones that are not repeated.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, once{}, true) }

// Health asks for Vault's health without a token, as often as an attempt lasts.
// It reports false if there is none to be had.
func (r *Retry) Health(ctx context.Context) (reply.Health, bool) {
	sent := time.Now()
	response, f := r.health(ctx, r.attempt())
	if f != nil && f.Retry != patience.Never { // once more, over a fresh connection
		sent = time.Now()
		response, f = r.health(ctx, r.attempt())
	}
	if f != nil {
		return reply.Health{}, false
	}
	return reply.ParseHealth(response.Body.(*buffered).Bytes(), sent, time.Now())
}
