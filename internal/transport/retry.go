package transport

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// Retry is a RoundTripper that repeats requests that were not answered. Its responses
// are answers from Vault, whole and in memory. Its errors are a *fault.Error, or that of
// a context.
//
// It repeats reads freely. If it is unclear whether Vault acted on another request, it
// repeats only a login, and only once, when Vault is well.
type Retry struct {
	Patience *patience.Patience
	Wire     *Wire

	Once bool // requests are not repeated

	// No request is sent after Run ends. If Last is not nil, a request under way
	// goes on until Last ends, so that no login is abandoned halfway.
	Run, Last context.Context

	// Unclear is called for each login that Vault may have processed, although its
	// answer was lost. It is nil if requests do not log in.
	Unclear func()

	// Until is when a check ends; zero for a run. An attempt of a check lasts as
	// long as in a run, even beyond patience, and is not repeated after silence.
	Until time.Time

	hung     atomic.Bool // an optional request has hung
	times    times
	internal internalErrors
	asides   asides
	pacing   pacingProxy
}

// RoundTrip repeats the request until it is answered, fails for good, or patience or a
// context ends.
func (r *Retry) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.Send(request, maps.Clone(request.Header)) // a RoundTripper does not change what it is given
}

// Send is like RoundTrip, but sends the header, to which it adds, in place of the
// request's. That saves a copy of the request.
func (r *Retry) Send(request *http.Request, header http.Header) (*http.Response, error) {
	request, err := Replayable(request)
	if err != nil {
		return nil, err
	}
	if err := r.Run.Err(); err != nil {
		return nil, err
	}
	maps.Copy(header, r.Wire.header)
	ctx, end := endingWith(request.Context(), r.Run)
	defer end()
	if r.isCheck() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.Until)
		defer cancel()
	}
	sending := ctx
	if r.Last != nil {
		var endLast func()
		sending, endLast = endingWith(request.Context(), r.Last)
		defer endLast()
	}
	own, isOwn := ownOf(request)
	s := &exchange{retry: r, request: request, header: header, sending: sending, began: time.Now(), isOwn: isOwn || r.isLogin(), end: own.Optional, share: r.forOptional(), part: r.part()}
	err = s.try(ctx, own.Others)
	if err != nil && s.end != 0 && time.Since(s.began) >= min(s.share, s.part) {
		r.hung.Store(true)
	}
	switch {
	case err == nil:
		return s.response, nil
	case err == patience.ErrAside:
		return nil, err
	case r.Run.Err() != nil:
		return nil, r.Run.Err()
	case request.Context().Err() != nil:
		return nil, request.Context().Err()
	case ctx.Err() != nil && s.last != nil && s.last.Retry == patience.Later:
		err = s.last.Fault.After(time.Since(s.began))
	case ctx.Err() != nil:
		err = r.tooSlow().Fault
	}
	f := err.(*fault.Error) // Patience returns nothing else here
	if !f.Run && s.end == 0 && !r.Patience.HasAnswers() {
		f = f.OfRun() // nothing was answered yet, so other requests would fail, too
	}
	return nil, f
}

