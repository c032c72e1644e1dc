package resolver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// checkOne checks one field and returns its verdict.
func checkOne(t *testing.T, vault *auth.Vault, field string, options resolver.CheckOptions) resolver.Verdict {
	t.Helper()
	v := resolver.Check(t.Context(), vault, fieldsOf(field), options)
	require.Len(t, v.Fields, 1)
	return v.Fields[0]
}

func TestCheckForAHost(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "x\n"})
	server.Metadata(t, kv, "app", map[string]string{"luumen_hosts": "db-*"})
	vault := connect(server, server.ReaderToken(t, kv+"/data/app"))
	field := "vault:" + kv + "/app#password"

	limited := checkOne(t, vault, field, resolver.CheckOptions{})
	assert.Equal(t, resolver.OK, limited.Kind)
	assert.Equal(t, []string{resolver.LimitedToHosts, resolver.TrailingNewline}, codes(limited.Findings))

	right := checkOne(t, vault, field, resolver.CheckOptions{Host: "DB-1"})
	assert.Equal(t, resolver.OK, right.Kind)
	assert.Equal(t, []string{resolver.TrailingNewline}, codes(right.Findings))

	wrong := checkOne(t, vault, field, resolver.CheckOptions{Host: "web-1"})
	assert.Equal(t, resolver.NotForHost, wrong.Kind)
	assert.Empty(t, wrong.Findings, "nothing of the value for a host that must not have it")
	assert.Zero(t, wrong.Version)
}

// A check counts the uses that are left for the next run.
func TestCheckCountsUses(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "x"})
	server.Put(t, kv, "b", map[string]any{"password": "x"})
	fields := fieldsOf("vault:"+kv+"/a#password", "vault:"+kv+"/b#password", "vault:elsewhere/c#password")
	policy := server.Policy(t, fmt.Sprintf("path \"%s/data/*\" { capabilities = [\"read\"] }", kv))

	for _, test := range []struct {
		name        string
		uses        int
		left        int // after one look and two reads
		short, runs bool
	}{
		{"enough", 3 + 4, 4, false, true},
		{"one too few", 3 + 3, 3, true, true},
		{"none", 3, 0, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vault := connect(server, server.NewToken(t, map[string]any{"policies": []string{policy}, "num_uses": test.uses}))
			v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
			require.NotZero(t, v.Connection.Token)
			require.NotNil(t, v.Connection.Token.UsesLeft)
			assert.Equal(t, test.left, *v.Connection.Token.UsesLeft)
			assert.Equal(t, test.short, strings.Contains(strings.Join(codes(v.Connection.Findings), " "), resolver.ShortOfUses))
			if test.short {
				assert.Contains(t, texts(v.Connection.Findings), fmt.Sprintf("warning: the token has %d uses left; a run of these references needs 4; replace it with one without a use limit", test.left))
			}
			assertRoundTrip(t, v)
			run := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
			assert.Equal(t, test.runs, run.Fields[1].Kind == resolver.OK)
		})
	}

	t.Run("of each login", func(t *testing.T) {
		t.Parallel()
		mount, roleID := appRole(t, server, map[string]any{"token_policies": []string{policy}, "token_num_uses": 3, "token_ttl": "1h"})
		vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount}))
		v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{})
		require.NotZero(t, v.Connection.Token)
		assert.Equal(t, new(3), v.Connection.Token.UsesLeft)
		assert.Zero(t, v.Connection.Token.Expires)
		assert.InDelta(t, 3600, v.Connection.Token.TTL, 60)
		assert.Contains(t, texts(v.Connection.Findings), "warning: the token has 3 uses left; a run of these references needs 5; set token_num_uses=0 on its role")
	})
}

