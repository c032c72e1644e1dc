package transport_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
)

const budget = time.Minute

// pipes are connections in memory, which synctest supports.
type pipes struct {
	conns chan net.Conn
	end   chan struct{}
	close sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close.Do(func() { close(p.end) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// overPipes makes a Retry for a synctest bubble whose requests the handler answers. An
// attempt lasts ten seconds at most.
func overPipes(t *testing.T, connections int, handler http.HandlerFunc) *transport.Retry {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
	server := &http.Server{Handler: handler}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(p) })
	w := newWire(t, transport.Config{Address: &url.URL{Scheme: "http", Host: "vault.test:8200"}, Connections: connections, Timeout: 10 * time.Second})
	transport.DialWith(w, p.dial)
	t.Cleanup(func() {
		w.Close()
		server.Close()
		serving.Wait()
	})
	return newRetry(t, w, budget)
}

// do sends a request, and returns the status of the answer.
func do(ctx context.Context, r *transport.Retry, method, path string) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, method, r.Wire.Address()+"/v1/"+path, strings.NewReader(`{"a":1}`))
	if err != nil {
		return 0, err
	}
	response, err := r.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}

// step is one way to answer a request.
type step func(http.ResponseWriter, *http.Request)

func says200(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", json)
	io.WriteString(w, `{"request_id":"1"}`)
}

func errorsOf(status int, text string) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", json)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[%q]}`, text)
	}
}

func pageOf(status int) step {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		io.WriteString(w, html)
	}
}

func redirects(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "http://10.0.0.1:8200/")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// agentLost is what a Vault Agent answers when Vault is down. It sends a request again by
// itself, and tells the last error alone: Vault may have acted on an earlier attempt.
var agentLost = errorsOf(500, "failed to get the response: Put \"https://127.0.0.1:1/v1/x\": dial tcp 127.0.0.1:1: connect: connection refused")

// overloaded is what Vault Enterprise answers to a login whose writes its storage is too slow for.
var overloaded = errorsOf(503, "failed to create token: failed to persist accessor index entry: overloaded, try again later: internal error")

func closes(w http.ResponseWriter, _ *http.Request) {
	conn, _, _ := w.(http.Hijacker).Hijack()
	conn.Close()
}

func hangs(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// Reads are repeated freely. Writes are repeated only if Vault certainly did not act on
// them.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	const get, put = http.MethodGet, http.MethodPut
	for _, c := range []struct {
		name     string
		first    step
		method   string
		harmless bool
		requests int64 // in all, where the second is answered
	}{
		{"500", errorsOf(500, "internal error"), get, false, 2},
		{"500", errorsOf(500, "internal error"), put, false, 1},
		{"500", errorsOf(500, "internal error"), put, true, 2},
		{"500 in the words of a login", errorsOf(500, "could not load configuration"), get, false, 2},
		{"closed", closes, get, false, 2},
		{"closed", closes, "LIST", false, 2},
		{"closed", closes, put, false, 1},
		{"hangs", hangs, get, false, 2},
		{"hangs", hangs, put, false, 1},
		{"502 of a proxy", pageOf(502), get, false, 2},
		{"502 of a proxy", pageOf(502), put, false, 1},
		{"503 of a proxy", pageOf(503), put, false, 1},
		{"an Agent that lost Vault", agentLost, put, false, 1},
		{"429", errorsOf(429, "rate limit quota exceeded"), get, false, 2},
		{"429", errorsOf(429, "rate limit quota exceeded"), put, false, 2},
		{"429 of a proxy", pageOf(429), put, false, 2},
		{"307", redirects, put, false, 2},
		{"sealed", errorsOf(503, "Vault is sealed"), put, false, 2},
		{"no active node", errorsOf(500, "local node not active but active cluster node not found"), put, false, 2},
		{"overloaded", overloaded, put, false, 1},
		{"412 of a standby", errorsOf(412, "required index state not present"), put, false, 2},
		{"302", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, get, false, 1},
		{"not Vault", pageOf(200), get, false, 1}, // to the library itself
	} {
		t.Run(fmt.Sprintf("%s %s harmless=%t", c.method, c.name, c.harmless), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
					switch {
					case !strings.HasSuffix(q.URL.Path, "/subject"):
						says200(w, q)
					case requests.Add(1) == 1:
						c.first(w, q)
					default:
						body, _ := io.ReadAll(q.Body)
						assert.Equal(t, `{"a":1}`, string(body), "the body is sent again")
						says200(w, q)
					}
				})
				_, err := do(t.Context(), r, get, "another") // so that Vault has answered
				require.NoError(t, err)
				ctx := transport.WithOwn(t.Context(), transport.Own{Harmless: c.harmless})
				status, err := do(ctx, r, c.method, "subject")
				assert.Equal(t, c.requests, requests.Load())
				if c.requests == 1 {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, 200, status)
			})
		})
	}
}

