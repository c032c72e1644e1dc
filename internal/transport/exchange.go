package transport

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

// exchange is one request with its retries.
type exchange struct {
	retry    *Retry
	request  *http.Request
	header   http.Header     // sent in place of the request's own
	sending  context.Context // ends each attempt
	began    time.Time
	last     *patience.Failure // of the latest attempt
	response *http.Response    // the answer

	optional optional // if the run can go on without an answer
	login    login    // if it is one
}

// once sends the request once.
func (e *exchange) once(ctx context.Context, limit time.Duration) *patience.Failure {
	r := e.retry
	switch {
	case r.isCheck():
		if limit = r.attempt(); limit <= 0 {
			return r.tooSlow()
		}
	case r.isLogin() && e.login.unclear == 0 && limit < r.Wire.config.Timeout:
		limit -= limit / 10 // time to ask for Vault's health; see isWaiting
	}
	if e.isOptional() {
		if f := e.last; f != nil && f.Fault.Kind == fault.Unreachable && !f.Unsent && time.Since(e.began) >= e.optional.share {
			return f.GivenUp() // a dead Vault gets no more dials
		}
		limit = e.optional.limit(limit, e.began, e.last)
	}
	if e.login.unclear > 0 {
		began := time.Now()
		if f := e.mustWait(ctx, limit); f != nil {
			return f
		}
		limit = max(limit-time.Since(began), time.Millisecond)
	}
	response, f := r.Wire.send(e.sending, e.request, e.header, limit)
	if f == nil {
		f = e.judge(ctx, response)
	}
	e.last = f
	if f == nil {
		e.response = response
		return nil
	}
	return e.orFinal(ctx, f)
}

// judge returns why the response is not an answer, or nil. It masks secrets in the
// errors of an answer.
func (e *exchange) judge(ctx context.Context, response *http.Response) *patience.Failure {
	r := e.retry
	buffer := response.Body.(*buffered)
	body := buffer.Bytes()
	if response.StatusCode == http.StatusProxyAuthRequired && r.Wire.dialer.forwards() {
		return r.Wire.refusedByProxy(httpRefusal(response))
	}
	source := r.Wire.source
	source.Login = r.isLogin()
	f := source.Judge(response.StatusCode, response.Header, body)
	mayHaveAnyForm := !r.isLogin() && r.Patience.HasAnswers() || r.isLogin() && response.StatusCode == http.StatusUnauthorized // as the method kerberos answers
	if f != nil && !IsOwn(e.request) && mayHaveAnyForm && source.MayBeAnswer(f, response.StatusCode, response.Header, body) {
		f = nil
	}
	if f == nil {
		if response.StatusCode != http.StatusOK { // the errors of such answers are shown
			response.Body = &buffered{*bytes.NewBuffer(r.Wire.source.MaskErrors(body)), buffer.progress}
		}
		r.addTime(buffer.progress.answered())
		r.pacing.answered(e.request.URL.Path)
		return nil
	}
	r.Wire.retire(buffer.progress, f)
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return r.internal.judge(ctx, e, f)
	case reply.MayBePacing(response.StatusCode, f):
		return r.pacing.judge(e, f)
	}
	return f
}

// orFinal makes a failure final if the request must not be sent again.
func (e *exchange) orFinal(ctx context.Context, f *patience.Failure) *patience.Failure {
	r := e.retry
	switch {
	case r.Once:
		return f.Final()
	case r.isCheck() && isSilence(f) && !r.isLogin() && (e.isOptional() || r.Patience.HasAnswers()):
		return f.Final() // Vault is there, and other requests go on
	case e.optional.end == AtOnce && isBlock(f):
		return f.Final()
	case e.isOptional() && f.Retry != patience.Never && mayBeItsOwn(f):
		return e.orGiveUp(ctx, f)
	case f.Unsent || IsHarmless(e.request):
		return f
	case f.Retry != patience.Later && e.sending.Err() == nil:
		return f
	case r.isLogin():
		return e.unclearLogin(ctx, f)
	}
	return f.Final()
}

// reason returns why there is no answer, given the error of Patience.
func (e *exchange) reason(ctx context.Context, err error) error {
	r := e.retry
	switch {
	case err == patience.Aside:
		return err
	case r.Run.Err() != nil:
		return r.Run.Err()
	case e.request.Context().Err() != nil:
		return e.request.Context().Err()
	case ctx.Err() != nil && e.last != nil && e.last.Retry == patience.Later: // the end of a check
		err = e.last.Fault.After(time.Since(e.began))
	case ctx.Err() != nil:
		err = r.tooSlow().Fault
	}
	f := err.(*fault.Error) // Patience returns nothing else here
	if !f.Run && !e.isOptional() && !r.Patience.HasAnswers() {
		return f.OfRun() // nothing was answered yet, so other requests would fail, too
	}
	return f
}
