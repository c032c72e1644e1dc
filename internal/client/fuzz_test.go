package client_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
)

// FuzzAnswer has a server echo the token at any place of any answer: it is
// never in what a log can hold, and a log's line stays one line.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status                     int
		contentType, before, after string
	}{
		{200, json, `{"request_id":"1","data":{"data":{"password":"`, `"},"metadata":{"version":1}},"mount_type":"kv"}`},
		{200, json, `{"request_id":"1","warnings":["`, `"]}`},
		{200, json, `{"request_id":"1","mount_type":"`, `"}`},
		{200, json, `{"initialized":true,"server_time_utc":1,"version":"`, `"}`},
		{200, json, `{"request_id":"1","wrap_info":{"token":"`, `"}}`},
		{200, json, `{"request_id":"1","data":["`, `"]}`},
		{400, json, `{"errors":["`, "\\n\u2028\\u001b[31m\"]}"},
		{403, json, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token `, `"]}`},
		{404, json, `{"errors":[],"data":"`, `"}`},
		{429, json, `{"errors":["`, `"]}`},
		{429, "text/html", "<html>", "</html>"},
		{500, json, `{"errors":["local node not active but active cluster node not found `, `"]}`},
		{503, json, `{"errors":["Vault is sealed","`, `"]}`},
		{503, "text/html", "<html>", "</html>"},
		{307, "", "", ""},
		{204, "", "", ""},
		{400, "text/plain", "Client sent an HTTP request to an HTTPS server.", ""},
		{200, json, `{"request_id":"1","request_id":"`, `"}`},
		{200, json, strings.Repeat(`[`, 10_001), ""},
	} {
		f.Add(seed.status, seed.contentType, seed.before, seed.after)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, before, after string) {
		var data map[string]any
		header := http.Header{"Content-Type": {contentType}, "Location": {before}}
		answer, fault := client.Understand(status, header, before+token+after, token, &data)
		if answer != nil {
			require.Nil(t, fault)
			require.NotContains(t, fmt.Sprint(answer.Errors, answer.Warnings, answer.MountType, answer.Words()), token)
			require.Equal(t, answer.Refusal != client.NotRefused, answer.Status == http.StatusForbidden)
			return
		}
		require.NotNil(t, fault)
		require.NotEmpty(t, fault.Kind)
		require.NotContains(t, fault.Error(), token)
		require.NotContains(t, fmt.Sprintf("%+v", fault.Cause), token)
		require.False(t, strings.ContainsFunc(fault.Error(), unicode.IsControl), "%q", fault.Error())
		require.Less(t, len(fault.Error()), 1000)
	})
}
