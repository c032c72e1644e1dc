package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// A given token is looked up once. It is renewed in the second half of its life, and a
// warning says if it expires soon.
func TestGivenToken(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	for _, test := range []struct {
		name     string
		settings map[string]any
		requests []string // before the read
		warnings []string
		expires  time.Duration // 0 means never
		uses     int
	}{
		{"long-lived", map[string]any{"ttl": "400h"}, []string{"lookup-self"}, nil, 400 * time.Hour, 0},
		{"for 170 hours", map[string]any{"ttl": "170h"}, []string{"lookup-self"}, nil, 170 * time.Hour, 0},
		{"for 150 hours", map[string]any{"ttl": "150h"}, []string{"lookup-self"}, []string{"the given token expires at"}, 150 * time.Hour, 0},
		{"short-lived", map[string]any{"ttl": "100h"}, []string{"lookup-self"}, []string{"the given token expires at", "replace it"}, 100 * time.Hour, 0},
		{"not renewable", map[string]any{"ttl": "100h", "renewable": false}, []string{"lookup-self"}, []string{"replace it"}, 100 * time.Hour, 0},
		{"periodic", map[string]any{"period": "24h"}, []string{"lookup-self"}, []string{"a run before then renews it"}, 24 * time.Hour, 0},
		{"periodic and long", map[string]any{"period": "400h"}, []string{"lookup-self"}, nil, 400 * time.Hour, 0},
		{"few uses", map[string]any{"ttl": "400h", "num_uses": 9}, []string{"lookup-self"}, nil, 400 * time.Hour, 8},
		{"batch", map[string]any{"ttl": "400h", "type": "batch"}, []string{"lookup-self"}, nil, 400 * time.Hour, 0},
		{"may not look at itself", map[string]any{"ttl": "1h", "no_default_policy": true}, []string{"lookup-self"}, []string{"expiry is unknown", "may not read auth/token/lookup-self"}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.settings["policies"] = []string{secret.policy}
			r := readOnce(t.Context(), at(server, "", variables{"VAULT_TOKEN": server.NewToken(t, test.settings)}), secret.path)
			require.NoError(t, r.err)
			assert.Equal(t, []int{200}, r.status)
			var want []string
			for _, request := range test.requests {
				want = append(want, "auth/token/"+request)
			}
			assert.Equal(t, append(want, secret.path), r.requests(t, server))
			if test.warnings == nil {
				assert.Empty(t, r.warnings())
			} else if assert.Len(t, r.warnings(), 1) {
				for _, part := range test.warnings {
					assert.Contains(t, r.warnings()[0], part)
				}
			}
			token := r.usage.Token
			assert.Equal(t, token.Expires.UTC().Truncate(time.Second), token.Expires)
			assert.True(t, token.Given)
			assert.Equal(t, !strings.Contains(test.name, "may not"), token.Known)
			assert.Equal(t, test.name == "batch", token.Batch)
			if test.uses == 0 {
				assert.Nil(t, token.UsesLeft)
			} else {
				assert.Equal(t, &test.uses, token.UsesLeft)
			}
			if test.expires == 0 {
				assert.Zero(t, token.Expires)
			} else {
				assert.WithinDuration(t, time.Now().Add(test.expires), token.Expires, time.Minute)
			}
		})
	}
	t.Run("root", func(t *testing.T) {
		t.Parallel()
		r := readOnce(t.Context(), at(server, "", variables{"VAULT_TOKEN": server.Token}), secret.path)
		require.NoError(t, r.err)
		assert.Empty(t, r.warnings())
		assert.Zero(t, r.usage.Token.Expires)
		assert.Equal(t, []string{"root"}, r.usage.Token.Policies)
	})
}

// A renewable token below half of its time to live is renewed. Renewing this one for a
// minute has brought it there.
func TestGivenTokenIsRenewed(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	for _, test := range []struct {
		name    string
		renewal string // the policy on it
		renewed bool
		warning string
	}{
		{"renewed", "", true, "expires at"},
		{"refused", `path "auth/token/renew-self" { capabilities = ["deny"] }`, false, "could not be renewed; grant update on auth/token/renew-self"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := server.NewToken(t, map[string]any{"policies": []string{secret.policy, server.Policy(t, test.renewal+` path "auth/token/none" { capabilities = ["read"] }`)}, "ttl": "1h"})
			server.Must(t, "POST", "auth/token/renew", map[string]any{"token": token, "increment": "1m"})
			vault := at(server, "", variables{"VAULT_TOKEN": token})
			r := readOnce(t.Context(), vault, secret.path)
			require.NoError(t, r.err)
			assert.Equal(t, []string{"auth/token/lookup-self", "auth/token/renew-self", secret.path}, r.requests(t, server))
			assert.Contains(t, strings.Join(r.warnings(), "|"), test.warning)
			assert.Equal(t, r.usage.Token.Expires.UTC().Truncate(time.Second), r.usage.Token.Expires)
			assert.Equal(t, test.renewed, time.Until(r.usage.Token.Expires) > 10*time.Minute, "expires in %s", time.Until(r.usage.Token.Expires))
		})
	}
}

