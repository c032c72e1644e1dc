package auth

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/vault/api"
)

// handedInMethod returns a func of Options.Methods as a method.
func handedInMethod(name string, f func() (api.AuthMethod, error)) method {
	return method{name: name, login: func(credentials) (api.AuthMethod, error) { return handedIn(f), nil }}
}

// handedIn is a func of Options.Methods, as a login method.
type handedIn func() (api.AuthMethod, error)

// Login calls the func, so that session.enter recovers its panics too, and does not wait
// for it too long.
func (h handedIn) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	method, err := h()
	switch {
	case err != nil:
		return nil, err
	case method == nil:
		return nil, errNone
	}
	return method.Login(ctx, client)
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
	if body, err := request.GetBody(); err == nil {
		text, _ := io.ReadAll(body) // no more than that is sent
		all = append(all, secretsIn(text)...)
	}
	return all
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
// strings and numbers of its JSON, and the values of a form. The names in both are not
// secret, and occur in Vault's own words.
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