// A write that was certainly not sent is repeated.
func TestUnsentWriteIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests, dials atomic.Int64
		r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) { requests.Add(1); says200(w, q) })
		p := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { requests.Add(1); says200(w, q) })}
		go server.Serve(p)
		defer server.Close()
		transport.DialWith(r.Wire, func(ctx context.Context) (net.Conn, error) {
			if dials.Add(1) <= 2 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("no route to host")}
			}
			return p.dial(ctx)
		})
		status, err := do(t.Context(), r, http.MethodPut, "a")
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.EqualValues(t, 3, dials.Load())
		assert.EqualValues(t, 1, requests.Load())
		r.Wire.Close()
	})
}

// A login that Vault may have processed is sent once more, when Vault is well.
func TestUnclearLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		steps    []step
		requests int64
		unclear  int64
		text     string // empty for an answer
	}{
		{"lost once", []step{closes}, 2, 1, ""},
		{"lost twice", []step{closes, closes, says200}, 2, 1, "sent twice and not repeated, since Vault may have acted on it"},
		{"502, then lost", []step{pageOf(502), closes}, 2, 1, "sent twice and not repeated"},
		{"an Agent that lost Vault", []step{agentLost, agentLost}, 2, 1, "sent twice and not repeated"},
		{"overloaded", []step{overloaded, overloaded, overloaded}, 2, 1, "sent twice and not repeated, since Vault may have acted on it"},
		{"sealed as often as it is", []step{errorsOf(503, "Vault is sealed"), errorsOf(503, "Vault is sealed"), errorsOf(503, "Vault is sealed")}, 4, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var requests, unclear atomic.Int64
				r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
					if strings.HasSuffix(q.URL.Path, "/sys/health") {
						w.Header().Set("Content-Type", json)
						io.WriteString(w, `{"initialized":true,"server_time_utc":1}`)
						return
					}
					if n := int(requests.Add(1)); n <= len(c.steps) {
						c.steps[n-1](w, q)
						return
					}
					says200(w, q)
				})
				r.Unclear = func() { unclear.Add(1) }
				_, err := do(t.Context(), r, http.MethodPost, "auth/approle/login")
				assert.Equal(t, c.requests, requests.Load())
				assert.Equal(t, c.unclear, unclear.Load())
				if c.text == "" {
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				assert.Contains(t, err.Error(), c.text)
			})
		})
	}
}

// A second attempt for which patience leaves less time than usual does not hide what Vault
// answered to the first one.
func TestUnclearLoginIsCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
			switch {
			case strings.HasSuffix(q.URL.Path, "/sys/health"):
				w.Header().Set("Content-Type", json)
				io.WriteString(w, `{"initialized":true,"server_time_utc":1}`)
			case requests.Add(1) == 1:
				errorsOf(500, "the storage is broken")(w, q)
			default:
				hangs(w, q)
			}
		})
		r.Patience, r.Unclear = patience.New(8*time.Second, patience.Limits{}), func() {}
		_, err := do(t.Context(), r, http.MethodPost, "auth/approle/login")
		assert.EqualValues(t, 2, requests.Load())
		assert.ErrorIs(t, err, fault.ServerError)
		assert.ErrorContains(t, err, "the storage is broken")
		assert.ErrorContains(t, err, "sent twice and not repeated")
	})
}

