package transport

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/luumen/patch-vault/internal/patience"
)

// SendOnce sends a request once, as in a run that goes well, and judges the response.
func SendOnce(w *Wire, request *http.Request, limit time.Duration) (*http.Response, *patience.Failure) {
	p := patience.New(time.Minute, patience.Limits{})
	p.Try(request.Context(), &patience.Request{}, func(context.Context, time.Duration) *patience.Failure { return nil })
	r := &Retry{Patience: p, Wire: w, Run: request.Context()}
	s := &exchange{retry: r, request: request, header: request.Header, sending: request.Context(), shared: &patience.Request{}, began: time.Now()}
	f := s.once(request.Context(), limit)
	return s.response, f
}

// FailureOf says why no whole answer arrived to a request that was written.
func FailureOf(w *Wire, err error) *patience.Failure {
	p := &progress{}
	p.wroteHeaders()
	return w.failureOf(err, p)
}

// DialWith makes the Wire use the func for its connections.
func DialWith(w *Wire, dial func(ctx context.Context) (net.Conn, error)) {
	w.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		w.dialer.dials.Add(1)
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return newAnswerConn(conn, &node{}), nil
	}
}

// NewAnswerConn returns the connection that net/http gets.
func NewAnswerConn(conn net.Conn) net.Conn { return newAnswerConn(conn, &node{}) }

// TakeOn gives a request the connection that net/http gets, BeginOn also begins to write it, and
// EndOn notes that its answer has been read.
func TakeOn(conn net.Conn)  { conn.(*answerConn).begin() }
func BeginOn(conn net.Conn) { conn.(*answerConn).begin(); conn.(*answerConn).sends() }
func EndOn(conn net.Conn)   { conn.(*answerConn).end() }

// WithAnswerConn is a context for one request over an answerConn.
func WithAnswerConn(ctx context.Context) context.Context {
	var conn *answerConn
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if conn, _ = info.Conn.(*answerConn); conn != nil {
				conn.begin()
			}
		},
		PutIdleConn: func(error) {
			if conn != nil {
				conn.end()
			}
		},
	})
}

var DialFirst = dialFirst

// Deadlines end attempts at their time limit.
type Deadlines = deadlines

func (d *deadlines) Begin(parent context.Context, limit time.Duration) *deadline {
	return d.begin(parent, limit)
}
func (d *deadlines) End(one *deadline) { d.end(one) }

// ContextOf is the context of an attempt.
func ContextOf(d *deadline) context.Context { return d.ctx }
