package transport

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/luumen/patch-vault/internal/patience"
)

// Health asks for Vault's health without a token, twice at most. at is the middle of the
// request that was answered. It reports false if there is no answer.
func (r *Retry) Health(ctx context.Context) (answer []byte, at time.Time, ok bool) {
	for range 2 { // the second time over a fresh connection
		sent := time.Now()
		response, f := r.health(ctx, okQuery, r.attempt())
		if f == nil {
			return response.Body.(*buffered).Bytes(), sent.Add(time.Since(sent) / 2), true
		}
		if f.Retry == patience.Never || isSilence(f) {
			break
		}
	}
	return nil, time.Time{}, false
}

// okQuery makes Vault answer sys/health with status 200 in every state. A balancer may
// replace other answers with a page of its own.
const okQuery = "standbycode=200&performancestandbycode=200&sealedcode=200&uninitcode=200&drsecondarycode=200&haunhealthycode=200&removedcode=200"

// isWell reports whether Vault's health is that of an active node, or of a performance
// standby, which answer requests.
func (r *Retry) isWell(ctx context.Context, limit time.Duration) bool {
	response, f := r.health(ctx, "", limit)
	return f == nil && (response.StatusCode == http.StatusOK || response.StatusCode == 473)
}

// health asks for Vault's health once, without a token and outside of patience. It does not
// come from a client of vault/api, since it helps Retry to judge a request of one.
func (r *Retry) health(ctx context.Context, query string, limit time.Duration) (*http.Response, *patience.Failure) {
	u := *r.Wire.config.Address
	u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/sys/health"
	u.RawQuery = query
	request := &http.Request{Method: http.MethodGet, URL: &u, Host: u.Host}
	response, f := r.Wire.send(ctx, request, r.Wire.header, limit)
	if f != nil {
		return nil, f
	}
	f = r.Wire.source.Judge(response, false)
	return response, r.Wire.retire(response.Body.(*buffered).progress(), f)
}