// A login that fails alone is sent once more after a pause, in which a proxy's limit of the
// rate refills, or a balancer finds that a node is down.
func TestUnclearLoginPauses(t *testing.T) {
	t.Parallel()
	after := func(seconds string) step {
		return func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Retry-After", seconds)
			pageOf(503)(w, q)
		}
	}
	for _, c := range []struct {
		name  string
		first step
		pause time.Duration
		again time.Duration // a second pause, after Vault's health was asked for
	}{
		{"503 of a proxy", pageOf(503), time.Second, time.Second},
		{"502 of a proxy", pageOf(502), time.Second, 0},
		{"lost", closes, time.Second, 0},
		{"Retry-After", after("3"), 3 * time.Second, time.Second},
		{"a long Retry-After", after("3600"), budget / 12, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var first time.Time
				var requests atomic.Int64
				r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
					requests.Add(1)
					switch {
					case strings.HasSuffix(q.URL.Path, "/sys/health"):
						w.Header().Set("Content-Type", json)
						io.WriteString(w, `{"initialized":true,"server_time_utc":1}`)
					case first.IsZero():
						first = time.Now()
						c.first(w, q)
					case time.Since(first) < c.pause:
						c.first(w, q)
					default:
						says200(w, q)
					}
				})
				r.Unclear = func() {}
				_, err := do(t.Context(), r, http.MethodPost, "auth/approle/login")
				require.NoError(t, err)
				assert.EqualValues(t, 3, requests.Load())
				assert.GreaterOrEqual(t, time.Since(first), c.pause+c.again)
				assert.Less(t, time.Since(first), c.pause+c.again+100*time.Millisecond)
			})
		})
	}
}

// A proxy that limits the rate counts the request for Vault's health, too.
func TestUnclearLoginBehindAProxyThatLimitsTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		served := limited(2, 1, func(w http.ResponseWriter, q *http.Request) {
			if strings.HasSuffix(q.URL.Path, "/sys/health") {
				w.Header().Set("Content-Type", json)
				io.WriteString(w, `{"initialized":true,"server_time_utc":1}`)
				return
			}
			says200(w, q)
		})
		r := overPipes(t, 4, served)
		_, err := do(t.Context(), r, http.MethodGet, "secret/data/of-another-run")
		require.NoError(t, err)
		r.Unclear = func() {}
		_, err = do(t.Context(), r, http.MethodPost, "auth/approle/login")
		assert.NoError(t, err)
	})
}

// A login that met an outage is sent once more even if the proxy then blocks sys/health with
// the page that it sent in the outage, but late: the outage may go on.
func TestUnclearLoginWithoutHealth(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{budget / 6, budget / 2, budget * 7 / 10} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var logins atomic.Int64
			r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
				isLogin := strings.HasSuffix(q.URL.Path, "/login")
				if isLogin {
					logins.Add(1)
				}
				if !isLogin || time.Since(began) < outage {
					pageOf(503)(w, q)
					return
				}
				says200(w, q)
			})
			r.Unclear = func() {}
			_, err := do(t.Context(), r, http.MethodPost, "auth/approle/login")
			assert.NoError(t, err)
			assert.EqualValues(t, 2, logins.Load())
			assert.GreaterOrEqual(t, time.Since(began), budget*3/4)
		})
	}
}

// The first optional request that hangs ends after a quarter of patience, and the next
// after a twelfth. The run goes on.
func TestOptionalRequestHangs(t *testing.T) {
	t.Parallel()
	for _, end := range []transport.End{transport.AtOnce, transport.InAWhile} {
		synctest.Test(t, func(t *testing.T) {
			r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
				if strings.HasSuffix(q.URL.Path, "/optional") {
					hangs(w, q)
					return
				}
				says200(w, q)
			})
			began := time.Now()
			_, err := do(transport.WithOwn(t.Context(), transport.Own{Optional: end}), r, http.MethodGet, "optional")
			took := time.Since(began)
			require.ErrorIs(t, err, fault.Unreachable)
			assert.InDelta(t, budget/4, took, float64(time.Second))
			_, next := do(transport.WithOwn(t.Context(), transport.Own{Optional: end}), r, http.MethodGet, "optional")
			require.ErrorIs(t, next, fault.Unreachable)
			assert.InDelta(t, budget/3, time.Since(began), float64(time.Second))
			f, _ := err.(*fault.Error)
			require.NotNil(t, f)
			assert.False(t, f.Run, "it is not the end of the run")
			assert.Nil(t, r.Patience.Over())
			status, err := do(t.Context(), r, http.MethodGet, "a")
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		})
	}
}

