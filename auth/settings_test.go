package auth_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/idna"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

func decode(t testing.TB, text string) auth.Settings {
	t.Helper()
	var settings auth.Settings
	require.NoError(t, json.Unmarshal([]byte(text), &settings))
	return settings
}

// All faults are reported at once, each with setting, reason and fix, and without what
// was entered.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		settings string
		faults   []string // setting: reason
	}{
		{"nothing", `{}`, nil},
		{"null", `null`, nil},
		{"all members null", `{"enabled":null,"address":null,"kv_version":null,"auth_method":null,"namespace":null,"mounts":null}`, nil},
		{"all in order", `{"enabled":true,"address":"https://vault.example:8200/","kv_version":"v1","auth_method":"approle","namespace":"team/patch/","mounts":["team/kv/","kv"]}`, nil},
		{"disabled, without an address", `{"enabled":false}`, nil},
		{"a newer UI", `{"address":"https://v","color":{"theme":[1]},"Address":5}`, nil},
		{"enabled, without an address", `{"enabled":true}`, []string{"address: missing, but Vault is enabled"}},
		{"each wrong", `{"address":"Kq7canaryZ9","kv_version":"Kq7canaryZ9","auth_method":"Kq7canaryZ9","namespace":"/Kq7canaryZ9","mounts":["kv","/Kq7canaryZ9"]}`, []string{
			"address: neither https:// nor http://", "kv_version: unknown", "auth_method: unknown", "namespace: not a namespace", "mounts: entry 2 is not the path of a KV mount"}},
		{"each of the wrong type", `{"enabled":"Kq7canaryZ9","address":["Kq7canaryZ9"],"kv_version":2,"auth_method":{"Kq7canaryZ9":1},"namespace":1.5,"mounts":"Kq7canaryZ9"}`, []string{
			"address: of the wrong type", "auth_method: of the wrong type", "enabled: of the wrong type", "kv_version: of the wrong type", "mounts: of the wrong type", "namespace: of the wrong type"}},
		{"a list in place of an object", `["Kq7canaryZ9"]`, []string{"vault: not an object"}},
		{"a string in place of an object", `"Kq7canaryZ9"`, []string{"vault: not an object"}},
		{"other letter case", `{"address":"https://v","kv_version":"V2","auth_method":"AppRole"}`, []string{"kv_version: unknown", "auth_method: unknown"}},
		{"mounts that hand out tokens", `{"address":"https://v","mounts":["auth/token"]}`, []string{"mounts: entry 1 is not the path of a KV mount"}},
		{"a token as a mount", `{"address":"https://v","mounts":["kv","hvs.CAESIKq7canaryZ9Kq7canaryZ9"]}`, []string{"mounts: entry 2 is not the path of a KV mount"}},
		{"a mount of the wrong type", `{"address":"https://v","mounts":["kv",5]}`, []string{"mounts: of the wrong type"}},
		{"namespaces that are none", `{"address":"https://v","namespace":"a//b"}`, []string{"namespace: not a namespace"}},
		{"a namespace with a line break", `{"address":"https://v","namespace":"a\r\nX-Vault-Token: b"}`, []string{"namespace: not a namespace"}},
		{"a namespace that leads upwards", `{"address":"https://v","namespace":"team/../other"}`, []string{"namespace: not a namespace"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			settings := decode(t, test.settings)
			var faults []string
			for _, f := range settings.Faults() {
				faults = append(faults, f.Setting+": "+f.Reason)
				assert.NotEmpty(t, f.Fix)
				assert.Equal(t, f.Setting+": "+f.Reason+"; "+f.Fix, f.Error())
				text, err := json.Marshal(f)
				require.NoError(t, err)
				assert.NotContains(t, string(text), "canary")
			}
			assert.Equal(t, test.faults, faults)
			if len(faults) > 0 && settings.Configured() {
				err := auth.New(settings, variables{"VAULT_TOKEN": "t"}.options()).Validate()
				assertKind(t, err, fault.Settings, faults...)
				assert.NotContains(t, err.Error(), "canary")
			}
		})
	}
}

