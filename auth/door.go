package auth

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// door is the RoundTripper of logins. It notes Vault's answers and every token that
// Vault makes. Methods may send requests from several goroutines.
type door struct {
	session *session

	mu       sync.Mutex
	closed   bool
	answered time.Time // when Vault last answered
	said     said
}

// said is what Vault answered to one login.
type said struct {
	answer *reply.Answer // the last one; nil if err is set
	err    error         // of the last request
	tokens []*token      // each once
}

var errClosed = errors.New("the login is over")

func (d *door) RoundTrip(request *http.Request) (*http.Response, error) {
	request, err := transport.Replayable(request)
	if err != nil {
		return nil, err
	}
	if !d.session.isForVault(request) {
		f := fault.New(fault.Login, "it asks a server other than the one in the settings, so that request was not sent", "fix the method")
		d.note(request, nil, f, time.Time{}, nil, nil)
		return nil, f
	}
	var given []string // what may be a secret of the method's own
	if d.session.config.method.handedIn != nil {
		given = secretsOf(request)
		d.session.wire.Sent.Learn(given...)
	}
	sent := time.Now()
	d.session.doors.RLock()
	defer d.session.doors.RUnlock()
	last := d.session.logins.Last
	if d.isClosed() || last.Err() != nil {
		return nil, errClosed
	}
	response, err := d.session.logins.RoundTrip(request)
	if err != nil && last.Err() != nil {
		d.session.warnOfUnclearLogin() // it took longer than a run waits for it
	}
	var answer *reply.Answer
	if err == nil {
		answer, err = reply.Parse(&api.Response{Response: response}, nil)
	}
	d.note(request, answer, err, sent, response, given)
	if err != nil {
		return nil, err
	}
	return response, nil
}

// note keeps what Vault said, and the token that it made. It ignores a token that the
// method sent: a renewal returns the token that it renews.
func (d *door) note(request *http.Request, answer *reply.Answer, err error, sent time.Time, response *http.Response, given []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said.answer, d.said.err = answer, err
	if err != nil {
		return
	}
	d.answered = time.Now()
	if answer.MountType != nil {
		d.session.modern.Store(true)
	}
	if a := answer.Auth; a != nil && a.ClientToken != "" && d.said.find(a.ClientToken) == nil && !slices.Contains(given, a.ClientToken) {
		t := d.session.newToken(a, strings.Trim(request.Header.Get(api.NamespaceHeaderName), "/"), sent)
		t.accepted.Store(true)
		t.index = response.Header.Get("X-Vault-Index")
		d.said.tokens = append(d.said.tokens, t)
		if !answer.CacheHit && !t.facts.Batch { // others use a cached one too, and a batch token cannot be revoked
			d.session.addOwn(t)
		}
	}
}

func (d *door) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// silence is the time since Vault last answered.
func (d *door) silence() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.answered)
}

// take closes the door and returns what Vault said.
func (d *door) take() said {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.said
}

func (s said) find(secret string) *token {
	i := slices.IndexFunc(s.tokens, func(t *token) bool { return t.secret == secret })
	if i < 0 {
		return nil
	}
	return s.tokens[i]
}

// notSecret are the headers of a login method that hold no secret.
var notSecret = []string{"Accept", "Content-Type", "User-Agent", "X-Vault-Request", "X-Vault-Namespace"}

// secretsOf returns what may be a secret in a request of a handed-in method.
func secretsOf(request *http.Request) (all []string) {
	for name, values := range request.Header {
		if !slices.Contains(notSecret, http.CanonicalHeaderKey(name)) {
			for _, value := range values {
				all = append(append(all, value), partsOf(value)...)
			}
		}
	}
	for _, values := range request.URL.Query() {
		all = append(all, values...)
	}
	if request.GetBody == nil {
		return all
	}
	body, err := request.GetBody()
	if err != nil {
		return all
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return all
	}
	return append(all, secretsIn(text)...)
}

// partsOf returns what follows a scheme, as in Authorization, or a name, as in Cookie.
func partsOf(header string) (parts []string) {
	for part := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ';' || r == ',' }) {
		part = strings.TrimSpace(part)
		for _, separator := range []string{" ", "="} {
			if _, rest, ok := strings.Cut(part, separator); ok {
				parts = append(parts, strings.Trim(rest, `"`))
			}
		}
	}
	return parts
}

// secretsIn returns a body as a whole, and each part that a server may echo alone: the
// texts and numbers of its JSON, and the values of a form. The names of both are no
// secrets, and occur in Vault's own words.
func secretsIn(body []byte) []string {
	all := []string{string(body)}
	decoder := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			break
		}
		within, n := decoder.StackIndex(decoder.StackDepth())
		isName := within == '{' && n%2 == 1
		if kind := token.Kind(); kind == '0' || kind == '"' && !isName {
			all = append(all, token.String())
		}
	}
	notJSON := string(body[decoder.InputOffset():])
	for part := range strings.SplitSeq(notJSON, "&") {
		value := part[strings.IndexByte(part, '=')+1:]
		unescaped, _ := url.QueryUnescape(value)
		all = append(all, value, unescaped)
	}
	return all
}