// Optional requests that alone are cut off, or refused for a time, cost a third of
// patience together, and the next request is sent at once. In a check, too, there is time
// for it.
func TestOptionalRequestsFailAlone(t *testing.T) {
	t.Parallel()
	quota := func(seconds string) step {
		return func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Retry-After", seconds)
			errorsOf(429, "rate limit quota exceeded")(w, q)
		}
	}
	for _, c := range []struct {
		name     string
		answer   step
		patience time.Duration
		check    bool
		most     time.Duration
	}{
		{"cut off", closes, 30 * time.Second, false, 10 * time.Second},
		{"an Agent that lost Vault", agentLost, 30 * time.Second, false, 10 * time.Second},
		{"5 seconds", quota("5"), 30 * time.Second, false, 10 * time.Second},
		{"7 seconds", quota("7"), 30 * time.Second, false, 10 * time.Second},
		{"an hour", quota("3600"), 30 * time.Second, false, 10 * time.Second},
		{"overloaded", overloaded, 30 * time.Second, false, 10 * time.Second},
		{"a standby that lags", errorsOf(412, "required index state not present"), 30 * time.Second, false, 10 * time.Second},
		{"a check is cut off", closes, 3 * time.Second, true, time.Second},
		{"a check waits 1 second", quota("1"), 3 * time.Second, true, 2500 * time.Millisecond},
		{"a check waits 2 seconds", quota("2"), 3 * time.Second, true, 2500 * time.Millisecond},
		{"a check waits an hour", quota("3600"), 3 * time.Second, true, time.Second},
	} {
		for _, blocked := range [][]string{{"look-up"}, {"list"}, {"look-up", "list", "capabilities"}} {
			t.Run(fmt.Sprint(c.name, blocked), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
						time.Sleep(time.Millisecond) // a clock that stands still never leaves the end of an outage behind
						if slices.Contains(blocked, path.Base(q.URL.Path)) {
							c.answer(w, q)
							return
						}
						says200(w, q)
					})
					r.Patience = patience.New(c.patience, patience.Limits{})
					if c.check {
						r.Until = time.Now().Add(c.patience + 18*time.Second)
					}
					ask := func(path string, end transport.End) error {
						_, err := do(transport.WithOwn(t.Context(), transport.Own{Optional: end, Harmless: true}), r, http.MethodGet, path)
						return err
					}
					began := time.Now()
					ask("look-up", transport.AtOnce)
					ask("list", transport.InAWhile)
					assert.NoError(t, ask("a", 0))
					assert.LessOrEqual(t, time.Since(began), c.most+c.most/20)
					ask("capabilities", transport.AtOnce)
					assert.NoError(t, ask("b", 0))
				})
			})
		}
	}
}

// limited answers like nginx with limit_req: 503 to requests that are too fast.
func limited(perSecond float64, burst int, next http.HandlerFunc) http.HandlerFunc {
	bucket := rate.NewLimiter(rate.Limit(perSecond), burst)
	return func(w http.ResponseWriter, q *http.Request) {
		time.Sleep(time.Millisecond)
		if !bucket.Allow() {
			pageOf(503)(w, q)
			return
		}
		next(w, q)
	}
}

// each sends a request for each path from 16 workers, and returns the errors by
// path.
func each(ctx context.Context, r *transport.Retry, paths int) map[string]error {
	next := make(chan int)
	failed := make(map[string]error)
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for i := range next {
				path := fmt.Sprintf("secret/data/%d", i)
				if _, err := do(ctx, r, http.MethodGet, path); err != nil {
					mu.Lock()
					failed[path] = err
					mu.Unlock()
				}
			}
		})
	}
	for i := range paths {
		next <- i
	}
	close(next)
	group.Wait()
	return failed
}

