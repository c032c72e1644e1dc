package client_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

const (
	html = "<html><body>" + bodyWords + "</body></html>"
	page = "text/html; charset=utf-8"
	json = "application/json"
)

// What a Vault that is unwell, and what stands in its place, answers, and what
// that is taken for. Traps 12, 13, 14, 15, 30.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		name   string
		answer func(net.Conn)
		kind   fault.Kind
		retry  fault.Retry
		unsent bool
		text   string // ADDRESS stands for the server's
	}{
		// Not a Vault.
		{"HTML 200", answers(200, page, html), fault.BadResponse, fault.Never, false, "the answer is not Vault's (status 200, text/html at ADDRESS); check the address, and the proxy or balancer before Vault"},
		{"HTML 404", answers(404, page, html), fault.BadResponse, fault.Never, false, "status 404, text/html"},
		{"HTML 401", answers(401, page, html), fault.BadResponse, fault.Never, false, "status 401, text/html"},
		{"HTML 502", answers(502, page, html), fault.BadResponse, fault.Later, false, "status 502, text/html"},
		{"HTML 503", answers(503, page, html), fault.BadResponse, fault.Later, false, "status 503, text/html"},
		{"plain text", answers(200, "text/plain", bodyWords), fault.BadResponse, fault.Never, false, "status 200, text/plain"},
		{"plain text that is JSON", answers(200, "text/plain", `{"request_id":"1","data":{}}`), fault.BadResponse, fault.Never, false, "status 200, text/plain"},
		{"foreign JSON", vault(200, `{"hello":"`+bodyWords+`"}`), fault.BadResponse, fault.Never, false, "status 200, application/json"},
		{"foreign JSON 404", vault(404, `{"message":"`+bodyWords+`"}`), fault.BadResponse, fault.Never, false, "status 404, application/json"},
		{"foreign JSON 500", vault(500, `{"message":"`+bodyWords+`"}`), fault.BadResponse, fault.Later, false, "status 500, application/json"},
		{"errors of another form", vault(400, `{"errors":"`+bodyWords+`"}`), fault.BadResponse, fault.Never, false, "status 400, application/json"},
		{"an empty object", vault(200, `{}`), fault.BadResponse, fault.Never, false, "status 200"},
		{"a JSON array", vault(200, `["`+bodyWords+`"]`), fault.BadResponse, fault.Never, false, "status 200"},
		{"a JSON string", vault(200, `"`+bodyWords+`"`), fault.BadResponse, fault.Never, false, "status 200"},
		{"JSON and more", vault(200, `{"request_id":"1"} `+bodyWords), fault.BadResponse, fault.Never, false, "status 200"},
		{"half of the JSON", vault(200, `{"request_id":"1","data":{"a":"`+bodyWords), fault.BadResponse, fault.Never, false, "status 200"},
		{"empty 200", answers(200, "", ""), fault.BadResponse, fault.Never, false, "status 200, no content type at ADDRESS"},
		{"empty 404", answers(404, "", ""), fault.BadResponse, fault.Never, false, "status 404, no content type"},
		{"304", answers(304, "", ""), fault.BadResponse, fault.Never, false, "the address redirects (304 at ADDRESS to elsewhere)"},
		{"HTML 429", answers(429, page, html, "Retry-After: 1"), fault.RateLimited, fault.Paced, true, "the proxy before vault allows no more requests for now (status 429, text/html at ADDRESS); raise its limit, or set VAULT_RATE_LIMIT on the Patch server"},
		{"407 of a proxy", answers(407, page, html), fault.BadResponse, fault.Never, false, "status 407, text/html"},
		{"the token as content type", answers(200, "text/"+token, ""), fault.BadResponse, fault.Never, false, "status 200, no content type"},
		{"gzip", answers(200, json, gzipped(`{"request_id":"1"}`), "Content-Encoding: gzip"), fault.BadResponse, fault.Never, false, "status 200, application/json"},
		{"a gzip bomb", answers(200, json, gzipped(`{"request_id":"`+strings.Repeat("0", 64<<20)+`"}`), "Content-Encoding: gzip"), fault.BadResponse, fault.Never, false, "status 200, application/json"},
		{"plain HTTP to an HTTPS port", says("HTTP/1.0 400 Bad Request", "", "Client sent an HTTP request to an HTTPS server.\n"), fault.TLS, fault.Never, false, "the server at ADDRESS expects https; write https in the address"},
		{"wrapped", vault(200, `{"request_id":"1","wrap_info":{"token":"`+bodyWords+`","ttl":60}}`), fault.BadResponse, fault.Never, false, "ADDRESS wraps its answers; take the wrapping out of the proxy before Vault, or the policy's min_wrapping_ttl away"},

		// Not HTTP as it should be.
		{"closed without an answer", says(), fault.Unreachable, fault.Later, false, "vault unreachable (connection closed in the middle of the answer at ADDRESS)"},
		{"reset", func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, fault.Unreachable, fault.Later, false, "vault unreachable (connection reset at ADDRESS)"},
		{"reset in the middle", func(conn net.Conn) {
			says("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 100", "", `{"request_id`)(conn)
			time.Sleep(50 * time.Millisecond) // a reset overtakes what was written
			conn.(*net.TCPConn).SetLinger(0)
		}, fault.Unreachable, fault.Later, false, "vault unreachable (connection reset at ADDRESS)"},
		{"truncated", says("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 100", "", `{"request_id":"1"}`), fault.Unreachable, fault.Later, false, "connection closed in the middle of the answer"},
		{"truncated chunks", says("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", "12", `{"request_id":"1"}`, ""), fault.Unreachable, fault.Later, false, "connection closed in the middle of the answer"},
		{"a length that is none", says("HTTP/1.1 200 OK", "Content-Length: "+bodyWords, "", ""), fault.BadResponse, fault.Never, false, "the server at ADDRESS does not speak HTTP/1.1 as Vault does"},
		{"two lengths", says("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2", "", "{}"), fault.BadResponse, fault.Never, false, "does not speak HTTP/1.1"},
		{"chunks that are none", says("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", bodyWords, ""), fault.BadResponse, fault.Never, false, "does not speak HTTP/1.1"},
		{"garbage", says(bodyWords + " " + token + "\r\n\r\n"), fault.BadResponse, fault.Never, false, "does not speak HTTP/1.1"},
		{"another protocol", says("SSH-2.0-" + bodyWords + "\r\n"), fault.BadResponse, fault.Never, false, "does not speak HTTP/1.1"},
		{"HTTP/2 alone", says("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\r\n"), fault.BadResponse, fault.Never, false, "does not speak HTTP/1.1"},
		{"a header of 128 KiB", says("HTTP/1.1 200 OK", "X: "+strings.Repeat("0", 128<<10), "", ""), fault.BadResponse, fault.Never, false, "does not speak HTTP/1.1"},

		// Too large.
		{"larger than 4 MiB, with its length", vault(200, `{"request_id":"`+strings.Repeat("0", 4<<20)+`"}`), fault.BadResponse, fault.Never, false, "the answer of ADDRESS is larger than 4 MiB; store smaller values in Vault"},
		{"larger than 4 MiB, until it closes", says("HTTP/1.1 200 OK", "Content-Type: application/json", "", strings.Repeat("0", 4<<20+1)), fault.BadResponse, fault.Never, false, "larger than 4 MiB"},
		{"chunks without end", func(conn net.Conn) {
			says("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", "")(conn)
			chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", 64<<10, strings.Repeat("0", 64<<10))
			for {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}, fault.BadResponse, fault.Never, false, "larger than 4 MiB"},

		// Vault, unwell.
		{"sealed, or not initialised", vault(503, `{"errors":["Vault is sealed"]}`), fault.Sealed, fault.Later, true, "vault is sealed or not initialised (Vault is sealed at ADDRESS); unseal it: vault operator unseal"},
		{"no leader known", vault(500, `{"errors":["local node not active but active cluster node not found"]}`), fault.NoActiveNode, fault.Later, true, "vault has no active node (local node not active but active cluster node not found at ADDRESS); check the cluster: vault operator raft list-peers"},
		{"standby without a leader", vault(503, `{"errors":["no active Vault instance found"]}`), fault.NoActiveNode, fault.Later, true, "vault has no active node"},
		{"standby, not active", vault(503, `{"errors":["node is not active"]}`), fault.NoActiveNode, fault.Later, true, "vault has no active node"},
		{"internal error", vault(500, `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`), fault.ServerError, fault.Later, false, "vault answers 500 (1 error occurred: * internal error at ADDRESS); see Vault's own log"},
		{"502 without a text", vault(502, `{"errors":[]}`), fault.ServerError, fault.Later, false, "vault answers 502 (ADDRESS);"},
		{"a long text", vault(500, `{"errors":["`+strings.Repeat("long ", 1000)+`"]}`), fault.ServerError, fault.Later, false, "… at ADDRESS"},
		{"the token in the text", vault(500, `{"errors":["bad token `+token+`"]}`), fault.ServerError, fault.Later, false, "bad token [masked] at"},
		{"a mount that is upgraded", vault(400, `{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}`), fault.ServerError, fault.Later, false, "vault upgrades this mount to KV version 2"},
		{"412 of a performance standby", vault(412, `{"errors":["required index state not present"]}`), fault.ServerError, fault.Later, true, "vault does not answer yet"},
		{"412 of something else", vault(412, `{"errors":["missing header"]}`), fault.ServerError, fault.Never, true, "refuses the request"},
		{"quota", vault(429, `{"errors":["request path \"secret/data/app\": rate limit quota exceeded"]}`), fault.RateLimited, fault.Paced, true, "vault allows no more requests for now (request path"},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, server.answer)
			c := newClient(t, client.Config{Address: s.address})
			answer, f := read(t, c)
			require.Nil(t, answer)
			require.NotNil(t, f)
			assert.Equal(t, server.kind, f.Kind)
			assert.Equal(t, server.retry, f.Retry)
			assert.Equal(t, server.unsent, f.Unsent)
			assert.Contains(t, f.Error(), strings.ReplaceAll(server.text, "ADDRESS", s.address.String()))
			assert.EqualValues(t, 1, s.requests.Load(), "it is sent once")
			assertSafe(t, f)
		})
	}
}

