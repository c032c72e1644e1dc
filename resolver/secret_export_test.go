package resolver

import (
	"encoding/json"
	"sync"

	"github.com/luumen/patch-vault/internal/reply"
)

// Decode makes sense of the data of an answer, as a read does, and returns the
// value of a key of the secret.
func Decode(status int, data []byte, kvVersion int, key string) (string, error) {
	m := mount{Mount: Mount{Path: "kv", Version: kvVersion}, kind: "kv", listed: true}
	w := &wanted{key: key}
	r := &read{path: "kv/app", wanted: []*wanted{w}}
	answer := &reply.Answer{Status: status}
	d := kvData{v2: kvVersion == 2, large: new(sync.Mutex)}
	if err := json.Unmarshal(data, &d); err != nil {
		return "", err
	}
	var s *secret
	var err error
	if kvVersion == 1 {
		s, err = secretV1(answer, d.content, &mountTable{}, m, r)
	} else {
		s, err = secretV2(answer, d.content, &mountTable{}, m, r)
	}
	if err != nil {
		return "", err
	}
	d.values.fill(r.wanted, s.version)
	return w.text, w.err
}
