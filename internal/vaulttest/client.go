package vaulttest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Do sends a request as root. The path is plain text without the leading /v1/. The body is
// sent as JSON; url.Values are sent as the query; nil means no body. An answer without
// JSON is nil. No status is an error, and redirects are not followed.
func (s *Server) Do(method, path string, body any) (status int, answer map[string]any, err error) {
	return s.DoAs(s.Token, method, path, body)
}

// DoAs is Do with another token; "" means none.
func (s *Server) DoAs(token, method, path string, body any) (status int, answer map[string]any, err error) {
	return s.ask(context.Background(), token, method, path, body)
}

// call is Do, but any status other than 2xx is an error.
func (s *Server) call(ctx context.Context, method, path string, body any) (map[string]any, error) {
	status, answer, err := s.ask(ctx, s.Token, method, path, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: status %d: %v", method, path, status, answer["errors"])
	}
	return answer, err
}

func (s *Server) ask(ctx context.Context, token, method, path string, body any) (status int, answer map[string]any, err error) {
	target, err := url.Parse(s.Address)
	if err != nil {
		return 0, nil, err
	}
	target.Path = "/v1/" + path
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case url.Values:
		target.RawQuery = body.Encode()
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("User-Agent", "vaulttest")
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, err
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") && len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return response.StatusCode, answer, nil
}

// Text returns a text in an answer, such as Text(answer, "auth", "client_token"), or "".
func Text(answer map[string]any, names ...string) string {
	var value any = answer
	for _, name := range names {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	text, _ := value.(string)
	return text
}

// newClient returns a client that ignores the environment and keeps no connections, so that
// a test that counts goroutines sees only its own.
func newClient(caFile string) (*http.Client, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{
			RootCAs:            pool,
			ClientSessionCache: tls.NewLRUClientSessionCache(0), // cheaper handshakes
		}
	}
	return &http.Client{
		Transport: transport,
		Timeout:   30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}, nil
}