// If a proxy limits the rate with status 503, requests slow down and do not wait. They are
// neither lost nor much slower than the limit, even if patience is short.
func TestProxyPacesWith503(t *testing.T) {
	t.Parallel()
	for _, proxy := range []struct {
		perSecond float64
		burst     int
		paths     int
	}{{200, 1, 300}, {200, 20, 300}, {50, 1, 300}, {1000, 1, 300}, {5, 1, 60}, {1, 1, 60}} {
		t.Run(fmt.Sprintf("%v a second, burst %d", proxy.perSecond, proxy.burst), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				served := limited(proxy.perSecond, proxy.burst, says200)
				r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) { requests.Add(1); served(w, q) })
				r.Patience = patience.New(10*time.Second, patience.Limits{})
				began := time.Now()
				assert.Empty(t, each(t.Context(), r, proxy.paths))
				took := time.Since(began)
				t.Logf("%d requests, %s", requests.Load(), took)
				assert.LessOrEqual(t, requests.Load(), int64(4*proxy.paths))
				assert.Less(t, took.Seconds(), 30+2*float64(proxy.paths)/proxy.perSecond)
			})
		})
	}
}

// A proxy that limits the rate can keep requests waiting and refuse the rest, as nginx's limit_req
// with a burst does. A request that it refuses while those wait does not fail alone: nothing
// has shown yet that later ones are answered.
func TestProxyQueuesAndPacesWith503(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 3 * time.Second // in the queue
		began := time.Now()
		var waiting atomic.Int64
		r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) {
			time.Sleep(time.Millisecond)
			if strings.HasSuffix(q.URL.Path, "/data/3") && time.Since(began) < wait*3/2 {
				pageOf(503)(w, q)
				return
			}
			time.Sleep(min(wait, time.Duration(waiting.Add(1))*wait/15)) // it is empty at first
			says200(w, q)
		})
		r.Patience = patience.New(10*time.Second, patience.Limits{})
		assert.Empty(t, each(t.Context(), r, 60))
	})
}

// Two paths that were refused and then answered show such a proxy. From then on a read that
// it refuses waits before it is sent again. A write is not sent again: Vault may have acted on
// it.
func TestTwoPathsShowAProxyThatPaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := make(map[string]int)
		r := overPipes(t, 1, func(w http.ResponseWriter, q *http.Request) {
			if requests[q.URL.Path]++; requests[q.URL.Path] == 1 {
				pageOf(503)(w, q)
				return
			}
			says200(w, q)
		})
		for i := range 3 {
			began := time.Now()
			_, err := do(t.Context(), r, http.MethodGet, fmt.Sprintf("secret/data/%d", i))
			require.NoError(t, err)
			assert.Equal(t, i == 2, time.Since(began) >= time.Second, "path %d: %s", i, time.Since(began))
		}
		_, err := do(t.Context(), r, http.MethodPut, "secret/data/write")
		assert.ErrorContains(t, err, "not repeated")
		assert.Equal(t, 1, requests["/v1/secret/data/write"])
	})
}

// Once a proxy has paced, its nodes can still go down, which is an outage. A request that the
// proxy had refused twice by then may be lost.
func TestOutageBehindAProxyThatPaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests, refused atomic.Int64
		var down atomic.Bool
		served := limited(200, 1, says200)
		r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) {
			if requests.Add(1) == 400 {
				down.Store(true)
				time.AfterFunc(budget*2/3, func() { down.Store(false) })
			}
			if down.Load() {
				refused.Add(1)
				pageOf(503)(w, q)
				return
			}
			served(w, q)
		})
		assert.Empty(t, each(t.Context(), r, 600))
		assert.NotZero(t, refused.Load())
	})
}

