package resolver

import (
	"slices"

	"github.com/luumen/patch-vault/auth"
)

// Decode makes sense of the data of an answer, as a read does, and returns what
// picks a key of the secret from it.
func Decode(status int, data []byte, kvVersion int) (pick func(key string) (string, error), err error) {
	answer := &auth.Answer{Status: status, Data: data}
	m := mount{Mount: Mount{Path: "kv", Version: kvVersion}, kind: "kv", listed: true}
	var s *secret
	if kvVersion == 1 {
		s, err = readV1(answer, m, &read{path: "kv/app"})
	} else {
		s, err = readV2(answer, &mountTable{}, m, &read{path: "kv/app"})
	}
	if err != nil {
		return nil, err
	}
	return func(key string) (string, error) {
		text, err := s.pick(key)
		return text.Reveal(), err
	}, nil
}

// Edits is the distance between two texts, as far as it matters.
func Edits(a, b string) int { return edits(a, b) }

// Nearest is the one of the keys that was probably meant.
func Nearest(key string, keys ...string) string {
	return nearest(key, slices.Values(keys))
}
