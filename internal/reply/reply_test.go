package reply_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/reply"
)

func judge(status int, contentType, body string) *patience.Failure {
	return newSource().Judge(response(status, http.Header{"Content-Type": {contentType}}, body), false)
}

// response is a response in memory.
func response(status int, header http.Header, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: header, Request: &http.Request{}, Body: &inMemory{*bytes.NewBufferString(body)}}
}

// The errors of an answer are masked wherever encoding/json finds them.
func TestMaskErrors(t *testing.T) {
	t.Parallel()
	s := newSource()
	for _, body := range []struct{ name, body, want string }{
		{"nothing to mask", `{ "errors" : ["permission denied"] }`, `{ "errors" : ["permission denied"] }`},
		{"an error", `{"errors":["bad ` + token + `","worse"]}`, `{"errors":["bad [masked]","worse"]}`},
		{"a warning", `{"errors":[],"warnings":["bad ` + token + `"]}`, `{"errors":[],"warnings":["bad [masked]"]}`},
		{"other letters", `{"Errors":["bad ` + token + `"]}`, `{"Errors":["bad [masked]"]}`},
		{"a letter like s", `{"errorſ":["bad ` + token + `"]}`, `{"errorſ":["bad [masked]"]}`},
		{"twice", `{"errors":["` + token + `"],"ERRORS":["` + token + `"]}`, `{"ERRORS":["[masked]"],"errors":["[masked]"]}`},
		{"data stays", `{"data":{"a":1.10},"errors":["` + token + `"]}`, `{"data":{"a":1.10},"errors":["[masked]"]}`},
		{"another form", `{"errors":"bad ` + token + `"}`, `{"errors":["\"bad [masked]\""]}`},
		{"another form, in other letters", `{"errors":[],"Errors":{"a":"` + token + `"}}`, `{"Errors":["{\"a\":\"[masked]\"}"],"errors":[]}`},
		{"no JSON", token, token},
	} {
		t.Run(body.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, body.want, string(s.MaskErrors([]byte(body.body))))
		})
	}
}

// One of several errors may end within a secret.
func TestErrorCutWithinASecret(t *testing.T) {
	t.Parallel()
	f := judge(500, json, `{"errors":["bad `+token[:10]+`","worse"]}`).Fault
	assert.False(t, strings.Contains(f.Error(), token[:6]))
	assert.ErrorContains(t, f, "(bad [masked]; worse at ")
}

// If a server sends many errors, or a long one, little is kept.
func TestManyErrors(t *testing.T) {
	t.Parallel()
	s := newSource()
	for _, body := range []string{
		`{"errors":[` + strings.Repeat(`"",`, 1<<16) + `""]}`,
		`{"errors":["` + strings.Repeat("a", 1<<20) + `"]}`,
	} {
		failure := s.Judge(response(500, http.Header{"Content-Type": {json}}, body), false)
		require.NotNil(t, failure)
		assert.Less(t, len(failure.Fault.Error()), 1000)
		cause, ok := errors.AsType[*api.ResponseError](failure.Fault)
		require.True(t, ok)
		assert.LessOrEqual(t, len(cause.Errors), 32)
		assert.Less(t, len(cause.Error()), 200<<10)

		answer, f := understand(s, 400, http.Header{"Content-Type": {json}}, body, nil)
		require.Nil(t, f)
		assert.LessOrEqual(t, len(answer.Errors), 32)
	}
}

func TestIsInternalError(t *testing.T) {
	t.Parallel()
	assert.True(t, reply.IsInternalError(judge(500, json, `{"errors":["1 error occurred:\n\t* internal error\n\n"]}`)))
	for _, other := range []*patience.Failure{
		judge(502, json, `{"errors":["internal error"]}`),
		judge(503, json, `{"errors":["internal error"]}`),
		judge(500, json, `{"errors":["local node not active but active cluster node not found"]}`),
		judge(500, json, `{"errors":["failed to look up namespace from the token: internal error"]}`),
		judge(500, json, `{"errors":["boom"]}`),
		judge(500, "text/html", "internal error"),
	} {
		assert.False(t, reply.IsInternalError(other), other.Fault.Error())
	}
}