// The text in the box is used exactly, or is a fault.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"https://vault.example", "https://vault.example/", "https://vault.example:8200", "http://127.0.0.1:8200", "HTTPS://VAULT.example",
		"https://[::1]:8200", "https://[fe80::1%25eth0]:8200", "https://vault.example/team/vault/", "https://vault.example/v1x", "https://vault.example/a@b",
	} {
		assert.Empty(t, auth.Settings{Address: address}.Faults(), address)
	}
	for address, reason := range map[string]string{
		"vault.example":                      "neither https:// nor http://",
		"vault.example:8200":                 "neither https:// nor http://",
		"127.0.0.1:8200":                     "not a URL",
		"unix:///run/vault.sock":             "neither https:// nor http://",
		"https://":                           "no host name",
		"https:vault.example":                "no host name",
		"https:///v":                         "no host name",
		"https://:8200":                      "no host name",
		" https://vault.example":             "white space at its beginning or end",
		"https://vault.example ":             "white space at its beginning or end",
		"https://vault.example\n":            "white space at its beginning or end",
		"https://vault example":              "not a URL",
		"https://vault.example\u200b":        "not a URL",
		"https://v\u00e4ult.example":         "holds a non-ASCII character in the host name",
		"https://vault.example\uff1a8200":    "holds a non-ASCII character in the host name",
		"https://vault\u3002example":         "holds a non-ASCII character in the host name",
		"https://::1:8200":                   "not a URL",
		"https://[::1":                       "not a URL",
		"https://vault.example:":             "not a port",
		"https://vault.example:0":            "not a port",
		"https://vault.example:65536":        "not a port",
		"https://vault.example:82x":          "not a URL",
		"https://vault.example/v1":           "holds /v1",
		"https://vault.example/a/v1/":        "holds /v1",
		"https://vault.example/v1/secret/a":  "holds /v1",
		"https://vault.example/ui":           "is one of Vault's web pages",
		"https://vault.example/ui/vault/":    "is one of Vault's web pages",
		"https://vault.example?a=b":          "holds a ? or a #",
		"https://vault.example?":             "holds a ? or a #",
		"https://vault.example#":             "holds a ? or a #",
		"https://vault.example//a":           "not a plain path after the host",
		"https://vault.example/a/../b":       "not a plain path after the host",
		"https://vault.example/%2e%2e/b":     "not a plain path after the host",
		"https://vault.example/a%2fb":        "not a plain path after the host",
		"https://user:secret@vault.example":  "holds a user or a password",
		"https://user@vault.example":         "holds a user or a password",
		"https://vault.example:80:80":        "not a URL",
		"https://vault.example/%zz":          "not a URL",
		"https://vault.example\\@evil.local": "not a URL",
	} {
		faults := auth.Settings{Address: address}.Faults()
		if assert.Len(t, faults, 1, address) {
			assert.Equal(t, "address", faults[0].Setting)
			assert.Equal(t, reason, faults[0].Reason, address)
		}
	}
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	for text, configured := range map[string]bool{
		`{}`:                                     false,
		`null`:                                   false,
		`{"address":""}`:                         false,
		`{"kv_version":"v1"}`:                    false,
		`{"kv_version":1}`:                       false,
		`{"enabled":false}`:                      false,
		`{"enabled":false,"address":"http://h"}`: false,
		`{"enabled":false,"address":5}`:          false,
		`{"enabled":true}`:                       true,
		`{"enabled":"yes"}`:                      true,
		`{"address":"http://h"}`:                 true,
		`{"address":"nonsense"}`:                 true,
		`{"address":5}`:                          true,
		`[]`:                                     true,
	} {
		settings := decode(t, text)
		assert.Equal(t, configured, settings.Configured(), text)
		err := auth.New(settings, variables{"VAULT_TOKEN": "t"}.options()).Validate()
		if !configured {
			assertKind(t, err, fault.NotConfigured, "or enter the credential itself")
		} else {
			assert.NotErrorIs(t, err, fault.NotConfigured, text)
		}
	}
}