// A path that always gets such a 503 fails alone.
func TestPathThatAProxyAlwaysRefuses(t *testing.T) {
	t.Parallel()
	for _, page := range []struct {
		name      string
		perSecond float64 // of other paths
		step      step
	}{
		{"a page", 200, pageOf(503)},
		{"a page, at a low rate", 10, pageOf(503)},
		{"JSON that is not Vault's", 200, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", json)
			w.WriteHeader(503)
			io.WriteString(w, `{"message":"`+bodyWords+`"}`)
		}},
	} {
		t.Run(page.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var refused atomic.Int64
				served := limited(page.perSecond, 1, says200)
				r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) {
					if strings.HasSuffix(q.URL.Path, "/data/150") {
						refused.Add(1)
						page.step(w, q)
						return
					}
					served(w, q)
				})
				failed := each(t.Context(), r, 600)
				require.Len(t, failed, 1)
				err := failed["secret/data/150"]
				require.ErrorIs(t, err, fault.BadResponse)
				assert.NotContains(t, err.Error(), bodyWords)
				assert.Contains(t, err.Error(), "it also limits the rate of requests, which may be the cause")
				assert.LessOrEqual(t, refused.Load(), int64(60)) // for three seconds, at the pace of all
			})
		})
	}
}

// However many they are, they do not keep others from being answered.
func TestPathsThatAProxyAlwaysRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		served := limited(100, 1, says200)
		r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) {
			if strings.HasSuffix(q.URL.Path, "1") || strings.HasSuffix(q.URL.Path, "6") {
				pageOf(503)(w, q)
				return
			}
			served(w, q)
		})
		for path := range each(t.Context(), r, 300) {
			assert.True(t, strings.HasSuffix(path, "1") || strings.HasSuffix(path, "6"), path)
		}
	})
}

// A balancer that sends every second or third request to a dead node answers with such a 503,
// too. Slower requests would not help.
func TestBalancerWithADeadNode(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int64{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			var requests atomic.Int64
			r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) {
				time.Sleep(time.Millisecond)
				if requests.Add(1)%nodes == 0 {
					pageOf(503)(w, q)
					return
				}
				says200(w, q)
			})
			began := time.Now()
			assert.Empty(t, each(t.Context(), r, 2000))
			t.Logf("%d nodes: %d requests, %s", nodes, requests.Load(), time.Since(began))
			assert.Less(t, time.Since(began), time.Minute) // as if it answered with status 502
		})
	}
}

// If others use up the rate of a proxy, too, many paths are refused several times, and yet
// answered in the end.
func TestRateThatOthersUseUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 50
		bucket := rate.NewLimiter(perSecond, 1)
		r := overPipes(t, 16, func(w http.ResponseWriter, q *http.Request) {
			time.Sleep(20 * time.Millisecond)
			if bucket.Allow() {
				says200(w, q)
			} else {
				pageOf(503)(w, q)
			}
		})
		end := make(chan struct{})
		defer close(end)
		go func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Duration(rand.ExpFloat64() * float64(time.Second) / perSecond)):
					bucket.Allow()
				}
			}
		}()
		assert.LessOrEqual(t, len(each(t.Context(), r, 300)), 3)
	})
}