// A 503 is a proxy's refusal only if it is not Vault's own.
func TestMayBePacing(t *testing.T) {
	t.Parallel()
	for _, response := range []struct {
		status            int
		contentType, body string
		is                bool
	}{
		{503, "text/html", "<html>", true},
		{503, "", "", true},
		{503, json, `{"message":"slow down"}`, true},
		{503, json, `{"errors":["Vault is sealed"]}`, false},
		{503, json, `{"errors":[]}`, false},
		{502, "text/html", "<html>", false},
		{200, "text/html", "<html>", false},
	} {
		f := judge(response.status, response.contentType, response.body)
		require.NotNil(t, f)
		assert.Equal(t, response.is, reply.MayBePacing(response.status, f), response)
	}
}

// Data of another form does not fail the answer around it.
func TestMalformedData(t *testing.T) {
	t.Parallel()
	var data struct {
		A int `json:"a"`
	}
	header := http.Header{"Content-Type": {json}}
	answer, f := understand(newSource(), 200, header, `{"request_id":"1","data":{"a":1}}`, &data)
	require.Nil(t, f)
	assert.False(t, answer.Malformed)
	assert.Equal(t, 1, data.A)
	for _, other := range []string{`["a"]`, `"a"`, `{"a":"b"}`} {
		answer, f := understand(newSource(), 200, header, `{"request_id":"1","lease_id":"l","data":`+other+`}`, &data)
		require.Nil(t, f)
		assert.True(t, answer.Malformed, other)
		assert.Equal(t, "l", answer.LeaseID)
	}
}

type inMemory struct{ bytes.Buffer }

func (*inMemory) Close() error { return nil }

func TestLoginHint(t *testing.T) {
	t.Parallel()
	for _, refusal := range []struct{ method, text, hint string }{
		{"approle", "invalid role or secret ID", "compare VAULT_ROLE_ID"},
		{"jwt", `error validating token: invalid not before (nbf) claim: token not yet valid`, "compare the clocks"},
		{"jwt", `error validating claims: claim "sub" does not match`, "compare the claims"},
		{"kubernetes", "permission denied", "auth/k8s (VAULT_KUBERNETES_MOUNT) exists"},
		{"cert", "permission denied", "auth/k8s (VAULT_CERT_MOUNT) exists in this namespace"},
		{"custom", "no handler for route", "check the mount and the namespace"},
		{"jwt", "error verifying token signature: fetching keys oidc: get keys failed: x509: certificate has expired or is not yet valid", "vault cannot fetch the keys"},
		{"custom", "what is this?", ""},
	} {
		hint := reply.LoginHint(refusal.method, "k8s", []string{refusal.text})
		if refusal.hint == "" {
			assert.Empty(t, hint)
			continue
		}
		assert.Contains(t, hint, refusal.hint)
		assert.NotContains(t, hint, "/MOUNT")
		assert.NotContains(t, hint, "METHOD")
	}
}

// A caller's own login method gets no advice of a built-in one, even under its name.
func TestLoginHintOfAHandedInMethod(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"approle", "kubernetes", "custom"} {
		hint := reply.LoginHint(name, "", []string{"permission denied"})
		assert.Contains(t, hint, "check that its mount exists in this namespace")
		assert.NotContains(t, hint, "MOUNT")
		assert.NotContains(t, reply.WaitHint(name, ""), "auth/")
		assert.Empty(t, reply.LoginHint(name, "", []string{`invalid role name "patch"`}), "it may be mistyped")
	}
}

// A missing namespace fails every request of the run.
func TestNamespaceFaultIsOfTheRun(t *testing.T) {
	t.Parallel()
	f := judge(404, json, `{"errors":["namespace not found"]}`)
	require.NotNil(t, f)
	assert.True(t, f.Fault.Run)
	assert.Equal(t, fault.Settings, f.Fault.Kind)
}