// A mistyped setting does not affect the configuration around it.
func TestSettingsDecodeByThemselves(t *testing.T) {
	t.Parallel()
	for _, vault := range []string{`{"address":5}`, `[1]`, `"x"`, `7`, `true`, `null`, `{"mounts":{"a":1},"enabled":[]}`} {
		var config struct {
			Before string
			Vault  auth.Settings
			Later  []auth.Settings
			After  string
		}
		text := fmt.Sprintf(`{"Before":"b","Vault":%s,"Later":[%[1]s,{"address":"https://h"}],"After":"a"}`, vault)
		require.NoError(t, json.Unmarshal([]byte(text), &config), text)
		assert.Equal(t, "b", config.Before)
		assert.Equal(t, "a", config.After)
		assert.Equal(t, "https://h", config.Later[1].Address)
	}
	// Decoding replaces earlier settings.
	settings := auth.Settings{Address: "https://before", Enabled: new(true)}
	require.NoError(t, json.Unmarshal([]byte(`{"kv_version":"v1"}`), &settings))
	assert.Equal(t, auth.Settings{KVVersion: "v1"}, settings)
}

func TestSettingsAsJSON(t *testing.T) {
	t.Parallel()
	const text = `{"enabled":true,"address":"https://vault.example","kv_version":"v1","auth_method":"jwt","namespace":"a/b","mounts":["team/kv"]}`
	again, err := json.Marshal(decode(t, text))
	require.NoError(t, err)
	assert.JSONEq(t, text, string(again))
	again, err = json.Marshal(auth.Settings{})
	require.NoError(t, err)
	assert.Equal(t, `{}`, string(again))
	// A masked address stays a fault.
	again, err = json.Marshal(auth.Settings{Address: "https://user:secret@vault.example"})
	require.NoError(t, err)
	assert.Equal(t, `{"address":"https://***@vault.example"}`, string(again))
	assert.Equal(t, "holds a user or a password", decode(t, string(again)).Faults()[0].Reason)
}

// A pasted credential is not in JSON, which still has the same faults.
func TestSettingsWithCredentialAsJSON(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"hvs.Kq7canaryZ9Kq7canaryZ9", "s.Kq7canaryZ9Kq7canaryZ9Kq7", "eyJhbGciOiJub25lIn0.Kq7canaryZ9.x", "VAULT_TOKEN=Kq7canaryZ9"} {
		before := auth.Settings{Address: secret, KVVersion: secret, AuthMethod: secret, Namespace: secret, Mounts: []string{"team/kv", secret}}
		text, err := json.Marshal(before)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "canary")
		assert.Contains(t, string(text), "team/kv")
		assert.Equal(t, secret, before.Mounts[1], "the original is as it was")
		assert.Len(t, before.Faults(), 5)
		assert.Equal(t, before.Faults(), decode(t, string(text)).Faults())

		pasted, err := json.Marshal(map[string]any{"address": secret, "kv_version": secret, "auth_method": secret, "namespace": secret, "mounts": []string{"team/kv", secret}})
		require.NoError(t, err)
		after := decode(t, string(pasted))
		assert.False(t, leaks(dump(after)), "not even by reflection")
		assert.Equal(t, before.Faults(), after.Faults())
	}
	// What may be intended is kept.
	const id = "5f1c7d3a-1111-4c5b-9a1e-2b8f0c6d4e11"
	before := auth.Settings{Address: "https://vault.example", AuthMethod: "userpass", Namespace: id, Mounts: []string{id, "/"}}
	text, err := json.Marshal(before)
	require.NoError(t, err)
	assert.Equal(t, before, decode(t, string(text)))
}

