package resolver

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/reply"
)

// secretIn returns the secret in the answer to a read.
func secretIn(answer *reply.Answer, data kvData, r *read) (*secret, error) {
	m := r.mount
	if err := m.checkKV(answer); err != nil {
		return nil, err
	}
	if answer.Malformed {
		data = dataOf(r)
	}
	s, hint := &secret{}, ""
	switch m.Version {
	case 1:
		if err := checkV1(answer, data.Values, r); err != nil {
			return nil, err
		}
		if !m.listed && strings.HasPrefix(m.below(r.path), "data/") { // in KV v2, a secret with its metadata
			hint = orOtherVersion(m) + ", and omit data/ from the path"
		}
	default:
		if err := checkV2(answer, data.Metadata, r); err != nil {
			return nil, err
		}
		s.version, s.created = data.Metadata.Version, timeOf(data.Metadata.Created)
	}
	s.values = data.Values.found(s.version, hint)
	s.hosts, s.findings = hostsOf(data.Metadata.Custom, data.Values.hosts) // KV v1 has no metadata
	return s, nil
}

// checkKV returns an error unless the answer comes from a KV mount. Other engines
// create credentials on each read or return tokens, so no host gets those.
func (m *mount) checkKV(answer *reply.Answer) error {
	switch {
	case !answer.Ok() || m.listed:
		return nil
	case answer.MountType != nil && isKV(*answer.MountType):
		return nil
	case answer.MountType != nil:
		return notKV(m, "is not KV", nameKV)
	case m.Guessed:
		return mayNotBeKV("the mount "+quoted(m.Path)+" may not be KV, since this server does not show its type", "name the mount in the settings, or "+passList)
	case answer.LeaseID != "":
		return notKV(m, "is a dynamic secrets engine, not KV", nameKV)
	}
	return nil // OpenBao, or Vault before 1.16
}

// checkV1 returns an error unless there is a secret in an answer of KV v1.
func checkV1(answer *reply.Answer, data values, r *read) error {
	m := r.mount
	switch {
	case answer.ReadAsV1():
		return otherVersion(m, 2)
	case answer.Status != 200:
		return unread(answer, r)
	case data.all == nil:
		return noSecret(r)
	case !m.listed && data.isConfigV2():
		return otherVersion(m, 2)
	}
	return nil
}

// checkV2 returns an error unless there is a secret in an answer of KV v2.
func checkV2(answer *reply.Answer, meta metadata, r *read) error {
	m := r.mount
	switch {
	case r.version != 0 && meta.Version != 0 && meta.Version != r.version:
		return otherPin(r, meta.Version)
	case answer.Status == 404 && meta.Version != 0:
		return deleted(answer, meta, r)
	case answer.Status != 200:
		return unread(answer, r)
	case meta.Version == 0 && !m.listed:
		return otherVersion(m, 1)
	case meta.Version == 0:
		return noSecret(r)
	}
	return nil
}

// timeOf parses a time from Vault. It returns zero for one that JSON cannot hold:
// that is no reason to withhold a secret.
func timeOf(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return fault.Encodable(t)
}

// at says when something happened, to the second. It is empty if Vault does not say.
func at(text string) string {
	t := timeOf(text)
	if t.IsZero() {
		return ""
	}
	return " at " + t.Format("2006-01-02 15:04:05Z")
}

// kvData is the data of an answer of KV v2. That of KV v1 is the values alone.
type kvData struct {
	Values   values   `json:"data"`
	Metadata metadata `json:"metadata"`
}

// dataOf returns what the answer to a read is decoded into.
func dataOf(r *read) kvData { return kvData{Values: values{keys: &r.keys}} }

// target points to the part that has the form of the answer's data.
func (d *kvData) target(version int) any {
	if version == 1 {
		return &d.Values
	}
	return d
}

// metadata is what KV v2 says about a version.
type metadata struct {
	Version   int    `json:"version"` // from 1; 0 if there is no metadata
	Created   string `json:"created_time"`
	Deleted   string `json:"deletion_time"`
	Destroyed bool   `json:"destroyed"`
	Custom    custom `json:"custom_metadata"`
}

// custom is the custom metadata of a secret. Vault stores up to 64 keys of 128
// bytes with values of 512.
type custom map[string]string

// maxCustom, in bytes, exceeds the largest custom metadata in Vault, even with every
// character escaped in JSON.
const maxCustom = 256 << 10

// UnmarshalJSON fails if the metadata is too large or malformed: then it is unknown
// which hosts may get the secret.
func (c *custom) UnmarshalJSON(text []byte) error {
	switch {
	case string(text) == "null": // of most secrets
		return nil
	case len(text) > maxCustom:
		return errors.New("the custom metadata is too large")
	}
	return json.Unmarshal(text, (*map[string]string)(c))
}
