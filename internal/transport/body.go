package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// buffered is a body in memory.
type buffered struct {
	bytes.Buffer

	// progress is that of the attempt. A func, because printing by reflection would show what
	// the connection has received before, such as the answer to a login.
	progress func() *progress
}

func (*buffered) Close() error { return nil }

// SentAt returns when the attempt that a response of a Retry answers began.
func SentAt(response *http.Response) time.Time { return response.Body.(*buffered).progress().began }

// maxBody is how many bytes the answer to a request may have.
func maxBody(request *http.Request) int {
	if IsMountList(request) {
		return 32 << 20 // it grows with the server
	}
	return 4 << 20 // Vault stores values up to 1 MiB
}

var errTooLarge = errors.New("the answer is too large")

func (w *Wire) tooLarge(request *http.Request) *fault.Error {
	size := "larger than " + strconv.Itoa(maxBody(request)>>20) + " MiB"
	return &fault.Error{
		Kind: fault.BadResponse, What: "the answer of " + w.Address() + " is " + size, Do: "store smaller values in Vault, or ask for less at once",
		Reason: "the server's answer is " + size, Fix: "store smaller values in Vault, or fewer in one secret",
	}
}

// readAll reads the body to its end, but no more than an answer may have.
func readAll(response *http.Response, most int) ([]byte, error) {
	length := response.ContentLength // -1 if unknown
	switch {
	case response.Body == http.NoBody: // as to a HEAD, which has the length of a GET
		return nil, nil
	case response.StatusCode == http.StatusSwitchingProtocols:
		return nil, nil // the body would be the connection itself, which no context closes
	case length > int64(most):
		return nil, errTooLarge
	case length >= 0:
		body := make([]byte, length)
		n, err := io.ReadFull(response.Body, body)
		return body[:n], err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(most)+1))
	if len(body) > most {
		return nil, errTooLarge
	}
	return body, err
}

// isRefusalOfHTTP reports whether a response may be the answer of an HTTPS server to
// plain HTTP. Such a server resets the connection after it.
func isRefusalOfHTTP(response *http.Response, body []byte) bool {
	return response != nil && response.StatusCode == http.StatusBadRequest && len(body) > 0 &&
		response.Header.Get("Content-Type") != "application/json"
}