// A renewal costs one of the uses, and so does the look-up.
func TestRenewalCostsAUse(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	token := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "1h", "num_uses": 5})
	server.Must(t, "POST", "auth/token/renew", map[string]any{"token": token, "increment": "1m"})
	r := readOnce(t.Context(), at(server, "", variables{"VAULT_TOKEN": token}), secret.path, secret.path, secret.path)
	require.NoError(t, r.err)
	assert.Equal(t, []int{200, 200, 200}, r.status)
	assert.Equal(t, new(3), r.usage.Token.UsesLeft, "before the reads")
}

// A blocked renewal is a warning, and costs no wait.
func TestRenewalIsBlocked(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 500, 503} {
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/lookup-self"):
				say(w, 200, `{"request_id":"1","data":{"ttl":1000,"creation_ttl":3600,"period":3600,"expire_time":"`+time.Now().Add(1000*time.Second).Format(time.RFC3339)+`","renewable":true,"type":"service"}}`)
			case strings.HasSuffix(r.URL.Path, "/renew-self"):
				http.Error(w, "<html>", status)
			default:
				return false
			}
			return true
		})
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "t"}.options()), "secret/app")
		require.NoError(t, r.err)
		assert.Equal(t, []string{"GET auth/token/lookup-self", "PUT auth/token/renew-self", "GET secret/app"}, server.requests())
		assert.Contains(t, strings.Join(r.warnings(), "|"), "could not be renewed: Vault did not answer auth/token/renew-self; if a proxy in front of Vault blocks it, let it pass, or replace the token before ")
		assert.Contains(t, strings.Join(r.warnings(), "|"), fmt.Sprintf("(the server is not Vault, or a proxy interferes (status %d, text/plain", status))
		assert.NotContains(t, strings.Join(r.warnings(), "|"), "a run before then")
	}
}

// A token that is dead from the start is an error of kind token that says what to do,
// after one request.
func TestDeadGivenToken(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	create := func(settings map[string]any) string {
		settings["policies"] = []string{secret.policy}
		return server.NewToken(t, settings)
	}
	revoked := create(map[string]any{"ttl": "1h"})
	server.Must(t, "POST", "auth/token/revoke", map[string]any{"token": revoked})
	elsewhere := server.AppRole(t, map[string]any{"token_policies": secret.policy, "token_bound_cidrs": "192.0.2.0/24"})
	bound := vaulttest.Text(server.Must(t, "POST", "auth/"+elsewhere.Mount+"/login", map[string]any{"role_id": elsewhere.RoleID, "secret_id": elsewhere.SecretID(t, nil)}), "auth", "client_token")
	file := inFile(t, revoked)
	for _, test := range []struct {
		name string
		v    variables
		says []string
	}{
		{"revoked", variables{"VAULT_TOKEN": revoked}, []string{"expired, revoked or used up", "set VAULT_TOKEN to a new one", "restart the agent"}},
		{"revoked, in a file", variables{"VAULT_TOKEN_FILE": file}, []string{"expired, revoked or used up", "write a new one to " + file + " (VAULT_TOKEN_FILE)"}},
		{"never one", variables{"VAULT_TOKEN": "hvs.nonsense"}, []string{"expired, revoked or used up"}},
		{"of another place", variables{"VAULT_TOKEN": bound}, []string{"vault refuses the token itself", "token_bound_cidrs", "entity is not disabled"}},
		{"with one use left", variables{"VAULT_TOKEN": create(map[string]any{"ttl": "1h", "num_uses": 1})}, []string{"had one use left"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := readOnce(t.Context(), at(server, "", test.v), secret.path)
			assertKind(t, r.err, fault.Token, test.says...)
			assert.Equal(t, []string{"auth/token/lookup-self"}, r.requests(t, server))
			assert.False(t, strings.Contains(r.err.Error(), test.v["VAULT_TOKEN"]) && test.v["VAULT_TOKEN"] != "", "the error shows the token")
		})
	}
}

// When the token from a file is dead, the file may hold a new one. It is read once more,
// and the new token is looked up.
func TestTokenFileIsReadOnceMore(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	secret := newSecret(t, server)
	fresh := server.NewToken(t, map[string]any{"policies": []string{secret.policy}, "ttl": "400h"})
	file := inFile(t, "hvs.dead")
	// The file changes between the first look-up and the second reading.
	between := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("X-Vault-Token") == "hvs.dead" {
			write(t, file, fresh)
			say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
			return true
		}
		return false
	})
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: between.address}, variables{"VAULT_TOKEN_FILE": file}.options()), "secret/app")
	require.NoError(t, r.err)
	assert.Equal(t, []string{"GET auth/token/lookup-self", "GET auth/token/lookup-self", "GET secret/app"}, between.requests())
	assert.True(t, between.all()[2].Header.Get("X-Vault-Token") == fresh)
	assert.True(t, r.usage.Token.Known)
}