// What is an answer, whatever its status, for its sender to make sense of.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const denied, dead, bare = `1 error occurred:\n\t* permission denied\n\n`, `2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n`, `permission denied`
	for _, server := range []struct {
		name   string
		answer func(net.Conn)
		want   client.Answer // its Errors as far as they are given
		data   map[string]any
	}{
		{"a secret", vault(200, `{"request_id":"1","lease_id":"l","data":{"a":1},"mount_type":"kv","warnings":["w"]}`, "X-Vault-Index: i", "X-Cache: HIT"),
			client.Answer{Status: 200, LeaseID: "l", MountType: "kv", Modern: true, Warnings: []string{"w"}, Index: "i", CacheHit: true}, map[string]any{"a": 1.0}},
		{"wrap_info is null", vault(200, `{"request_id":"1","wrap_info":null}`), client.Answer{Status: 200}, nil},
		{"204", says("HTTP/1.1 204 No Content", "", ""), client.Answer{Status: 204}, nil},
		{"in chunks", says("HTTP/1.1 200 OK", "Content-Type: application/json; charset=utf-8", "Transfer-Encoding: chunked", "", "12", `{"request_id":"1"}`, "0", "", ""),
			client.Answer{Status: 200}, nil},
		{"until it closes", says("HTTP/1.1 200 OK", "Content-Type: application/json", "", `{"request_id":"1"}`), client.Answer{Status: 200}, nil},
		{"nothing there", vault(404, `{"errors":[]}`), client.Answer{Status: 404, Errors: []string{}}, nil},
		// Trap 1.
		{"a deleted version", vault(404, `{"request_id":"1","data":{"data":null,"metadata":{"version":2}}}`),
			client.Answer{Status: 404}, map[string]any{"data": nil, "metadata": map[string]any{"version": 2.0}}},
		{"denied by policy", vault(403, `{"errors":["`+denied+`"]}`), client.Answer{Status: 403, Refusal: client.ByPolicy}, nil},
		{"a dead token", vault(403, `{"errors":["`+dead+`"]}`), client.Answer{Status: 403, Refusal: client.DeadToken}, nil},
		{"refused from here", vault(403, `{"errors":["`+bare+`"]}`), client.Answer{Status: 403, Refusal: client.BySource}, nil},
		{"data of another form", vault(200, `{"request_id":"1","data":["a"]}`), client.Answer{Status: 200, BadData: true}, nil},
		{"control characters", vault(200, `{"request_id":"1","mount_type":"k\nv `+token+`"}`), client.Answer{Status: 200, Modern: true, MountType: "k v [masked]"}, nil},
		{"a bad request", vault(400, `{"errors":["the token is `+token+`"]}`), client.Answer{Status: 400, Errors: []string{"the token is [masked]"}}, nil},
		{"health of a sealed server", vault(503, `{"initialized":true,"sealed":true,"server_time_utc":1,"version":"1.21.1"}`),
			client.Answer{Status: 503, Health: client.Health{Initialized: true, Sealed: true, ServerTime: 1, Version: "1.21.1"}}, nil},
		{"health of an uninitialised one", vault(501, `{"initialized":false,"sealed":true,"server_time_utc":1}`),
			client.Answer{Status: 501, Health: client.Health{Sealed: true, ServerTime: 1}}, nil},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, server.answer)
			var data map[string]any
			got, f := readInto(t, newClient(t, client.Config{Address: s.address}), &data)
			require.Nil(t, f)
			assert.Equal(t, server.data, data)
			if server.want.Errors == nil {
				got.Errors = nil
			}
			assert.Equal(t, server.want, *got)
			for _, text := range got.Errors {
				assert.False(t, strings.Contains(text, token), "the token is in a text")
			}
		})
	}
}

