package resolver

import (
	"github.com/go-json-experiment/json"

	"github.com/luumen/patch-vault/internal/client"
)

// Decode makes sense of the data of an answer, as a read does, and returns what
// picks a key of the secret from it.
func Decode(status int, data []byte, kvVersion int) (pick func(key string) (string, error), err error) {
	m := mount{Mount: Mount{Path: "kv", Version: kvVersion}, kind: "kv", listed: true}
	r := &read{path: "kv/app"}
	answer := &client.Answer{Status: status}
	var s *secret
	if kvVersion == 1 {
		var v1 values
		answer.BadData = json.Unmarshal(data, &v1) != nil
		s, err = secretV1(answer, v1, &mountTable{}, m, r)
	} else {
		var v2 versioned
		answer.BadData = json.Unmarshal(data, &v2) != nil
		s, err = secretV2(answer, v2, &mountTable{}, m, r)
	}
	if err != nil {
		return nil, err
	}
	return func(key string) (string, error) {
		return s.pick(key)
	}, nil
}
