package client

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
)

// Transport is a RoundTripper for code that brings its own HTTP client, such
// as a login method of vault/api. It tells note of each request what Send would
// have returned; whatever text the request's JSON holds counts as a secret.
func (c *Client) Transport(note func(*Answer, *fault.Error)) http.RoundTripper {
	return &transport{c, note}
}

type transport struct {
	*Client
	note func(*Answer, *fault.Error)
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.requests.Add(1)
	limit := t.config.Timeout
	if deadline, ok := r.Context().Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	secrets, r, err := secretsOf(r)
	if err != nil {
		return nil, err
	}
	t.Learn(secrets...)
	response, err := t.transport.RoundTrip(r)
	var body []byte
	if err == nil {
		defer response.Body.Close()
		body, err = readAll(response, nil)
	}
	if err != nil {
		t.note(nil, t.retire(t.broken(err, limit, false)))
		return nil, err
	}
	answer, f := t.understand(Request{}, response, body)
	t.note(answer, t.retire(f))
	response.Body = http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(body)), maxAnswer)
	return response, nil
}

// secretsOf returns every text of a JSON body, and the request with a body that
// can still be sent.
func secretsOf(r *http.Request) ([]string, *http.Request, error) {
	if r.Body == nil {
		return nil, r, nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, err
	}
	again := r.Clone(r.Context()) // a RoundTripper may not change what it is given
	again.Body = io.NopCloser(bytes.NewReader(body))
	var value any
	if json.Unmarshal(body, &value) != nil {
		return []string{string(body)}, again, nil
	}
	return texts(value), again, nil
}

func texts(value any) (all []string) {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		for _, v := range value {
			all = append(all, texts(v)...)
		}
	case map[string]any:
		for _, v := range value {
			all = append(all, texts(v)...)
		}
	}
	return all
}