// A setting of the wrong type stays a fault in JSON.
func TestSettingsAtFaultAsJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"enabled":"no"}`, `{"enabled":"Kq7canaryZ9","address":["Kq7canaryZ9"],"kv_version":2,"auth_method":{"Kq7canaryZ9":1},"namespace":1.5,"mounts":"Kq7canaryZ9"}`,
		`{"address":"https://vault.example","mounts":["kv",5],"enabled":false}`, `["Kq7canaryZ9"]`, `"Kq7canaryZ9"`, `7`,
	} {
		before := decode(t, text)
		again, err := json.Marshal(before)
		require.NoError(t, err)
		assert.NotContains(t, string(again), "canary")
		assert.Equal(t, before, decode(t, string(again)), "%s became %s", text, again)
		assert.NotEmpty(t, before.Faults())
	}
}

func FuzzSettings(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"address":"https://h:1/p","mounts":["a/b"]}`, `{"enabled":"x","mounts":[null]}`, `[]`, `{"address":"http://a@b"}`, `{"address":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		var around struct {
			Vault auth.Settings
			After string
		}
		if err := json.Unmarshal([]byte(`{"Vault":`+text+`,"After":"a"}`), &around); err != nil || around.After != "a" {
			t.Fatalf("%q spoils what is around it: %v", text, err)
		}
		vault := auth.New(around.Vault, variables{"VAULT_TOKEN": "t"}.options())
		if err := vault.Validate(); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q: more than one line: %q", text, err)
		}
		vault.Effective()
		// As JSON it has the same faults.
		again, err := json.Marshal(around.Vault)
		if err != nil {
			t.Fatal(err)
		}
		var second auth.Settings
		if err := json.Unmarshal(again, &second); err != nil || !slices.Equal(around.Vault.Faults(), second.Faults()) || around.Vault.Configured() != second.Configured() {
			t.Fatalf("%q became %q: %v, %v, was %v", text, again, err, second.Faults(), around.Vault.Faults())
		}
	})
}

// dialled is the host that net/http connects to, with the zone of an IPv6 address.
func dialled(u *url.URL) string {
	host, err := idna.Lookup.ToASCII(u.Hostname())
	if err != nil {
		host = strings.ToLower(u.Hostname())
	}
	return host
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"https://vault.example:8200/a", "http://[::1]:80", "https://a:b@c", "https://a/%2e%2e", "//", "https://a\x00"} {
		f.Add(seed, seed)
	}
	f.Add("https://vault.\u0130nternal", "https://vault.internal")
	f.Add("https://VAULT.internal", "https://vault.internal")
	f.Fuzz(func(t *testing.T, address, pin string) {
		settings := auth.Settings{Address: address}
		wrong := len(settings.Faults()) > 0
		err := auth.New(settings, variables{"VAULT_TOKEN": "t"}.options()).Validate()
		if settings.Configured() && wrong != (err != nil) {
			t.Fatalf("%q: faults %v, error %v", address, settings.Faults(), err)
		}
		// An address is within its own pin, and outside one with another host.
		vault := auth.New(settings, variables{"VAULT_TOKEN": "t", "VAULT_ADDR": pin}.options())
		err = vault.Validate()
		if address != "" && address == pin && !wrong && err != nil {
			t.Fatalf("%q is not its own pin: %v", address, err)
		}
		to, isURL := url.Parse(address)
		from, isPin := url.Parse(pin)
		if err == nil && isURL == nil && isPin == nil && pin != "" && dialled(to) != dialled(from) {
			t.Fatalf("%q leads to %q, past the pin %q", address, dialled(to), pin)
		}
	})
}

// New copies its arguments, and Settings what it returns: neither side can change
// what the other has.
func TestSettingsAreCopied(t *testing.T) {
	t.Parallel()
	settings := auth.Settings{Enabled: new(true), Address: "https://vault.example", AuthMethod: "userpass", Mounts: []string{"team/kv"}}
	options := variables{}.options()
	options.Methods = handIn(map[string]api.AuthMethod{"userpass": userpass{}})
	vault := auth.New(settings, options)
	*settings.Enabled = false
	settings.Mounts[0] = "changed"
	delete(options.Methods, "userpass")
	assert.NoError(t, vault.Validate())
	given := vault.Settings()
	assert.True(t, *given.Enabled)
	assert.Equal(t, []string{"team/kv"}, given.Mounts)
	*given.Enabled = false
	given.Mounts[0] = "changed"
	assert.NoError(t, vault.Validate())
	assert.Equal(t, []string{"team/kv"}, vault.Settings().Mounts)
}
