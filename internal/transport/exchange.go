package transport

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

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
	status   int               // of the latest response
	response *http.Response    // the answer

	optional optional // if the run can go on without an answer
	login    login    // if it is one
}

// once sends the request once.
func (e *exchange) once(ctx context.Context, left time.Duration) *patience.Failure {
	limit, f := e.limit(left)
	if f == nil && e.login.unclear > 0 {
		limit, f = e.awaitHealth(ctx, limit)
	}
	if f != nil {
		return f
	}
	response, f := e.retry.Wire.send(e.sending, e.request, e.header, limit)
	if f == nil {
		f = e.judge(ctx, response)
	}
	e.last = f
	switch {
	case f == nil:
		return nil
	case f.Fault.Kind == fault.Token && !e.retry.isLogin() && !e.retry.Patience.HasAnswers():
		return &patience.Failure{Fault: f.Fault.OfRun()} // a token that never served ends the run
	}
	return e.orFinal(ctx, f)
}

// limit returns how long the next attempt may take of the patience that is left, or why
// there is none.
func (e *exchange) limit(left time.Duration) (time.Duration, *patience.Failure) {
	r := e.retry
	switch {
	case r.isCheck():
		if left = r.attempt(); left <= 0 {
			return 0, r.tooSlow()
		}
	case r.isLogin() && left < r.Wire.config.Timeout:
		left -= left / 10 // time to ask for Vault's health; see isWaiting
	}
	if e.isOptional() {
		return e.limitOptional(left)
	}
	return left, nil
}

// judge returns why the response is not an answer, or nil.
func (e *exchange) judge(ctx context.Context, response *http.Response) *patience.Failure {
	r := e.retry
	e.status = response.StatusCode
	if response.StatusCode == http.StatusProxyAuthRequired && r.Wire.dialer.forwards() {
		return r.Wire.refusedByProxy(httpRefusal(response))
	}
	f := r.Wire.source.Judge(response, r.isLogin())
	if f == nil || e.mayHaveAnyForm(response) && reply.MayBeAnswer(response, f) {
		e.accept(response)
		return nil
	}
	r.Wire.retire(response.Body.(*buffered).progress(), f)
	switch {
	case reply.IsInternalError(f) && !r.Patience.HasAnswers():
		return r.internal.judge(ctx, e, f)
	case reply.MayBePacing(response.StatusCode, f):
		return r.pacing.judge(e, f)
	}
	return f
}

// mayHaveAnyForm reports whether the answer to a request may have another form than Vault's
// own. As long as Vault has answered nothing, the server may not be Vault.
func (e *exchange) mayHaveAnyForm(response *http.Response) bool {
	switch {
	case IsOwn(e.request):
		return false
	case e.retry.isLogin():
		return response.StatusCode == http.StatusUnauthorized // as the method kerberos answers
	}
	return e.retry.Patience.HasAnswers()
}

// accept makes the response the answer. It masks secrets in what vault/api shows of an
// error: the errors in the body, and the namespace in the header.
func (e *exchange) accept(response *http.Response) {
	body := response.Body.(*buffered)
	if response.StatusCode != http.StatusOK {
		response.Body = &buffered{*bytes.NewBuffer(e.retry.Wire.source.MaskErrors(body.Bytes())), body.progress}
		if namespace := response.Header.Get(api.NamespaceHeaderName); namespace != "" {
			response.Header.Set(api.NamespaceHeaderName, e.retry.Wire.Sent.Words(namespace))
		}
	}
	e.retry.addTime(body.progress().answered())
	if e.retry.pacing.answered(e.request.URL.Path, e.retry.Patience) {
		e.retry.Patience.NotPaced()
	}
	e.response = response
}

// orFinal makes a failure final if the request must not be sent again.
func (e *exchange) orFinal(ctx context.Context, f *patience.Failure) *patience.Failure {
	r := e.retry
	switch {
	case r.Once:
		return f.Final()
	case r.isCheck() && isSilence(f) && !r.isLogin() && (e.isOptional() || r.Patience.HasAnswers()):
		if f.CutShort && !e.isOptional() {
			return r.tooSlow()
		}
		return f.Final() // Vault is there, and other requests go on
	case e.optional.end == AtOnce && mayBeBlocked(f) && !e.mayPassSoon():
		return f.Final()
	case e.isOptional() && f.Retry != patience.Never && mayBeItsOwn(f):
		return e.orGiveUp(ctx, f)
	case f.Unsent || IsHarmless(e.request):
		return f
	case f.Retry != patience.Later && e.sending.Err() == nil: // Vault, or a proxy, refused it
		return f
	case r.isLogin():
		return e.unclearLogin(ctx, f)
	}
	return unclear(f, "not repeated")
}

// unclear is the final failure for a request that was sent, since sending it again could do
// harm.
func unclear(f *patience.Failure, sent string) *patience.Failure {
	final := *f.Fault
	final.Detail += ", " + sent + ", since Vault may have acted on it"
	return &patience.Failure{Fault: &final}
}

// mayPassSoon reports whether a read that a gateway refused is sent again, three times at
// most: another node may be well, or the read came too soon after others.
func (e *exchange) mayPassSoon() bool {
	e.optional.refused++
	isGateway := slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, e.status)
	return isGateway && e.request.Method == http.MethodGet && e.optional.refused <= 3
}

// reason returns why there is no answer, given the error of Patience.
func (e *exchange) reason(ctx context.Context, err error) error {
	r := e.retry
	switch {
	case err == patience.ErrAside:
		return err
	case r.Run.Err() != nil:
		return r.Run.Err()
	case e.request.Context().Err() != nil:
		return e.request.Context().Err()
	case ctx.Err() != nil: // the end of a check
		err = e.reasonAtEnd()
	}
	f := err.(*fault.Error) // Patience returns nothing else here
	if !f.Run && !e.isOptional() && !r.Patience.HasAnswers() {
		return f.OfRun() // nothing was answered yet, so other requests would fail, too
	}
	return f
}

// reasonAtEnd returns why there is no answer at the end of a check: how the request failed, or
// another one since the last answer, or that there was too little time, as at a limited rate.
func (e *exchange) reasonAtEnd() *fault.Error {
	r := e.retry
	isCutShort := e.last != nil && e.last.CutShort && r.Patience.HasAnswers()
	if e.last != nil && e.last.Retry == patience.Later && !isCutShort {
		return e.last.Fault.After(time.Since(e.began))
	}
	if _, last := r.Patience.Silence(); last != nil && !isCutShort && !r.Patience.IsPaced() {
		return last
	}
	return r.tooSlow().Fault
}