// Without fields, a check tests the connection with these requests, and asks for Vault's
// health, which the audit file never shows.
func TestCheckTheConnectionAlone(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)

	run := vaulttest.Name()
	v := resolver.Check(t.Context(), connect(server, server.ReaderToken(t, "any")), nil, resolver.CheckOptions{RunID: run})
	assert.Equal(t, resolver.OK, v.Connection.Kind)
	assert.True(t, v.Connection.Reachable)
	assert.True(t, v.Connection.LoggedIn)
	require.NotNil(t, v.Connection.Health)
	assert.NotEmpty(t, v.Connection.Health.Version)
	assert.Empty(t, v.Fields)
	assertRoundTrip(t, v)
	assert.Equal(t, map[string]int{"read auth/token/lookup-self": 1, "read sys/internal/ui/mounts": 1}, asked(t, server, run))

	run = vaulttest.Name()
	mount, roleID := appRole(t, server, map[string]any{})
	settings := auth.Settings{Address: server.Address, AuthMethod: "approle"}
	v = resolver.Check(t.Context(), auth.New(settings, environment(map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_APPROLE_MOUNT": mount})), nil, resolver.CheckOptions{RunID: run})
	assert.Equal(t, resolver.OK, v.Connection.Kind)
	require.NotZero(t, v.Connection.Token)
	assert.False(t, v.Connection.Token.Given)
	assert.Equal(t, map[string]int{"update auth/" + mount + "/login": 1, "read sys/internal/ui/mounts": 1, "read auth/token/lookup-self": 1, "update auth/token/revoke-self": 1}, asked(t, server, run))
}

// Each field of a check has its own verdict, in the same order.
func TestCheckAnyFields(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	v2, v1 := server.KV(t, 2), server.KV(t, 1)
	server.Put(t, v2, "app", map[string]any{"password": canary.Secret})
	server.Put(t, v1, "app", map[string]any{"password": canary.Secret})
	token := server.ReaderToken(t, v2+"/data/app", v1+"/app")
	texts := []struct {
		field string
		want  resolver.Kind
	}{
		{"vault:" + v2 + "/app#password", resolver.OK},
		{"vault:" + v2 + "/app#password", resolver.OK},
		{"vault:" + v2 + "/app#nothing", resolver.NoKey},
		{"vault:" + v2 + "//app#password", resolver.BadReference},
		{"vault:" + v1 + "/app?version=1#password", resolver.NoVersion},
		{"vault:" + v1 + "/app#password", resolver.OK},
		{"Vault:" + canary.Secret, resolver.BadReference},
		{canary.Secret, resolver.OK},
		{"", resolver.OK},
		{"secret/" + canary.Secret + "#password", resolver.OK},
		{"vault:outside/app#password", resolver.Pinned},
	}
	var fields []ref.Value
	for range 1000 {
		for _, text := range texts {
			fields = append(fields, ref.Parse(text.field))
		}
	}
	fields = append(fields, ref.Value{})
	run := vaulttest.Name()
	vault := auth.New(auth.Settings{Address: server.Address}, environment(map[string]string{"VAULT_TOKEN": token, "LUUMEN_VAULT_PATHS": v1 + "," + v2}))
	v := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{RunID: run})

	require.Len(t, v.Fields, len(fields))
	for i, verdict := range v.Fields[:len(fields)-1] {
		require.Equal(t, texts[i%len(texts)].want, verdict.Kind, "field %d", i)
		require.Equal(t, fields[i].Ref(), verdict.Ref)
		require.Equal(t, verdict.Kind != resolver.OK, verdict.Fix != "" && verdict.Text != "")
	}
	assert.Equal(t, resolver.Verdict{Problem: resolver.Problem{Kind: resolver.OK}}, v.Fields[len(fields)-1])
	assert.Equal(t, []string{resolver.OddField}, codes(v.Fields[9].Findings))
	assert.Equal(t, []resolver.Mount{{Path: min(v1, v2), Version: map[bool]int{true: 1, false: 2}[v1 < v2]}, {Path: max(v1, v2), Version: map[bool]int{true: 2, false: 1}[v1 < v2]}}, v.Mounts)
	assert.Equal(t, map[string]int{"read auth/token/lookup-self": 1, "read sys/internal/ui/mounts": 1,
		"read " + v2 + "/data/app": 1, "read " + v1 + "/app": 1, "update sys/capabilities-self": 1}, asked(t, server, run))
	assertRoundTrip(t, v)
	assertSilent(t, v)
}

// A person waits for one patience and no more, however many fields there are.
func TestCheckOfADeadVault(t *testing.T) {
	t.Parallel()
	fields := make([]ref.Value, 10_000)
	for i := range fields {
		fields[i] = ref.Parse(fmt.Sprintf("vault:kv/%d#password", i))
		if i%2 == 1 {
			fields[i] = ref.Parse(fmt.Sprintf("vault:kv//%d#%s", i, canary.Secret))
		}
	}
	const patience = 500 * time.Millisecond
	began := time.Now()
	v := resolver.Check(t.Context(), vaultAt("http://"+vaulttest.ClosedPort(t), canary.Secret), fields, resolver.CheckOptions{Patience: patience})
	assert.Less(t, time.Since(began), aWhile)
	assert.Equal(t, resolver.Unreachable, v.Connection.Kind)
	assert.False(t, v.Connection.Reachable)
	assert.False(t, v.Connection.LoggedIn)
	require.Len(t, v.Fields, len(fields))
	for i, verdict := range v.Fields {
		if i%2 == 1 {
			require.Equal(t, resolver.BadReference, verdict.Kind)
		} else {
			require.Equal(t, resolver.Unreachable, verdict.Kind)
		}
	}
	assertRoundTrip(t, v)
	assertSilent(t, v)
	assert.Contains(t, v.String(), "10000 of 10000 fields would not be resolved, 5000 of them because of the connection")
}

func TestCheckHasAPatienceOfThreeSeconds(t *testing.T) {
	t.Parallel()
	address := "http://" + vaulttest.ClosedPort(t)
	synctest.Test(t, func(t *testing.T) {
		v := resolver.Check(t.Context(), vaultAt(address, "token"), nil, resolver.CheckOptions{})
		assert.Contains(t, v.Connection.Text, "tried for 3s")
	})
}

// A canceled check says so for each field.
func TestCanceledCheck(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	vault := vaultAt(wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}), "token")
	v := resolver.Check(ctx, vault, fieldsOf("vault:a/b#c", "vault:a//b#c", "literal"), resolver.CheckOptions{})
	assert.Equal(t, resolver.Canceled, v.Connection.Kind)
	require.Len(t, v.Fields, 3)
	assert.Equal(t, resolver.Canceled, v.Fields[0].Kind)
	assert.Equal(t, resolver.BadReference, v.Fields[1].Kind)
	assert.Equal(t, resolver.OK, v.Fields[2].Kind)
}