// Trap 12.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, header := range []struct {
		value       string
		least, most time.Duration
	}{
		{"0", 1, time.Second}, // never none: Vault asked for a pause
		{"7", 7 * time.Second, 7 * time.Second},
		{"-7", 1, time.Second},
		{"soon", 0, 0},
		{"1.5", 0, 0},
		{"999999999", 24 * time.Hour, 24 * time.Hour},
		{"", 0, 0},
		{"99999999999999999999999", 0, 0},
		{time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 50 * time.Minute, time.Hour},
		{time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat), 1, time.Second},
	} {
		t.Run(header.value, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, vault(429, `{"errors":["quota exceeded"]}`, "Retry-After: "+header.value))
			_, f := read(t, newClient(t, client.Config{Address: s.address}))
			require.NotNil(t, f)
			assert.Equal(t, fault.Paced, f.Retry)
			assert.GreaterOrEqual(t, f.RetryAfter, header.least)
			assert.LessOrEqual(t, f.RetryAfter, header.most)
		})
	}
}

// The time-out of an attempt holds for the header and the body. Trap 29.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	drip := func(conn net.Conn, text string) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, server := range []struct {
		name   string
		answer func(net.Conn)
	}{
		{"says nothing", func(conn net.Conn) { io.Copy(io.Discard, conn) }},
		{"drips its header", func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\n"); drip(conn, "X: y\r\n") }},
		{"drips its body", func(conn net.Conn) {
			says("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 1000000", "", "")(conn)
			drip(conn, " ")
		}},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, server.answer)
			c := newClient(t, client.Config{Address: s.address, Timeout: time.Second})
			began := time.Now()
			_, f := read(t, c)
			require.NotNil(t, f)
			assert.Less(t, time.Since(began), 5*time.Second)
			assert.Equal(t, fault.Unreachable, f.Kind)
			assert.Equal(t, fault.Later, f.Retry)
			assert.False(t, f.Unsent)
			assert.Contains(t, f.Error(), "vault unreachable (no answer within 1s at "+s.address.String()+")")
			assertSafe(t, f)
		})
	}
}

// The cause is what vault/api would report, for callers who know it.
func TestCauseIsResponseError(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, vault(500, `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`))
	_, f := read(t, newClient(t, client.Config{Address: s.address}))
	var response *api.ResponseError
	require.ErrorAs(t, f, &response)
	assert.Equal(t, 500, response.StatusCode)
	assert.Equal(t, s.address.String()+"/v1/secret/data/app", response.URL)
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}
