package client

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
)

// Understand is what a request with the secret makes of a response.
func Understand(status int, header http.Header, body, secret string, data any) (*Answer, *fault.Error) {
	c := New(Config{Address: &url.URL{Scheme: "https", Host: "vault.example:8200"}})
	response := &http.Response{StatusCode: status, Header: header, ContentLength: -1, Body: io.NopCloser(strings.NewReader(body))}
	read, err := readAll(response, nil)
	if err != nil {
		panic(err)
	}
	c.Learn(secret)
	return c.understand(Request{Data: data}, response, read)
}
