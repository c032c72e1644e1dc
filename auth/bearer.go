package auth

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// bearer is a RoundTripper that adds the session's token. It replaces a dead token
// with one login for all requests under way.
type bearer struct{ session *session }

func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	s := b.session
	if err := s.mayHaveToken(request); err != nil {
		return nil, err
	}
	for {
		if f := s.fatal.Load(); f != nil {
			return nil, f
		}
		t := s.token.Load()
		response, err := s.reads.Send(request, t.sign(request.Header))
		if err != nil {
			if f, ok := err.(*fault.Error); ok && f.Kind == fault.Token {
				return nil, withOddity(f, t.odd)
			}
			return nil, err
		}
		if response.StatusCode != http.StatusForbidden || s.isLogin(request) {
			if !t.hasServed() && t.isServed(request, response) {
				t.setServed()
			}
			return response, nil
		}
		answer, err := reply.Parse(response, nil)
		if err != nil {
			return nil, err
		}
		if err := s.afterRefusal(request, t, answer); err != nil {
			return nil, err
		}
		if s.token.Load() == t {
			if answer.Refusal() == reply.ByPolicy && !transport.IsOptional(request) {
				t.setAccepted()
			}
			return response, nil
		}
	}
}

// isLogin reports whether a request is a caller's own login, whose refusal is about the
// credentials in it.
func (s *session) isLogin(request *http.Request) bool {
	path, _ := apiPath(request.URL, s.config.address)
	segments := strings.Split(path, "/")
	return segments[0] == "auth" && slices.Contains(segments, "login") && !transport.IsOwn(request)
}

// isServed reports whether an answer shows that Vault served a request with the token.
func (t *token) isServed(request *http.Request, response *http.Response) bool {
	switch {
	case t.foreign && !reply.HasData(response):
		return false
	case transport.IsMountList(request):
		return reply.ListsForToken(response)
	case response.StatusCode == http.StatusNoContent:
		return !transport.IsHarmless(request) // no read is answered with 204
	}
	return response.StatusCode == http.StatusOK || response.StatusCode == http.StatusNotFound
}

// mayHaveToken returns an error if a request must not get the token: it is for
// another server, has a token of its own, or is too late.
func (s *session) mayHaveToken(request *http.Request) error {
	switch {
	case s.returned.Load():
		return errors.New("vault: the client must not be used after Do; the request was not sent")
	case request.Header.Get(api.AuthHeaderName) != "" || request.Header.Get("Authorization") != "":
		return errors.New("vault: the client adds its token itself; a request with another one is not sent (call ClearToken on a client that has one)")
	case !s.isForVault(request):
		return errors.New("vault: the token is not sent to an address other than the one in the settings, or for a path that holds . or .., or is empty")
	case hasControl(request.Header):
		return errors.New("vault: a request with a line break or another control character in a header is not sent")
	}
	return nil
}

// hasControl reports whether a header has a control character. net/http refuses such a
// request in words that read like those for a server's malformed answer.
func hasControl(header http.Header) bool {
	for _, values := range header {
		for _, value := range values {
			if strings.ContainsFunc(value, unicode.IsControl) {
				return true
			}
		}
	}
	return false
}

// isForVault reports whether a request is for the API of the Vault in the settings.
func (s *session) isForVault(request *http.Request) bool {
	_, ok := apiPath(request.URL, s.config.address)
	return ok && (request.Host == "" || strings.EqualFold(request.Host, request.URL.Host))
}
