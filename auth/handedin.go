package auth

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// notSecret are the headers of a login method that hold no secret.
var notSecret = []string{"Accept", "Content-Type", "User-Agent", "X-Vault-Request", "X-Vault-Namespace"}

// secretsOf returns what may be a secret in a request of a handed-in method.
func secretsOf(request *http.Request) []string {
	all := textsOf(request)
	for _, text := range all {
		all = append(all, decoded(text)...)
	}
	return all
}

// textsOf returns what may be a secret in a request, as it is sent.
func textsOf(request *http.Request) (all []string) {
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

// decoded returns what a text in base64 holds, such as the password of Basic credentials, or
// the headers that the method for AWS signs, which AWS may echo in clear.
func decoded(text string) []string {
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !utf8.Valid(plain) {
		return nil
	}
	_, password, _ := strings.Cut(string(plain), ":")
	return append(secretsIn(plain), password)
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
