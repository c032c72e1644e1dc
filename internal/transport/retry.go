package transport

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/patience"
)

// Retry is a RoundTripper that repeats requests that were not answered. Its responses
// are answers from Vault, whole and in memory. Its errors are a *fault.Error, that of a
// context, or that of a request which is not sent; see Send.
//
// It repeats reads freely. If it is unclear whether Vault acted on any other request, it
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
	internal internalErrors
	pacing   pacingProxy

	mu    sync.Mutex // guards times
	times []time.Duration
}

// RoundTrip repeats the request until it is answered, fails for good, or patience or a
// context ends; see Send.
func (r *Retry) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.Send(request, maps.Clone(request.Header)) // a RoundTripper does not change what it is given
}

// Send is like RoundTrip, but adds to header and sends it in place of the request's own.
// That saves a copy of the request. A request with a body must have GetBody, as those of
// vault/api have; any other fails unsent, since it could not be sent again.
func (r *Retry) Send(request *http.Request, header http.Header) (*http.Response, error) {
	if request.Body != nil && request.Body != http.NoBody && request.GetBody == nil {
		return nil, errors.New("vault: a request with a body and without GetBody is not sent")
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
	own, _ := ownIn(request.Context())
	e := &exchange{retry: r, request: request, header: header, sending: sending, shared: own.Request, began: time.Now(), optional: r.optional(own.Optional)}
	if e.shared == nil {
		e.shared = &patience.Request{Beside: own.Optional == AtOnce}
	}
	err := r.Patience.Try(ctx, e.shared, e.once)
	if err == nil {
		return e.response, nil
	}
	if e.isOptional() && time.Since(e.began) >= e.optional.share {
		r.hung.Store(true)
	}
	return nil, e.reason(ctx, err)
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

// TooSlow is the reason, for the UI, of a request for which a check has no time left.
const TooSlow = "the check ended before Vault had answered all of it"

// Times returns how long each answered request took.
func (r *Retry) Times() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.times)
}

func (r *Retry) addTime(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = append(r.times, took)
}
