package resolver_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// An empty or malformed glob matches no host, and letters beyond ASCII match only
// themselves.
func TestHostsOfASecretAreClosedByDefault(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	for i, c := range []struct {
		hosts, host string
		has, warns  bool
	}{
		{"win-*,", "", false, false},
		{"win-*,", "win-1", true, false},
		{",", "win-1", false, false}, // Vault stores no empty one
		{"a,,b", "", false, false},
		{" , ,", "x", false, false},
		{"kdb-1", "\u212Adb-1", false, false}, // the Kelvin sign is k in lower case
		{"\u212Adb-1", "kdb-1", false, false},
		{"KDB-1", "kdb-1", true, false},
		{"größe", "GRÖSSE", false, false},
		{"[", "[", false, true},
		{"win-[,lin-*", "lin-1", true, true},
		{"win-[,lin-*", "win-[", false, true},
		{`a\`, `a\`, true, false},
		{`CORP\win-*`, `corp\win-1`, true, false}, // a backslash is one of a Windows name
		{`CORP\win-*`, `corpwin-1`, false, false},
		{"sap*", "sap/prd", true, false}, // a name is not a path
		{"*", "https://x.example", true, false},
		{"sap/*", "sap/prd", true, false},
		{"[!d]*", "db-1", false, true}, // as in a shell, it would exclude d
		{"[!d]*", "web-1", false, true},
		{"[^d]*", "web-1", true, false},
		{"[^d]*", "db-1", false, false},
		{strings.Repeat(",", 507) + "web-*", "web-1", true, false}, // as long as Vault stores
	} {
		path := fmt.Sprint("app", i)
		server.Put(t, kv, path, map[string]any{"p": "right"})
		server.Metadata(t, kv, path, map[string]string{"luumen_hosts": c.hosts})
		run := resolver.Resolve(t.Context(), connect(server, server.Token), []resolver.Host{host(c.host, "p", "vault:"+kv+"/"+path+"#p")}, resolver.Options{})
		result := collect(run)[0]
		if c.has {
			assert.NoError(t, result.Err(), "%q for %q", c.hosts, c.host)
		} else {
			assert.ErrorIs(t, result.Err(), resolver.NotForHost, "%q for %q", c.hosts, c.host)
		}
		assert.Equal(t, c.warns, strings.Contains(strings.Join(codes(run.Report().Findings), " "), resolver.HostsMalformed), "%q", c.hosts)

		if c.host == "" {
			continue // for a check, that is any host
		}
		v := resolver.Check(t.Context(), connect(server, server.Token), fieldsOf("vault:"+kv+"/"+path+"#p"), resolver.CheckOptions{Host: c.host}).Fields[0]
		assert.Equal(t, c.has, v.Kind == resolver.OK, "%q for %q: %s", c.hosts, c.host, v)
		assert.Equal(t, c.warns, slices.Contains(codes(v.Findings), resolver.HostsMalformed), "%q for %q: %s", c.hosts, c.host, v)
	}
	// A check for no host in particular is for one that the secret names, if it names any.
	for hosts, kind := range map[string]resolver.Kind{"web-*": resolver.OK, " , ,": resolver.NotForHost, "[": resolver.NotForHost} {
		server.Put(t, kv, "app", map[string]any{"p": "right"})
		server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": hosts})
		v := resolver.Check(t.Context(), connect(server, server.Token), fieldsOf("vault:"+kv+"/app#p"), resolver.CheckOptions{})
		assert.Equal(t, kind, v.Fields[0].Kind, "%q: %s", hosts, v)
	}
}

// A list that is longer than Vault stores matches no host.
func TestListOfHostsThatIsTooLong(t *testing.T) {
	t.Parallel()
	server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) {
		secretV2(w, `{"password":"right"}`, `{"luumen_hosts":"web-*`+strings.Repeat(",", 508)+`"}`)
	}}
	run := resolver.Resolve(t.Context(), server.start(t), []resolver.Host{host("web-1", "password", "vault:secret/app#password")}, resolver.Options{})
	assert.ErrorIs(t, collect(run)[0].Err(), resolver.NotForHost)
	assert.Contains(t, codes(run.Report().Findings), resolver.HostsMalformed)
}

// If it is unknown which hosts may get a secret, none gets it, wherever the rest of the
// answer is.
func TestListOfHostsThatIsNoText(t *testing.T) {
	t.Parallel()
	for _, custom := range []string{`{"luumen_hosts":["web-*"]}`, `{"luumen_hosts":7}`, `["luumen_hosts"]`, `"luumen_hosts"`} {
		server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) {
			whole(w, 200, `{"request_id":"5a9f","lease_id":"","data":{"data":{"password":"hidden"},"metadata":{"version":1,"custom_metadata":`, custom, `}},"mount_type":"kv"}`)
		}}
		err := resolver.One(t.Context(), server.start(t), host("web-1", "password", "vault:secret/app#password"), resolver.Options{}).Err()
		assert.ErrorIs(t, err, resolver.BadResponse, custom)
	}
	server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) {
		whole(w, 200, `{"request_id":"5a9f","lease_id":"","data":{"data":{"password":"hidden"}},"mount_type":"kv"}`)
	}}
	err := resolver.One(t.Context(), server.start(t), host("web-1", "password", "vault:secret/app#password"), resolver.Options{}).Err()
	assert.ErrorIs(t, err, resolver.BadResponse, "no metadata")
}

// If Vault's list of mounts is blocked, hosts get nothing but KV secrets, whatever the
// settings say, even with a root token.
func TestNothingButKVIsGivenUnlisted(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	kv1, kv2 := server.KV(t, 1), server.KV(t, 2)
	server.Put(t, kv1, "app", map[string]any{"password": "right"})
	server.Put(t, kv2, "app", map[string]any{"password": "right"})
	server.Must(t, "POST", "sys/mounts/pki", map[string]any{"type": "pki"})
	server.Must(t, "POST", "pki/root/generate/internal", map[string]any{"common_name": "luumen.example"})
	server.Must(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	server.Must(t, "POST", "transit/keys/app", nil)
	server.Must(t, "POST", "sys/mounts/ssh", map[string]any{"type": "ssh"})
	server.Must(t, "POST", "ssh/config/ca", map[string]any{"generate_signing_key": true})
	server.Must(t, "POST", "sys/mounts/database", map[string]any{"type": "database"})
	server.Must(t, "POST", "cubbyhole/app", map[string]any{"password": "hidden"})
	server.Must(t, "POST", "identity/entity", map[string]any{"name": "app"})
	fields := map[string]string{} // by reference, the mount that the settings could name
	for _, text := range []string{
		"pki/cert/ca#certificate", "pki/config/urls#issuing_certificates", "transit/keys/app#name", "transit/keys/app#latest_version", "ssh/config/ca#public_key",
		"ssh/public_key#public_key", "database/config/app#plugin_name", kv2 + "/metadata/app#created_time", kv2 + "/metadata/app#current_version", kv2 + "/config#max_versions",
		kv2 + "/config#delete_version_after", kv2 + "/subkeys/app#subkeys", kv2 + "/data/app#metadata",
	} {
		fields["vault:"+text] = strings.SplitN(text, "/", 2)[0]
	}
	front := behind(t, server, refuses("sys/internal/ui/mounts"))
	for _, version := range []string{"v1", "v2"} {
		for field, mount := range fields {
			vault := auth.New(auth.Settings{Address: front, KVVersion: version}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
			_, err := resolve(t, vault, field)
			assert.Error(t, err, "%s %s", version, field)
			if mount == kv2 {
				continue // who names it as v1 gets what is below metadata/
			}
			vault = auth.New(auth.Settings{Address: front, KVVersion: version, Mounts: []string{mount}}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
			_, err = resolve(t, vault, field)
			assert.Error(t, err, "%s %s, named", version, field)
		}
	}
	for version, mount := range map[string]string{"v1": kv1, "v2": kv2} {
		vault := auth.New(auth.Settings{Address: front, KVVersion: version}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
		credential, err := resolve(t, vault, "vault:"+mount+"/app#password")
		require.NoError(t, err)
		assert.Equal(t, "right", credential.Reveal())
	}
}

// If Vault's list of mounts is blocked and the settings name no mount, what may be the
// metadata of a KV v2 mount is not read as a secret of KV v1, wherever that mount is.
func TestMetadataIsNotReadUnlisted(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	front := behind(t, server, refuses("sys/internal/ui/mounts"))
	for _, kv := range []string{server.KV(t, 2), server.KVAt(t, "team-"+vaulttest.Name()+"/kv", 2)} {
		server.Put(t, kv, "app", map[string]any{"password": "right"})
		vault := auth.New(auth.Settings{Address: front, KVVersion: "v1"}, environment(map[string]string{"VAULT_TOKEN": server.Token}))
		id := vaulttest.Name()
		result := resolver.One(t.Context(), vault, host("h", "password", "vault:"+kv+"/metadata/app#created_time"), resolver.Options{RunID: id})
		assert.ErrorIs(t, result.Err(), resolver.NotKV, kv)
		if requests := server.RequestsBy(t, "run/"+id); assert.Len(t, requests, 1, kv) {
			assert.Equal(t, "auth/token/lookup-self", requests[0].Path)
		}
	}
}

// Results yields once, even to nested and concurrent loops, and nothing hangs.
func TestResultsAreRangedOverOnce(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	hosts := make([]resolver.Host, 20)
	for i := range hosts {
		server.Put(t, kv, fmt.Sprint(i), map[string]any{"p": "x"})
		hosts[i] = host(fmt.Sprint(i), "p", fmt.Sprintf("vault:%s/%d#p", kv, i))
	}
	vault := connect(server, server.Token)
	count := func(run *resolver.Run) (n int) {
		for range run.Results() {
			n++
		}
		return n
	}
	t.Run("within itself", func(t *testing.T) {
		t.Parallel()
		run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
		outer := 0
		for range run.Results() {
			outer++
			assert.Zero(t, count(run))
			assert.NotEmpty(t, run.Report().String(), "printed while it goes on")
		}
		assert.Equal(t, len(hosts), outer)
		assert.Zero(t, count(run))
	})
	t.Run("by several", func(t *testing.T) {
		t.Parallel()
		run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
		counts := make([]int, 8)
		var group sync.WaitGroup
		for i := range counts {
			group.Go(func() { counts[i] = count(run) })
		}
		group.Wait()
		total := 0
		for _, n := range counts {
			total += n
		}
		assert.Equal(t, len(hosts), total)
	})
	t.Run("by iter.Pull, and left", func(t *testing.T) {
		t.Parallel()
		run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{})
		next, stop := iter.Pull2(run.Results())
		_, _, ok := next()
		assert.True(t, ok)
		stop()
		assert.Equal(t, 1, run.Report().Ready)
		assert.Equal(t, len(hosts)-1, run.Report().NotTaken)
	})
}

// Verdicts can be encoded, whatever times a server sends.
func TestEveryTimeCanBeEncoded(t *testing.T) {
	t.Parallel()
	for _, created := range []string{
		"9999-12-31T23:59:59-12:00", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "2026-11-25T00:00:00.123456789+23:59", "nonsense", "", "-1",
	} {
		vault := vaultAt(wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
			switch strings.TrimPrefix(r.URL.Path, "/v1/") {
			case "auth/token/lookup-self":
				always(200, `{"request_id":"1","data":{"accessor":"a","ttl":10,"creation_ttl":100,"expire_time":"`+strings.ReplaceAll(created, "nonsense", "2026-11-25T00:00:00Z")+`","policies":["a"]},"mount_type":"token"}`)(w, r)
			case "sys/internal/ui/mounts":
				always(200, `{"request_id":"1","data":{"secret":{"kv/":{"type":"kv","options":{"version":"2"}}}},"mount_type":"system"}`)(w, r)
			case "sys/health":
				always(200, `{"initialized":true,"server_time_utc":99999999999999,"version":"`+created+`"}`)(w, r)
			default:
				always(200, `{"request_id":"1","data":{"data":{"p":"x"},"metadata":{"version":1,"created_time":"`+created+`","deletion_time":"`+created+`"}},"mount_type":"kv"}`)(w, r)
			}
		}), "hvs.any")
		verdicts := resolver.Check(t.Context(), vault, fieldsOf("vault:kv/a#p"), resolver.CheckOptions{})
		_, err := json.Marshal(verdicts)
		assert.NoError(t, err, created)
		run := resolver.Resolve(t.Context(), vault, []resolver.Host{host("h", "p", "vault:kv/a#p")}, resolver.Options{})
		collect(run)
		_, err = json.Marshal(run.Report())
		assert.NoError(t, err, created)
	}
}
