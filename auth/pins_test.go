package auth_test

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// Whoever edits the UI's settings cannot send the agent's credentials to a server that
// the Patch server does not allow: not even a connection is made.
func TestHostileUI(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close() })
	hostile := "http://" + listener.Addr().String()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)

	for _, test := range []struct {
		name      string
		address   string
		namespace string
		pins      variables
	}{
		{"another host", hostile, "", variables{"VAULT_ADDR": "http://vault.example:" + port}},
		{"another port", hostile, "", variables{"VAULT_ADDR": "http://127.0.0.1"}},
		{"another scheme", hostile, "", variables{"VAULT_ADDR": "https://127.0.0.1:" + port}},
		{"another path", hostile + "/evil", "", variables{"VAULT_ADDR": hostile}},
		{"no path", hostile, "", variables{"VAULT_ADDR": hostile + "/vault"}},
		{"the pin as a prefix", hostile + "/vault.evil", "", variables{"VAULT_ADDR": hostile + "/vault"}},
		{"another name of the same", "http://localhost:" + port, "", variables{"VAULT_ADDR": hostile}},
		{"another namespace", hostile, "evil", variables{"VAULT_NAMESPACE": "team"}},
		{"the pinned namespace as a prefix", hostile, "team-evil", variables{"VAULT_NAMESPACE": "team"}},
		{"the namespace above", hostile, "team", variables{"VAULT_NAMESPACE": "team/patch"}},
		{"another case of the namespace", hostile, "Team", variables{"VAULT_NAMESPACE": "team"}},
		{"both", hostile, "evil", variables{"VAULT_ADDR": "https://vault.example", "VAULT_NAMESPACE": "team"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for method, v := range map[string]variables{
				"token": {"VAULT_TOKEN": "hvs.canary"}, "approle": {"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "canary"},
			} {
				vault := auth.New(auth.Settings{Address: test.address, Namespace: test.namespace, AuthMethod: method}, v.and(test.pins).options())
				assertKind(t, vault.Validate(), fault.Pinned, "nothing was sent")
				r := readOnce(t.Context(), vault, "secret/app")
				assertKind(t, r.err, fault.Pinned)
				assert.NotContains(t, r.err.Error(), "canary")
				assert.Zero(t, r.usage.Requests)
			}
		})
	}
	// net/http dials the IDNA names of these. In lower case, the first one would
	// equal the pin.
	for _, address := range []string{"http://vault.\u0130nternal:" + port, "http://vault.%C4%B0nternal:" + port, "http://vault.\u017fnternal:" + port, "http://v\u00e4ult.internal:" + port} {
		vault := auth.New(auth.Settings{Address: address}, variables{"VAULT_TOKEN": "hvs.canary", "VAULT_ADDR": "http://vault.internal:" + port, "HTTP_PROXY": hostile}.options())
		r := readOnce(t.Context(), vault, "secret/app")
		assertKind(t, r.err, fault.Settings, "address: holds a non-ASCII character", "xn-- form")
		assert.Zero(t, r.usage.Requests)
	}
	assert.Zero(t, connections.Load())

	// The listener does count: without a pin, the address gets requests.
	do(t.Context(), auth.New(auth.Settings{Address: hostile, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()), auth.DoOptions{Patience: brief}, nil)
	assert.NotZero(t, connections.Load())
}

// Addresses that mean the same are equal, however they are written.
func TestAddressesWithinThePin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		address, pin string
		same         bool
	}{
		{"https://vault.example", "https://vault.example", true},
		{"https://VAULT.Example", "https://vault.example/", true},
		{"HTTPS://vault.example/", "https://vault.example:443", true},
		{"http://vault.example:80", "http://vault.example", true},
		{"https://vault.example:8200/a/", "https://vault.example:8200/a", true},
		{"https://[2001:DB8::1]:8200", "https://[2001:db8::1]:8200", true},
		{"https://vault.example", " https://vault.example\n", true},
		{"https://vault.example:80", "http://vault.example:80", false},
		{"https://vault.example:8200", "https://vault.example", false},
		{"https://vault.example/A", "https://vault.example/a", false},
		{"https://vault.example.evil", "https://vault.example", false},
	} {
		err := auth.New(auth.Settings{Address: test.address}, variables{"VAULT_TOKEN": "t", "VAULT_ADDR": test.pin}.options()).Validate()
		if test.same {
			assert.NoError(t, err, "%s against %s", test.address, test.pin)
		} else {
			assert.ErrorIs(t, err, fault.Pinned, "%s against %s", test.address, test.pin)
		}
	}
}

func TestPathPins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pins    string
		permits []string
		refuses []string
	}{
		{"", []string{"a/b", "secret/luumen/windev"}, nil},
		{"secret/luumen", []string{"secret/luumen", "secret/luumen/windev", "secret/luumen/a/b/c"}, []string{"secret", "secret/luumen2", "secret/Luumen/x", "secret/other", "team/secret/luumen"}},
		{" secret/a/ , team/kv ", []string{"secret/a/x", "team/kv/y"}, []string{"secret/ab", "team/kv2"}},
		{"kv", []string{"kv/a"}, []string{"kv2/a"}},
		{"kv/a#b", []string{ref.Parse("vault:kv/a%23b#c").Ref().Path()}, []string{"kv/a%23b"}},
		{"kv/" + strings.Repeat("a", 500), nil, []string{"kv/a"}},
	} {
		permits := auth.New(auth.Settings{Address: "https://vault.example"}, variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": test.pins}.options()).ValidatePath
		for _, path := range test.permits {
			assert.NoError(t, permits(path), "%s in %s", path, test.pins)
		}
		for _, path := range test.refuses {
			assertKind(t, permits(path), fault.Pinned, "nothing was sent")
		}
	}
}

// A pin is a path as references have it, without escapes and the data/ of policies. A path can have a space
// or a semicolon, so a list with one in place of commas is a list of one path.
func TestPathPinsOfAPolicy(t *testing.T) {
	t.Parallel()
	for pins, says := range map[string]string{
		"secret/data/a":     "add this path to the list on the Patch server, after a comma, without escapes, key, data/ and metadata/",
		"secret/a secret/b": "it allows secret/a secret/b", "secret/a;secret/b": "it allows secret/a;secret/b",
	} {
		vault := auth.New(auth.Settings{Address: "https://vault.example"}, variables{"VAULT_TOKEN": "t", "LUUMEN_VAULT_PATHS": pins}.options())
		assertKind(t, vault.ValidatePath("secret/a/x"), fault.Pinned, says)
	}
}

// If the paths are pinned and the namespace is not, every run says so.
func TestPathPinsWithoutANamespace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pins  variables
		warns bool
	}{
		{variables{"LUUMEN_VAULT_PATHS": "secret/luumen"}, true},
		{variables{"LUUMEN_VAULT_PATHS": "secret/luumen", "VAULT_NAMESPACE": "team"}, false},
		{variables{}, false},
	} {
		server := newStandIn(t, nil)
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, test.pins.and(variables{"VAULT_TOKEN": "t"}).options()))
		require.NoError(t, r.err)
		var found []auth.Finding
		for _, f := range r.usage.Findings {
			if f.Code == auth.NamespaceNotPinned {
				found = append(found, f)
			}
		}
		assert.Equal(t, test.warns, len(found) == 1, "%v: %v", test.pins, r.usage.Findings)
		for _, f := range found {
			assert.True(t, f.Notice, "it may be intended")
			assert.Contains(t, f.Text, "the UI still chooses the namespace")
		}
	}
}
