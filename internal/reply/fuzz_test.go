package reply_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/reply"
)

const (
	token = "hvs.CANARYtoken0123456789"
	json  = "application/json"
)

// newSource is a Vault that received the token.
func newSource() reply.Source {
	var sent mask.Secrets
	sent.Learn(token)
	return reply.Source{Address: "https://vault.example:8200", Sent: &sent}
}

// understand does what the chain of RoundTrippers does with a response: it returns an
// answer or a fault.
func understand(s reply.Source, status int, header http.Header, body string, data any) (*reply.Answer, *fault.Error) {
	text := []byte(body)
	if failure := s.Judge(response(status, header, body), false); failure != nil {
		return nil, failure.Fault
	}
	if status >= 400 {
		text = s.MaskErrors(text)
	}
	answer, err := reply.Parse(&http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(text))}, data)
	f, _ := errors.AsType[*fault.Error](err)
	return answer, f
}

// FuzzAnswer echoes the token anywhere in any answer. It is never in a text for a log, and
// each text stays one line.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status                     int
		contentType, before, after string
	}{
		{200, json, `{"request_id":"1","data":{"data":{"password":"`, `"},"metadata":{"version":1}},"mount_type":"kv"}`},
		{200, json, `{"request_id":"1","warnings":["`, `"]}`},
		{200, json, `{"request_id":"1","mount_type":"`, `"}`},
		{200, json, `{"initialized":true,"server_time_utc":1,"version":"`, `"}`},
		{200, json, `{"request_id":"","wrap_info":{"token":"`, `"}}`},
		{200, json, `{"request_id":"1","data":["`, `"]}`},
		{400, json, `{"errors":["`, "\\n\u2028\\u001b[31m\"]}"},
		{400, json, `{"Errors":["`, `"]}`},
		{400, json, `{"errors":[],"ERRORS":["`, `"],"errorſ":["x"]}`},
		{403, json, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token `, `"]}`},
		{404, json, `{"errors":[],"data":"`, `"}`},
		{404, json, `{"errors":["namespace not found `, `"]}`},
		{404, json, `{"request_id":"1","warnings":["Invalid path for a versioned `, `"]}`},
		{412, json, `{"errors":["required index state `, `"]}`},
		{429, json, `{"errors":["`, `"]}`},
		{429, "text/html", "<html>", "</html>"},
		{500, json, `{"errors":["local node not active but active cluster node not found `, `"]}`},
		{503, json, `{"errors":["Vault is sealed","`, `"]}`},
		{503, "text/html", "<html>", "</html>"},
		{503, "text/" + token, "", ""},
		{307, "", "", ""},
		{301, "", "http://", ""},
		{204, "", "", ""},
		{400, "text/plain", "Client sent an HTTP request to an HTTPS server.", ""},
		{200, json, `{"request_id":"1","request_id":"`, `"}`},
		{200, json, strings.Repeat(`[`, 10_001), ""},
	} {
		f.Add(seed.status, seed.contentType, seed.before, seed.after)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, before, after string) {
		var data map[string]any
		header := http.Header{"Content-Type": {contentType}, "Location": {before + token}, "Content-Encoding": {after}}
		for _, encoding := range []string{"identity", after} {
			header.Set("Content-Encoding", encoding)
			answer, fault := understand(newSource(), status, header, before+token+after, &data)
			if answer != nil {
				require.Nil(t, fault)
				require.Equal(t, answer.Refusal() != reply.NotRefused, answer.Status == http.StatusForbidden)
				if status >= 400 {
					require.NotContains(t, fmt.Sprint(answer.Errors, answer.Warnings, answer.Words(), answer.ResponseError()), token)
				}
				continue
			}
			require.NotNil(t, fault)
			require.NotEmpty(t, fault.Kind)
			require.NotContains(t, strings.ToLower(fault.Error()), strings.ToLower(token))
			require.NotContains(t, fmt.Sprintf("%+v", fault.Cause), token)
			require.False(t, strings.ContainsFunc(fault.Error(), unicode.IsControl), "%q", fault.Error())
			require.Less(t, len(fault.Error()), 1200)
		}
	})
}
