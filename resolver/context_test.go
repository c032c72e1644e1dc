package resolver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// A run, One and a check end in time with a context of any type: well if
// it has not ended, and within patience if Vault is silent.
func TestContextOfAnyType(t *testing.T) {
	t.Parallel()
	well := (&hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) { secretV2(w, `{"password":"x"}`, "null") }}).start(t)
	mute := wrongServer(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // until then, nobody sees that the client has gone
		<-r.Context().Done()
	})
	silent := auth.New(auth.Settings{Address: mute}, environment(map[string]string{"VAULT_TOKEN": "hvs.any", "VAULT_CLIENT_TIMEOUT": "1"}))
	for _, server := range []struct {
		name     string
		vault    *auth.Vault
		patience time.Duration
		kind     resolver.Kind // of a context that has not ended
	}{
		{"well", well, 10 * brief, ""}, // which is not waited out
		{"silent", silent, time.Second, resolver.Unreachable},
	} {
		for _, odd := range vaulttest.OddContexts() {
			t.Run(server.name+", "+odd.Name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				options := resolver.Options{Patience: server.patience}
				one := resolver.One(odd.Context(), server.vault, host("h", "password", "vault:secret/app#password"), options)
				run := resolver.Resolve(odd.Context(), server.vault, append(ofPaths(20, "secret/%d"), host("l", "password", "x")), options)
				results := collect(run)
				verdicts := resolver.Check(odd.Context(), server.vault, fieldsOf("vault:secret/app#password"), resolver.CheckOptions{Patience: server.patience})
				assert.Less(t, time.Since(began), aWhile)
				require.Len(t, results, 21)
				assert.NoError(t, results[20].Err())
				want := server.kind
				if odd.Ended {
					want = resolver.Canceled
				}
				for _, err := range []error{one.Err(), results[0].Err(), results[19].Err()} {
					if want == "" {
						assert.NoError(t, err)
					} else {
						assert.Equal(t, want, kindOf(err), "%v", err)
					}
				}
				if want == "" {
					want = resolver.OK
				}
				assert.Equal(t, want, verdicts.Fields[0].Kind)
				for _, v := range []any{one.Err(), run.Report(), verdicts} {
					_, err := json.Marshal(v)
					assert.NoError(t, err)
				}
				assert.NotEmpty(t, fmt.Sprint(one, run.Report(), verdicts))
			})
		}
	}
}

// A context that ends midway, without an error, ends the run at once.
func TestContextEndsWithoutAnError(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	server := &hostileVault{}
	server.read = func(_ http.ResponseWriter, r *http.Request, _ string) {
		if server.reads.Load() == 1 {
			close(done)
		}
		<-r.Context().Done()
	}
	began := time.Now()
	results := collect(resolver.Resolve(&endable{Context: context.Background(), done: done}, server.start(t), ofPaths(1, "secret/%d"), resolver.Options{}))
	assert.Less(t, time.Since(began), aWhile/2)
	assert.ErrorIs(t, results[0].Err(), context.Canceled)
}