// An error that ends a check while it reads is also that of the connection.
func TestCheckEndsWhileItReads(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	fields := fieldsOf("vault:secret/a#b", "vault:secret/c#d")
	reading := func(answer http.HandlerFunc) *auth.Vault {
		return vaultAt(behind(t, server, func(w http.ResponseWriter, path string) bool {
			reads := strings.HasPrefix(path, "secret/data/")
			if reads {
				answer(w, nil)
			}
			return reads
		}), server.Token)
	}
	t.Run("sealed", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), reading(always(503, `{"errors":["Vault is sealed"]}`)), fields, resolver.CheckOptions{Patience: brief})
		assert.Equal(t, resolver.Sealed, v.Connection.Kind)
		assert.True(t, v.Connection.LoggedIn)
		assert.Equal(t, resolver.Sealed, v.Fields[1].Kind)
	})
	t.Run("the token dies", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), reading(always(403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)), fields, resolver.CheckOptions{})
		assert.Equal(t, resolver.Token, v.Connection.Kind)
		assert.False(t, v.Connection.LoggedIn)
		assert.Equal(t, resolver.Token, v.Fields[1].Kind)
	})
	t.Run("canceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		vault := reading(func(w http.ResponseWriter, _ *http.Request) {
			cancel()
			always(503, `{"errors":["Vault is sealed"]}`)(w, nil)
		})
		v := resolver.Check(ctx, vault, fields, resolver.CheckOptions{})
		assert.Equal(t, resolver.Canceled, v.Connection.Kind)
		assert.Equal(t, resolver.Canceled, v.Fields[1].Kind)
	})
	t.Run("one path fails alone", func(t *testing.T) {
		t.Parallel()
		v := resolver.Check(t.Context(), reading(always(500, `{"errors":["internal error"]}`)), fields[:1], resolver.CheckOptions{Patience: brief})
		assert.Equal(t, resolver.ServerError, v.Fields[0].Kind)
	})
}

// A check that ends while reads are under way at a slow Vault says so, and not that Vault
// does not answer. Of a path that only meets 429s it says that.
func TestCheckEndsBeforeASlowVaultAnswers(t *testing.T) {
	t.Parallel()
	h := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, path string) {
		if strings.HasSuffix(path, "refused") {
			always(429, `{"errors":["request path \"x\": rate limit quota exceeded"]}`)(w, r)
			return
		}
		select {
		case <-time.After(800 * time.Millisecond):
		case <-r.Context().Done():
		}
		secretV2(w, `{"password":"x"}`, "null")
	}}
	vault := auth.New(auth.Settings{Address: h.start(t).Settings().Address}, environment(map[string]string{"VAULT_TOKEN": "hvs.any", "VAULT_CLIENT_TIMEOUT": "3"}))
	texts := []string{"vault:secret/refused#password"}
	for i := range 200 {
		texts = append(texts, fmt.Sprintf("vault:secret/%d#password", i))
	}
	fields := resolver.Check(t.Context(), vault, fieldsOf(texts...), resolver.CheckOptions{}).Fields
	assert.Equal(t, resolver.RateLimited, fields[0].Kind, fields[0].Text)
	unread := 0
	for _, field := range fields[1:] {
		if field.Kind != resolver.OK {
			unread++
			assert.Contains(t, field.Text, "vault answers too slowly for a check")
		}
	}
	assert.NotZero(t, unread)
}

// What a check says of a Vault that is unwell does not depend on how short an attempt is.
func TestCheckWithShortAttempts(t *testing.T) {
	t.Parallel()
	for kind, h := range map[resolver.Kind]http.HandlerFunc{
		resolver.Sealed:       always(503, `{"errors":["Vault is sealed"]}`),
		resolver.NoActiveNode: always(500, `{"errors":["local node not active but active cluster node not found"]}`),
	} {
		for _, fields := range [][]ref.Value{nil, fieldsOf("vault:kv/a#b", "vault:kv/c#d")} {
			t.Run(fmt.Sprint(kind, len(fields)), func(t *testing.T) {
				t.Parallel()
				vault := auth.New(auth.Settings{Address: wrongServer(t, h)}, environment(map[string]string{"VAULT_TOKEN": "hvs.any", "VAULT_CLIENT_TIMEOUT": "1"}))
				assert.Equal(t, kind, resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{}).Connection.Kind)
			})
		}
	}
}
