package transport_test

import (
	"bytes"
	"compress/gzip"
	"errors"
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

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/internal/transport"
)

// Answers of a Vault with a problem, and of servers that are not Vault, with their
// meaning.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	const (
		never = patience.Never
		later = patience.Later
		paced = patience.Paced
	)
	for _, server := range []struct {
		name   string
		answer func(net.Conn)
		kind   fault.Kind
		retry  patience.When
		unsent bool
		text   string // ADDRESS stands for the server's
	}{
		// Not Vault.
		{"HTML 200", answers(200, page, html), fault.BadResponse, never, false, "the server is not Vault, or a proxy interferes (status 200, text/html at ADDRESS); check the address, and the proxy or balancer in front of Vault"},
		{"HTML 404", answers(404, page, html), fault.BadResponse, never, false, "status 404, text/html"},
		{"HTML 401", answers(401, page, html), fault.BadResponse, never, false, "status 401, text/html"},
		{"HTML 502", answers(502, page, html), fault.BadResponse, later, false, "(status 502, text/html at ADDRESS); check the address, that Vault runs, and that the proxy or balancer in front of it reaches it in time and does not limit the agent"},
		{"HTML 503", answers(503, page, html), fault.BadResponse, later, false, "status 503, text/html"},
		{"plain text", answers(200, "text/plain", bodyWords), fault.BadResponse, never, false, "status 200, text/plain"},
		{"plain text that is JSON", answers(200, "text/plain", `{"request_id":"1","data":{}}`), fault.BadResponse, never, false, "status 200, text/plain"},
		{"foreign JSON", vault(200, `{"hello":"`+bodyWords+`"}`), fault.BadResponse, never, false, "status 200, application/json"},
		{"foreign JSON 404", vault(404, `{"message":"`+bodyWords+`"}`), fault.BadResponse, never, false, "status 404, application/json"},
		{"foreign JSON 500", vault(500, `{"message":"`+bodyWords+`"}`), fault.BadResponse, later, false, "status 500, application/json"},
		{"errors of another form", vault(400, `{"errors":"`+bodyWords+`"}`), fault.BadResponse, never, false, "status 400, application/json"},
		{"errors of null", vault(400, `{"errors":null}`), fault.BadResponse, never, false, "status 400, application/json"},
		{"errors of numbers", vault(400, `{"errors":[1]}`), fault.BadResponse, never, false, "status 400, application/json"},
		{"an empty object", vault(200, `{}`), fault.BadResponse, never, false, "status 200"},
		{"null", vault(200, `null`), fault.BadResponse, never, false, "status 200"},
		{"a JSON array", vault(200, `["`+bodyWords+`"]`), fault.BadResponse, never, false, "status 200"},
		{"a JSON string", vault(200, `"`+bodyWords+`"`), fault.BadResponse, never, false, "status 200"},
		{"an empty request id", vault(200, `{"request_id":"","data":{}}`), fault.BadResponse, never, false, "status 200"},
		{"half of a JSON 400", vault(400, `{"errors":["`+bodyWords), fault.BadResponse, never, false, "status 400, application/json"},
		{"empty 200", answers(200, "", ""), fault.BadResponse, never, false, "status 200, no content type at ADDRESS"},
		{"empty JSON 200", answers(200, json, ""), fault.BadResponse, never, false, "status 200, application/json at ADDRESS"},
		{"JSON 401", vault(401, `{"errors":["`+bodyWords+`"]}`), fault.BadResponse, never, false, "status 401, application/json at ADDRESS"},
		{"JSON 407", vault(407, `{"errors":[]}`), fault.BadResponse, never, false, "status 407, application/json at ADDRESS"},
		{"JSON 451", vault(451, `{"errors":[]}`), fault.BadResponse, never, false, "status 451, application/json at ADDRESS"},
		{"empty 404", answers(404, "", ""), fault.BadResponse, never, false, "status 404, no content type"},
		{"a Vault in recovery mode", answers(404, "text/plain; charset=utf-8", "404 page not found\n", "Cache-Control: no-store", "X-Content-Type-Options: nosniff"), fault.BadResponse, never, false, "(status 404, text/plain at ADDRESS); check the address, and the proxy or balancer in front of Vault; if it is a Vault in recovery mode, restart it without -recovery"},
		{"304", answers(304, "", ""), fault.BadResponse, never, false, "the address redirects (304 at ADDRESS to elsewhere)"},
		{"HTML 429", answers(429, page, html, "Retry-After: 1"), fault.RateLimited, paced, true, "the proxy in front of vault is rate limiting the agent (status 429, text/html at ADDRESS); raise its limit, or set VAULT_RATE_LIMIT on the Patch server"},
		{"407 without a proxy", answers(407, page, html), fault.BadResponse, never, false, "status 407, text/html"},
		{"the token as content type", answers(200, "text/"+token, ""), fault.BadResponse, never, false, "status 200, text/[masked] at"},
		{"gzip", answers(200, json, gzipped(`{"request_id":"1"}`), "Content-Encoding: gzip"), fault.BadResponse, never, false, "status 200, application/json, content encoding gzip"},
		{"the token as content encoding", answers(200, json, `{"request_id":"1"}`, "Content-Encoding: "+token), fault.BadResponse, never, false, "content encoding [masked]"},
		{"a gzip bomb", answers(200, json, gzipped(`{"request_id":"`+strings.Repeat("0", 8<<20)+`"}`), "Content-Encoding: gzip"), fault.BadResponse, never, false, "status 200, application/json"},
		{"wrapped, as Vault 1.21 answers", vault(200, `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"`+bodyWords+`","accessor":"","ttl":60,"creation_time":"2026-11-24T04:21:30.123456789Z","creation_path":"secret/data/app","wrapped_accessor":""},"warnings":null,"auth":null,"mount_type":""}`), fault.BadResponse, never, false, "ADDRESS wraps its answers; remove wrapping from the proxy in front of Vault, and min_wrapping_ttl from the policy, or its control_group, which needs a person's approval"},

		{"a 400 whose body is lost", says("HTTP/1.1 400 Bad Request", "Content-Type: text/plain", "Content-Length: 10", "", ""), fault.Unreachable, later, false, "connection closed in the middle of the answer"},

		// Plain HTTP to a port for TLS.
		{"Go's https", says("HTTP/1.0 400 Bad Request", "", "Client sent an HTTP request to an HTTPS server.\n"), fault.TLS, never, false, "the server at ADDRESS expects https; use https in the address"},
		{"Go's https, and a reset", func(conn net.Conn) {
			says("HTTP/1.0 400 Bad Request", "", "Client sent an HTTP request to an HTTPS server.\n")(conn)
			time.Sleep(50 * time.Millisecond) // a reset overtakes what was written
			conn.(*net.TCPConn).SetLinger(0)
		}, fault.TLS, never, false, "the server at ADDRESS expects https; use https in the address"},
		{"nginx's https", answers(400, "text/html", "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n<hr><center>nginx/1.28.0</center>\r\n</body>\r\n</html>\r\n", "Server: nginx/1.28.0", "Connection: close"), fault.TLS, never, false, "the server at ADDRESS expects https; use https in the address"},
		{"Apache's https", answers(400, "text/html; charset=iso-8859-1", "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>400 Bad Request</title>\n</head><body>\n<h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not understand.<br />\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the HTTPS scheme to access this URL, please.<br />\n</p>\n</body></html>\n", "Connection: close"), fault.TLS, never, false, "the server at ADDRESS expects https; use https in the address"},
		{"nginx demands a client certificate", answers(400, "text/html", "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>No required SSL certificate was sent</center>\r\n<hr><center>nginx/1.28.0</center>\r\n</body>\r\n</html>\r\n", "Connection: close"), fault.TLS, never, false, "the server at ADDRESS demands a client certificate that it accepts; set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to one"},
		{"nginx refuses a client certificate", answers(400, "text/html", "<html>\r\n<head><title>400 The SSL certificate error</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>The SSL certificate error</center>\r\n<hr><center>nginx/1.28.0</center>\r\n</body>\r\n</html>\r\n", "Connection: close"), fault.TLS, never, false, "demands a client certificate that it accepts"},

		// Not HTTP as it should be.
		{"closed without an answer", says(), fault.Unreachable, later, false, "vault unreachable (connection closed without an answer at ADDRESS)"},
		{"reset", func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, fault.Unreachable, later, false, "vault unreachable (connection reset at ADDRESS)"},
		{"reset in the middle", func(conn net.Conn) {
			says("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 100", "", `{"request_id`)(conn)
			time.Sleep(50 * time.Millisecond) // a reset overtakes what was written
			conn.(*net.TCPConn).SetLinger(0)
		}, fault.Unreachable, later, false, "vault unreachable (connection reset at ADDRESS)"},
		{"truncated", says("HTTP/1.1 200 OK", "Content-Type: application/json", "Content-Length: 100", "", `{"request_id":"1"}`), fault.Unreachable, later, false, "connection closed in the middle of the answer"},
		{"truncated 400", says("HTTP/1.1 400 Bad Request", "Content-Type: application/json", "Content-Length: 100", "", `{"errors":["missing cl`), fault.Unreachable, later, false, "connection closed in the middle of the answer"},
		{"truncated chunks", says("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", "12", `{"request_id":"1"}`, ""), fault.Unreachable, later, false, "connection closed in the middle of the answer"},
		{"truncated header", says("HTTP/1.1 200 OK", "Content-Type: appl"), fault.Unreachable, later, false, "connection closed in the middle of the answer"},
		{"a length that is none", says("HTTP/1.1 200 OK", "Content-Length: "+bodyWords, "", ""), fault.BadResponse, never, false, "the server at ADDRESS does not speak HTTP/1.1 as Vault does"},
		{"two lengths", says("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2", "", "{}"), fault.BadResponse, never, false, "does not speak HTTP/1.1"},
		{"chunks that are none", says("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", bodyWords, ""), fault.BadResponse, never, false, "does not speak HTTP/1.1"},
		{"garbage", says(bodyWords + " " + token + "\r\n\r\n"), fault.BadResponse, never, false, "does not speak HTTP/1.1"},
		{"another protocol", says("SSH-2.0-" + bodyWords + "\r\n"), fault.BadResponse, never, false, "does not speak HTTP/1.1"},
		{"HTTP/2 alone", says("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\r\n"), fault.BadResponse, never, false, "does not speak HTTP/1.1"},
		{"a header of 128 KiB", says("HTTP/1.1 200 OK", "X: "+strings.Repeat("0", 128<<10), "", ""), fault.BadResponse, never, false, "does not speak HTTP/1.1"},
		{"a header of many lines", says("HTTP/1.1 200 OK", strings.Repeat("X: 0\r\n", 64<<10), "", ""), fault.BadResponse, never, false, "does not speak HTTP/1.1"},

		// Too large.
		{"larger than 4 MiB, with its length", vault(200, `{"request_id":"`+strings.Repeat("0", 4<<20)+`"}`), fault.BadResponse, never, false, "the answer of ADDRESS is larger than 4 MiB; store smaller values in Vault"},
		{"larger than 4 MiB, until it closes", says("HTTP/1.1 200 OK", "Content-Type: application/json", "", strings.Repeat("0", 4<<20+1)), fault.BadResponse, never, false, "larger than 4 MiB"},
		{"chunks without end", func(conn net.Conn) {
			says("HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", "", "")(conn)
			chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", 64<<10, strings.Repeat("0", 64<<10))
			for {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}, fault.BadResponse, never, false, "larger than 4 MiB"},

		// Vault, unwell.
		{"sealed, or not initialized", vault(503, `{"errors":["Vault is sealed"]}`), fault.Sealed, later, true, "vault is sealed or not initialized (Vault is sealed at ADDRESS); unseal it: vault operator unseal"},
		{"a DR secondary", vault(400, `{"errors":["path disabled in replication DR secondary mode"]}`), fault.NoActiveNode, later, true, "this vault is a disaster recovery secondary, which serves no requests (path disabled in replication DR secondary mode at ADDRESS); set the address of the primary cluster, or promote this one"},
		{"a sealed namespace", vault(503, `{"errors":["namespace is sealed"]}`), fault.Sealed, later, true, "the namespace is sealed or locked (namespace is sealed at ADDRESS); unseal or unlock the namespace in Vault"},
		{"a locked namespace", vault(503, `{"errors":["API access to this namespace has been locked by an administrator - \"team\" must be unlocked to gain access."]}`), fault.Sealed, later, true, "the namespace is sealed or locked (API access"},
		{"no leader known", vault(500, `{"errors":["local node not active but active cluster node not found"]}`), fault.NoActiveNode, later, true, "vault has no active node (local node not active but active cluster node not found at ADDRESS); check the cluster: vault operator raft list-peers"},
		{"standby without a leader", vault(503, `{"errors":["no active Vault instance found"]}`), fault.NoActiveNode, later, true, "vault has no active node"},
		{"standby, not active", vault(503, `{"errors":["node is not active"]}`), fault.NoActiveNode, later, true, "vault has no active node"},
		{"internal error", vault(500, `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`), fault.ServerError, later, false, "vault answers 500 (1 error occurred: * internal error at ADDRESS); see Vault's own log; if nothing is answered, a full or missing audit device is a common cause"},
		{"a path that Vault 1.14 refuses", vault(500, `{"errors":["1 error occurred:\n\t* read failed: relative paths not supported\n\n"]}`), fault.ServerError, never, true, "vault refuses this path (1 error occurred: * read failed: relative paths not supported at ADDRESS); check the path"},
		{"a value that is too long", vault(500, `{"errors":["JSON string value exceeds allowed length"]}`), fault.ServerError, later, false, "at ADDRESS); see Vault's own log"},
		{"502 without a text", vault(502, `{"errors":[]}`), fault.ServerError, later, false, "vault answers 502 (ADDRESS);"},
		{"a long text", vault(500, `{"errors":["`+strings.Repeat("long ", 1000)+`"]}`), fault.ServerError, later, false, "… at ADDRESS"},
		{"the token in the text", vault(500, `{"errors":["bad token `+token+`"]}`), fault.ServerError, later, false, "bad token [masked] at"},
		{"a token of another namespace", vault(500, `{"errors":["failed to look up namespace from the token: no namespace"]}`), fault.Token, never, false, "vault does not know the token's namespace or cannot read the token"},
		{"a token that cannot be parsed", vault(500, `{"errors":["error parsing token"]}`), fault.Token, never, false, "vault does not know the token's namespace or cannot read the token"},
		{"a login's words about another request", vault(500, `{"errors":["could not load configuration"]}`), fault.ServerError, later, false, "vault answers 500 (could not load configuration at ADDRESS); see Vault's own log"},
		{"no such namespace", vault(404, `{"errors":["namespace not found"]}`), fault.Settings, never, false, "vault has no such namespace (namespace not found at ADDRESS); correct namespace in the settings"},
		{"a mount that is upgraded", vault(400, `{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}`), fault.ServerError, later, false, "vault is upgrading this mount to KV v2"},
		{"a standby of one", vault(400, `{"errors":["Waiting for the primary to upgrade from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service when the primary is finished."]}`), fault.ServerError, later, false, "vault is upgrading this mount to KV v2"},
		{"412 of a performance standby", vault(412, `{"errors":["required index state not present"]}`), fault.ServerError, later, true, "vault does not answer yet"},
		{"412 of something else", vault(412, `{"errors":["missing header"]}`), fault.ServerError, never, true, "refuses the request"},
		{"too many writes", vault(503, `{"errors":["Vault server temporarily overloaded"]}`), fault.ServerError, later, true, "at ADDRESS); check Vault's load and the speed of its storage"},
		{"lease quota", vault(429, `{"errors":["1 error occurred:\n\t* request path \"auth/approle/login\": lease count quota exceeded\n\n"]}`), fault.RateLimited, paced, true, "vault's lease count quota is used up (1 error occurred"},
		{"quota", vault(429, `{"errors":["request path \"secret/data/app\": rate limit quota exceeded"]}`), fault.RateLimited, paced, true, "vault is rate limiting the agent (request path"},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, server.answer)
			f := fails(t, wireTo(t, s.address))
			assert.Equal(t, server.kind, f.Fault.Kind)
			assert.Equal(t, server.retry, f.Retry)
			assert.Equal(t, server.unsent, f.Unsent)
			assert.Contains(t, f.Fault.Error(), strings.ReplaceAll(server.text, "ADDRESS", s.address.String()))
			assert.Equal(t, strings.Contains(server.text, "audit"), strings.Contains(f.Fault.Error(), "audit"))
			assert.EqualValues(t, 1, s.requests.Load(), "it is sent once")
			assertSafe(t, f)
		})
	}
}

