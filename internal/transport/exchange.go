package transport

import (
	"bytes"
	"context"
	"net/http"
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
	shared   *patience.Request
	began    time.Time
	optional optional // zero unless the run can go on without an answer

	// Of the latest attempt.
	status int               // of its response; 0 if there was none
	last   *patience.Failure // why it is not the answer

	// Of all attempts so far.
	login    login
	refusals int            // times that a proxy may have refused it, if it is optional
	unwell   bool           // it is optional, and Vault's health was asked for, and was not good
	response *http.Response // the answer; nil until there is one
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
	isDown := !e.isOptional() && e.retry.Patience.MayBeDown(e.shared) && e.isDown(ctx, limit)
	e.status = 0
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
	f = e.orFinal(ctx, f)
	if isDown && f.Retry == patience.Later {
		down := *f
		down.Unsent = true // it is not the request's own failure
		return &down
	}
	return f
}

// isDown asks for Vault's health before an attempt after which a request could fail alone. It
// reports whether Vault as a whole may be down.
func (e *exchange) isDown(ctx context.Context, limit time.Duration) bool {
	_, f := e.retry.health(ctx, "", min(limit, e.retry.Patience.Budget()/12))
	return f != nil && f.Retry == patience.Later
}

// limit returns how long the next attempt may take of the patience that is left, or why
// there is none.
func (e *exchange) limit(left time.Duration) (time.Duration, *patience.Failure) {
	r := e.retry
	switch {
	case r.isCheck():
		if left = r.attempt(); left <= 0 {
			return 0, e.tooSlow()
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
	case r.isLogin() && e.status == http.StatusOK && reply.MayBeAnswer(response, f) && !IsHarmless(e.request):
		r.Unclear() // a proxy may have compressed the answer, or changed it in another way
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
	e.retry.pacing.answered(e.request.URL.Path, e.retry.Patience)
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
			return e.tooSlow()
		}
		return f.Final() // Vault is there, and other requests go on
	case e.optional.end == AtOnce && mayBeBlocked(f):
		return e.orBlocked(ctx, f)
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
	if _, last := r.Patience.Silence(); last != nil && last.Kind != fault.RateLimited && !isCutShort && !r.Patience.IsPaced() {
		return last
	}
	return e.tooSlow().Fault
}

// tooSlow is the failure for a request for which a check has no time left.
func (e *exchange) tooSlow() *patience.Failure {
	isPaced := e.retry.Patience.IsPaced()
	if last := e.retry.Patience.LastFault(e.shared); last != nil && last.Kind == fault.RateLimited && !isPaced {
		return &patience.Failure{Fault: last.After(time.Since(e.began))} // a quota refuses this request alone
	}
	f := fault.New(fault.Unreachable, "vault answers too slowly for a check, which ends before a run does",
		"check fewer references at once, or check again; if the next run fails as well, check Vault's load and the network")
	f.Reason, f.Fix = TooSlow, "check fewer references at once; a run waits longer"
	if isPaced {
		f.Kind, f.What = fault.RateLimited, "a rate limit lets too few requests through for a check, which ends before a run does"
		f.Do = "check fewer references at once; a run goes on at the allowed rate"
	}
	return &patience.Failure{Fault: f}
}