// A bare internal error means a bad credential only if it comes again a twelfth of
// patience later and Vault's health was good both times.
func TestInternalError(t *testing.T) {
	t.Parallel()
	const bare = "1 error occurred:\n\t* internal error\n\n"
	for _, c := range []struct {
		name   string
		health int
		login  bool
		kind   fault.Kind
		after  time.Duration
	}{
		{"well", 200, false, fault.Token, budget / 12},
		{"performance standby", 473, false, fault.Token, budget / 12},
		{"well, a login", 200, true, fault.Login, budget / 12},
		{"standby", 429, false, fault.ServerError, budget},
		{"sealed", 503, false, fault.ServerError, budget},
		{"DR secondary", 472, false, fault.ServerError, budget},
		{"not initialized", 501, false, fault.ServerError, budget},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
					if strings.HasSuffix(q.URL.Path, "/sys/health") {
						status := c.health
						if q.URL.RawQuery != "" {
							status = 200
						}
						w.Header().Set("Content-Type", json)
						w.WriteHeader(status)
						io.WriteString(w, `{"initialized":true,"sealed":false,"server_time_utc":1}`)
						return
					}
					errorsOf(500, bare)(w, q)
				})
				method := http.MethodGet
				if c.login {
					method = http.MethodPost
					r.Unclear = func() {}
				}
				began := time.Now()
				_, err := do(t.Context(), r, method, "auth/token/lookup-self")
				took := time.Since(began)
				require.ErrorIs(t, err, c.kind)
				assert.GreaterOrEqual(t, took, c.after)
				assert.LessOrEqual(t, took, c.after+budget/10)
				if c.kind != fault.ServerError {
					assert.Contains(t, err.Error(), "audit device works: a dead one looks the same")
				}
			})
		})
	}
	t.Run("well at first and later, but not in between", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var asked []string
			r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
				switch {
				case !strings.HasSuffix(q.URL.Path, "/sys/health"):
					errorsOf(500, bare)(w, q)
				case len(asked) == 1:
					asked = append(asked, "not well")
					errorsOf(503, "Vault is sealed")(w, q)
				default:
					asked = append(asked, "well")
					says200(w, q)
				}
			})
			_, err := do(t.Context(), r, http.MethodGet, "auth/token/lookup-self")
			require.ErrorIs(t, err, fault.Token)
			assert.Equal(t, []string{"well", "not well", "well", "well"}, asked)
			assert.GreaterOrEqual(t, time.Since(began), 3*budget/12)
		})
	})
	t.Run("it passes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var requests atomic.Int64
			r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
				if requests.Add(1) < 4 {
					errorsOf(500, bare)(w, q)
					return
				}
				says200(w, q)
			})
			_, err := do(t.Context(), r, http.MethodGet, "auth/token/lookup-self")
			assert.NoError(t, err)
		})
	})
	t.Run("a request does not wait while another asks for the health", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			asked := false
			r := overPipes(t, 4, func(w http.ResponseWriter, q *http.Request) {
				if strings.HasSuffix(q.URL.Path, "/sys/health") {
					asked = true
					hangs(w, q)
					return
				}
				errorsOf(500, bare)(w, q)
			})
			all, end := context.WithCancel(t.Context())
			var first sync.WaitGroup
			first.Go(func() { do(all, r, http.MethodGet, "secret/data/a") })
			defer first.Wait()
			defer end()
			synctest.Wait()
			require.True(t, asked)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			_, err := do(ctx, r, http.MethodGet, "secret/data/b")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began))
		})
	})
}

// Vault's health is asked for a second time, over a fresh connection, if a node behind a
// balancer may be down, but not of a server that is not Vault or says nothing.
func TestHealthIsAskedForTwice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		first    step
		requests int
	}{
		{"answered", says200, 1},
		{"closed", closes, 2},
		{"502 of a balancer", pageOf(502), 2},
		{"not Vault", pageOf(200), 1},
		{"silence", hangs, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				r := overPipes(t, 1, func(w http.ResponseWriter, q *http.Request) {
					if requests.Add(1) == 1 {
						c.first(w, q)
						return
					}
					says200(w, q)
				})
				_, _, ok := r.Health(t.Context())
				assert.Equal(t, int64(c.requests), requests.Load())
				assert.Equal(t, c.name == "answered" || c.requests == 2, ok)
			})
		})
	}
}

// A request ends with its own context and with the run's. A login under way goes on until
// Last ends.
func TestContextsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(own, run, last context.CancelFunc)
		last bool
		took time.Duration
	}{
		{"its own", func(own, _, _ context.CancelFunc) { own() }, false, 0},
		{"the run's", func(_, run, _ context.CancelFunc) { run() }, false, 0},
		{"the run's, and the last moment two seconds later", func(_, run, last context.CancelFunc) { run(); time.Sleep(2 * time.Second); last() }, true, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := overPipes(t, 4, hangs)
				ctx, own := context.WithCancel(t.Context())
				defer own()
				var run, last context.CancelFunc = nil, func() {}
				r.Run, run = context.WithCancel(t.Context())
				defer run()
				if c.last {
					r.Last, last = context.WithCancel(t.Context())
					defer last()
				}
				began := time.Now()
				go func() { time.Sleep(time.Second); c.end(own, run, last) }()
				_, err := do(ctx, r, http.MethodPost, "a")
				assert.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, time.Second+c.took, time.Since(began))
			})
		})
	}
}