// What a look-up says of a token decides what is said of its expiry.
func TestWhatIsSaidOfAnExpiry(t *testing.T) {
	t.Parallel()
	const agents = "a Vault Agent or Proxy answers with its own token"
	const day = 24 * 60 * 60
	inVariable, inAFile := variables{"VAULT_TOKEN": "t"}, variables{"VAULT_TOKEN_FILE": inFile(t, "t")}
	for _, test := range []struct {
		name    string
		v       variables
		ttl     int // in seconds
		of      int // when it was created
		members string
		says    string
	}{
		{"periodic", inVariable, 2000, 3600, `"id":"t","accessor":"a","renewable":true,"period":3600`, "a run before then renews it"},
		{"periodic, but not for ever", inVariable, 2000, 3600, `"id":"t","accessor":"a","renewable":true,"period":3600,"explicit_max_ttl":7200`, "; replace it"},
		{agents, inVariable, 2000, 3600, `"id":"hvs.agents-own","renewable":true`, ""},
		{"in a file, with more than a tenth left", inAFile, 500, 3600, `"id":"t","accessor":"a","renewable":false`, ""},
		{"in a file, with less than a tenth left", inAFile, 300, 3600, `"id":"t","accessor":"a","renewable":false`, "; replace it"},
		{"in a file, made for 30 days, with 5 left", inAFile, 5 * day, 30 * day, `"id":"t","accessor":"a","renewable":false`, "; replace it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
				isLookup := strings.HasSuffix(r.URL.Path, "/lookup-self")
				if isLookup {
					say(w, 200, `{"request_id":"1","data":{"ttl":`+fmt.Sprint(test.ttl)+`,"creation_ttl":`+fmt.Sprint(test.of)+`,"expire_time":"`+time.Now().Add(time.Duration(test.ttl)*time.Second).Format(time.RFC3339)+`","type":"service",`+test.members+`},"mount_type":"token"}`)
				}
				return isLookup
			})
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, test.v.options()), "secret/app")
			require.NoError(t, r.err)
			assert.Equal(t, []string{"GET auth/token/lookup-self", "GET secret/app"}, server.requests())
			warnings := strings.Join(r.warnings(), "|")
			assert.Contains(t, warnings, test.says)
			assert.Equal(t, test.says == "", warnings == "", warnings)
			assert.Equal(t, test.name != agents, r.usage.Token.Known)
			assert.True(t, r.usage.Token.Proven)
		})
	}
}

// A proxy that blocks the look-up hides when the token expires. That is worth a warning only if
// the token worked: otherwise, the error says more.
func TestUnknownExpiryOfADeadToken(t *testing.T) {
	t.Parallel()
	for _, serving := range []int32{0, 1} {
		var served atomic.Int32
		server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/lookup-self"):
				say(w, 403, `{"errors":["blocked by the gateway"]}`)
			case served.Load() == serving:
				say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`) // as Vault 1.21 says it
			default:
				served.Add(1)
				return false
			}
			return true
		})
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "hvs.given"}.options()), "secret/app", "secret/app")
		assertKind(t, r.err, fault.Token, "expired, revoked or used up")
		isUnknown := func(f auth.Finding) bool { return f.Code == auth.TokenExpiryUnknown }
		assert.Equal(t, serving > 0, slices.ContainsFunc(r.usage.Findings, isUnknown), "it served %d times", serving)
	}
}

// TokenOf hands out copies of what it knows.
func TestTokenOfIsACopy(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		say(w, 200, `{"request_id":"1","data":{"accessor":"a","id":"s.1","num_uses":50,"policies":["p"],"ttl":0,"type":"service"}}`)
		return true
	})
	_, err := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN": "s.1"}.options()).Do(t.Context(), auth.DoOptions{}, func(ctx context.Context, _ *api.Client) error {
		token := auth.TokenOf(ctx)
		token.Policies[0], *token.UsesLeft = "root", 7777
		assert.Equal(t, []string{"p"}, auth.TokenOf(ctx).Policies)
		assert.Equal(t, 50, *auth.TokenOf(ctx).UsesLeft)
		return nil
	})
	require.NoError(t, err)
}

// A token's time to live counts from when its login was sent, not from earlier logins that
// Vault did not answer.
func TestLoginAfterAnOutage(t *testing.T) {
	t.Parallel()
	var began atomic.Pointer[time.Time]
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case began.CompareAndSwap(nil, new(time.Now())), time.Since(*began.Load()) < 2*time.Second:
			say(w, 503, `{"errors":["Vault is sealed"]}`)
		case strings.HasSuffix(r.URL.Path, "/login"):
			say(w, 200, `{"request_id":"1","auth":{"client_token":"s.1","accessor":"a","token_type":"service","lease_duration":3}}`)
		default:
			return false
		}
		return true
	})
	usage, err := auth.New(auth.Settings{Address: server.address, AuthMethod: "approle"}, variables{"VAULT_ROLE_ID": "r"}.options()).Do(t.Context(), auth.DoOptions{}, func(context.Context, *api.Client) error { return nil })
	require.NoError(t, err)
	assert.Greater(t, usage.Token.TTL, 1, "seconds")
}
