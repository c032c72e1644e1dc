package auth

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// door is the RoundTripper of logins. It is open during one, and notes Vault's answers and
// every token that Vault makes. Methods may send requests from several goroutines.
type door struct {
	session  *session     // set by connect
	requests sync.RWMutex // held for reading by each request

	mu       sync.Mutex // guards the rest
	said     *said      // to the login under way; nil if there is none
	answered time.Time  // when Vault last answered, or the login began
	own      []*token   // made by all logins for this session alone; it revokes them at its end
}

// said is what Vault answered to one login. The answer to a request that an earlier login
// left behind is not in it.
type said struct {
	answer *reply.Answer // the last one; nil if err is set
	err    error         // of the last request
	tokens []*token      // each once
}

var errClosed = errors.New("the login is over")

func (d *door) RoundTrip(request *http.Request) (*http.Response, error) {
	s := d.session
	var given []string // what may be a secret of the method's own
	if s.config.method.handedIn {
		given = secretsOf(request)
		s.wire.Sent.Learn(given...)
	}
	d.requests.RLock()
	defer d.requests.RUnlock()
	said := d.underWay()
	if said == nil {
		return nil, errClosed
	}
	response, answer, err := d.send(request)
	d.mu.Lock()
	defer d.mu.Unlock()
	said.answer, said.err = answer, err
	if err != nil {
		return nil, err
	}
	d.answered = time.Now()
	// A renewal returns the token that it renews, which is not a new one.
	if a := answer.Auth; a != nil && a.ClientToken != "" && said.find(a.ClientToken) == nil && !slices.Contains(given, a.ClientToken) {
		t := s.newToken(a, strings.Trim(request.Header.Get(api.NamespaceHeaderName), "/"), transport.SentAt(response))
		t.setAccepted()
		t.modern = answer.MountType != nil
		t.index = response.Header.Get("X-Vault-Index")
		said.tokens = append(said.tokens, t)
		if !answer.CacheHit && !t.facts.Batch { // others use a cached one too, and a batch token cannot be revoked
			d.own = append(d.own, t)
		}
	}
	return response, nil
}

// send sends a request to Vault, and to no other server.
func (d *door) send(request *http.Request) (*http.Response, *reply.Answer, error) {
	s := d.session
	switch {
	case !s.isForVault(request):
		return nil, nil, fault.New(fault.Login, "its request was not for the API at the address in the settings, so it was not sent", "fix the method")
	case hasControl(request.Header):
		return nil, nil, fault.New(fault.Login, "its request had a header with a line break or another control character, so it was not sent", "fix the method")
	case s.logins.Last.Err() != nil:
		return nil, nil, errClosed
	}
	response, err := s.logins.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	answer, err := reply.Parse(response, nil)
	if err != nil && !transport.IsHarmless(request) {
		s.warnOfUnclearLogin() // Vault has acted on it, but the answer is wrapped, or is not whole
	}
	return response, answer, err
}

func (d *door) underWay() *said {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said
}

// silence is the time since Vault last answered.
func (d *door) silence() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.answered)
}

// open opens the door for a login.
func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said, d.answered = &said{}, time.Now()
}

// close closes the door and returns what Vault said.
func (d *door) close() said {
	d.mu.Lock()
	defer d.mu.Unlock()
	said := *d.said
	d.said = nil
	return said
}

// owned returns the tokens that Vault made for this session alone.
func (d *door) owned() []*token {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.own)
}

// disown drops a token that is certainly dead, so it is not revoked.
func (d *door) disown(dead *token) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.own = slices.DeleteFunc(d.own, func(own *token) bool { return own == dead })
}

func (s said) find(secret string) *token {
	i := slices.IndexFunc(s.tokens, func(t *token) bool { return t.secret == secret })
	if i < 0 {
		return nil
	}
	return s.tokens[i]
}