// Answers that Parse rejects, since it decodes the whole.
func TestUnreadableAnswers(t *testing.T) {
	t.Parallel()
	for _, server := range []struct{ name, body string }{
		{"JSON and more", `{"request_id":"1"} ` + bodyWords},
		{"half of the JSON", `{"request_id":"1","data":{"a":"` + bodyWords},
		{"a lease id that is a number", `{"request_id":"1","lease_id":1}`},
		{"wrapped with a request id", `{"request_id":"1","wrap_info":{"token":"` + bodyWords + `","ttl":60}}`},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, vault(200, server.body))
			response, failure := send(t, wireTo(t, s.address))
			require.Nil(t, failure)
			answer, err := reply.Parse(response, nil)
			require.Nil(t, answer)
			f, ok := errors.AsType[*fault.Error](err)
			require.True(t, ok)
			assert.Equal(t, fault.BadResponse, f.Kind)
			assertSafe(t, &patience.Failure{Fault: f})
		})
	}
}

// Answers of Vault, whatever their status.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const denied, dead, bare = `1 error occurred:\n\t* permission denied\n\n`, `2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n`, `permission denied`
	for _, server := range []struct {
		name    string
		answer  func(net.Conn)
		want    reply.Answer // its Errors as far as they are given
		refusal reply.Refusal
		data    map[string]any
	}{
		{"a secret", vault(200, `{"request_id":"1","lease_id":"l","data":{"a":1},"mount_type":"kv","warnings":["w"]}`, "X-Cache: HIT"),
			reply.Answer{Status: 200, LeaseID: "l", MountType: new("kv"), Warnings: []string{"w"}, CacheHit: true}, reply.NotRefused, map[string]any{"a": 1.0}},
		{"identity is no encoding", vault(200, `{"request_id":"1"}`, "Content-Encoding: identity"), reply.Answer{Status: 200}, reply.NotRefused, nil},
		{"wrap_info is null", vault(200, `{"request_id":"1","wrap_info":null}`), reply.Answer{Status: 200}, reply.NotRefused, nil},
		{"204", says("HTTP/1.1 204 No Content", "", ""), reply.Answer{Status: 204}, reply.NotRefused, nil},
		{"204 with a type", says("HTTP/1.1 204 No Content", "Content-Type: text/html", "", ""), reply.Answer{Status: 204}, reply.NotRefused, nil},
		{"in chunks", says("HTTP/1.1 200 OK", "Content-Type: application/json; charset=utf-8", "Transfer-Encoding: chunked", "", "12", `{"request_id":"1"}`, "0", "", ""),
			reply.Answer{Status: 200}, reply.NotRefused, nil},
		{"until it closes", says("HTTP/1.1 200 OK", "Content-Type: application/json", "", `{"request_id":"1"}`), reply.Answer{Status: 200}, reply.NotRefused, nil},
		{"nothing there", vault(404, `{"errors":[]}`), reply.Answer{Status: 404, Errors: []string{}}, reply.NotRefused, nil},
		{"a deleted version", vault(404, `{"request_id":"1","data":{"data":null,"metadata":{"version":2}}}`),
			reply.Answer{Status: 404}, reply.NotRefused, map[string]any{"data": nil, "metadata": map[string]any{"version": 2.0}}},
		{"denied by policy", vault(403, `{"errors":["`+denied+`"]}`), reply.Answer{Status: 403}, reply.ByPolicy, nil},
		{"a dead token", vault(403, `{"errors":["`+dead+`"]}`), reply.Answer{Status: 403}, reply.DeadToken, nil},
		{"a bare denial", vault(403, `{"errors":["`+bare+`"]}`), reply.Answer{Status: 403}, reply.BareDenial, nil},
		{"denied by a proxy", vault(403, `{"errors":["blocked by the gateway"]}`), reply.Answer{Status: 403, Errors: []string{"blocked by the gateway"}}, reply.InOtherWords, nil},
		{"control characters", vault(200, `{"request_id":"1","mount_type":"k\nv"}`), reply.Answer{Status: 200, MountType: new("k\nv")}, reply.NotRefused, nil},
		{"a bad request", vault(400, `{"errors":["the token is `+token+`"]}`), reply.Answer{Status: 400, Errors: []string{"the token is [masked]"}}, reply.NotRefused, nil},
		{"a bad request in other letters", vault(400, `{"request_id":"1","ERRORS":["the token is `+token+`"]}`), reply.Answer{Status: 400}, reply.NotRefused, nil},
		{"a path that Vault refuses", vault(400, `{"errors":["relative paths not supported"]}`), reply.Answer{Status: 400, Errors: []string{"relative paths not supported"}}, reply.NotRefused, nil},
		{"4 MiB", vault(200, `{"request_id":"1","lease_id":"`+strings.Repeat("0", 4<<20-34)+`"}`), reply.Answer{Status: 200, LeaseID: strings.Repeat("0", 4<<20-34)}, reply.NotRefused, nil},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, server.answer)
			var data map[string]any
			got := read(t, wireTo(t, s.address), &data)
			assert.Equal(t, server.data, data)
			assert.Equal(t, server.refusal, got.Refusal())
			assert.False(t, strings.Contains(fmt.Sprint(got.Errors, got.ResponseError()), token), "the token is in a text")
			if server.want.Errors == nil {
				got.Errors = nil
			}
			assert.True(t, assert.ObjectsAreEqual(server.want, *got), "%.500v", *got)
		})
	}
}