// endingWith returns a context like ctx that also ends with other, and a func that
// releases it. Reads have the run's own context, for which this is cheap.
func endingWith(ctx, other context.Context) (context.Context, func()) {
	if ctx.Done() == other.Done() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

func (r *Retry) isCheck() bool { return !r.Until.IsZero() }

func (r *Retry) isLogin() bool { return r.Unclear != nil }

// attempt is how long an attempt may take, apart from patience.
func (r *Retry) attempt() time.Duration {
	if r.isCheck() {
		return min(r.Wire.config.Timeout, time.Until(r.Until))
	}
	return r.Wire.config.Timeout
}

// exchange is one request with its repetitions.
type exchange struct {
	retry    *Retry
	request  *http.Request
	header   http.Header     // sent in place of the request's own
	sending  context.Context // ends each attempt
	response *http.Response
	began    time.Time
	isOwn    bool          // the request is not a caller's
	end      End           // 0 if the request is not optional
	share    time.Duration // that an optional request may take
	part     time.Duration // of patience; in a run, the share

	last    *patience.Failure
	unclear int       // how often Vault may have processed it without an answer
	failed  time.Time // when that last happened
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
	case r.isLogin() && s.unclear == 0 && limit < r.Wire.config.Timeout:
		limit -= limit / 10 // time to ask for Vault's health; see isWaiting
	}
	if s.end != 0 {
		if left := s.share - time.Since(s.began); left > 0 {
			limit = min(limit, max(left, s.share/10))
		}
	}
	began := time.Now()
	if s.unclear > 0 {
		// Sending a login twice is acceptable; more could use up a secret id, or
		// leave tokens behind. So wait for the second time until Vault is well.
		if f := s.mustWait(ctx, limit); f != nil {
			return f
		}
		limit = max(limit-time.Since(began), time.Millisecond)
	}
	sent := time.Now()
	response, f := r.Wire.send(s.sending, s.request, s.header, limit)
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

// tooSlow is the failure for a request for which a check has no time left.
func (r *Retry) tooSlow() *patience.Failure {
	f := fault.New(fault.Unreachable, "vault answers too slowly for a check, which ends before a run does",
		"check fewer references at once, or check again; if the next run fails as well, check Vault's load and the network")
	f.Reason, f.Fix = "the check ended before Vault had answered all of it", "check fewer references at once; a run waits longer"
	if r.Patience.IsPaced() {
		f.Kind, f.What = fault.RateLimited, "a rate limit lets too few requests through for a check, which ends before a run does"
		f.Do = "check fewer references at once; a run goes on at the rate that is allowed"
	}
	return &patience.Failure{Fault: f}
}

// judge returns why the response is not an answer, or nil. It masks secrets in the
// errors of an answer.
func (s *exchange) judge(ctx context.Context, response *http.Response, took time.Duration) *patience.Failure {
	r := s.retry
	buffer := response.Body.(*buffered)
	body := buffer.Bytes()
	if response.StatusCode == http.StatusProxyAuthRequired && r.Wire.dialer.forwards() {
		return r.Wire.failureOf(&proxyError{httpRefusal(response.StatusCode)}, &progress{})
	}
	f := r.Wire.source.Judge(response.StatusCode, response.Header, body)
	if f == nil {
		if response.StatusCode != http.StatusOK { // of other answers, the errors are shown
			response.Body = &buffered{*bytes.NewBuffer(r.Wire.source.MaskErrors(body)), buffer.progress}
		}
		r.times.add(took)
		buffer.progress.answered()
		r.pacing.answered(s.request.URL.Path)
		return nil
	}
	r.Wire.retire(buffer.progress, f)
	switch {
	case response.StatusCode == http.StatusOK && r.Patience.HasAnswers() && !s.isOwn:
		return nil // such as a certificate in PEM form
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return r.internal.judge(ctx, s, f)
	case reply.MayBePacing(response.StatusCode, f):
		return r.pacing.judge(s, f)
	}
	return f
}

// orFinal makes a failure final if the request must not be sent again.
func (s *exchange) orFinal(ctx context.Context, f *patience.Failure) *patience.Failure {
	r := s.retry
	switch {
	case r.Once:
		return f.Final()
	case r.isCheck() && isSilence(f) && !r.isLogin() && (s.end != 0 || r.Patience.HasAnswers()):
		return f.Final() // Vault is there, and other requests go on
	case s.end == AtOnce && isBlock(f):
		return f.Final()
	case s.end != 0 && s.isLate(f):
		// Not final: if the next request fails alike, Vault as a whole is down.
		left := *f
		left.GiveUp = true
		return &left
	case f.Unsent || IsHarmless(s.request):
		return f
	case f.Retry != patience.Later && s.sending.Err() == nil:
		return f
	case !r.isLogin():
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
	again.Detail += ", sent twice and not repeated, since Vault may have acted on it"
	return &patience.Failure{Fault: &again}
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