// The list of mounts may be larger than other answers.
func TestListOfMountsMayBeLarge(t *testing.T) {
	t.Parallel()
	for _, answer := range []struct {
		name, path string
		length     int    // as the header has it
		size       int    // as it is
		text       string // empty for an answer
	}{
		{"mounts, more than 4 MiB", transport.MountsPath, 5 << 20, 5 << 20, ""},
		{"mounts, more than 32 MiB", transport.MountsPath, 32<<20 + 1, 1000, "is larger than 32 MiB"},
		{"mounts below a base path", "vault/v1/" + transport.MountsPath, 5 << 20, 5 << 20, ""},
		{"another path that ends alike", "secret/data/mounts", 5 << 20, 1000, "is larger than 4 MiB"},
	} {
		t.Run(answer.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, says("HTTP/1.1 200 OK", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", answer.length), "",
				`{"request_id":"1"}`+strings.Repeat(" ", answer.size-18)))
			w := wireTo(t, s.address)
			response, f := transport.SendOnce(w, request(t, w, http.MethodGet, answer.path), generous)
			if answer.text == "" {
				require.Nil(t, f)
				n, err := io.Copy(io.Discard, response.Body)
				require.NoError(t, err)
				assert.EqualValues(t, answer.size, n)
				return
			}
			require.NotNil(t, f)
			assert.Contains(t, f.Fault.Error(), answer.text)
			assertSafe(t, f)
		})
	}
}

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
			f := fails(t, wireTo(t, s.address))
			assert.Equal(t, patience.Paced, f.Retry)
			assert.GreaterOrEqual(t, f.RetryAfter, header.least)
			assert.LessOrEqual(t, f.RetryAfter, header.most)
		})
	}
}

// The timeout of an attempt covers header and body.
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
			w := newWire(t, transport.Config{Address: s.address, Timeout: time.Second})
			began := time.Now()
			f := fails(t, w)
			assert.Less(t, time.Since(began), 5*time.Second)
			assert.Equal(t, fault.Unreachable, f.Fault.Kind)
			assert.Equal(t, patience.Later, f.Retry)
			assert.False(t, f.Unsent)
			assert.Contains(t, f.Fault.Error(), "vault unreachable (no answer within 1s (VAULT_CLIENT_TIMEOUT) at "+s.address.String()+")")
			assert.Contains(t, f.Fault.Error(), "raise VAULT_CLIENT_TIMEOUT on the Patch server")
			assertSafe(t, f)
		})
	}
}

// The cause is the error that vault/api would return, with each text in one line.
func TestCauseIsResponseError(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, vault(500, `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`))
	f := fails(t, wireTo(t, s.address))
	var response *api.ResponseError
	require.ErrorAs(t, f.Fault, &response)
	assert.Equal(t, 500, response.StatusCode)
	assert.Equal(t, []string{"1 error occurred: * internal error"}, response.Errors)
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}
