package auth_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
)

// The token file is read again for one request while the token of another is
// explained. The race detector checks that they do not disturb each other.
func TestTokenFileIsReadWhileItsTokenIsExplained(t *testing.T) {
	t.Parallel()
	var arrived sync.WaitGroup
	arrived.Add(2)
	server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
		status, body := 0, ""
		switch {
		case strings.HasSuffix(r.URL.Path, "/fails"):
			status, body = 500, `{"errors":["failed to look up namespace from the token"]}`
		case strings.HasSuffix(r.URL.Path, "/refused"):
			status, body = 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`
		default:
			return false
		}
		arrived.Done()
		arrived.Wait()
		say(w, status, body)
		return true
	})
	vault := auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN_FILE": inFile(t, "/a/file")}.options())
	_, err := do(t.Context(), vault, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		var group sync.WaitGroup
		for _, path := range []string{"secret/fails", "secret/refused"} {
			group.Go(func() {
				_, err := get(ctx, client, path)
				assertKind(t, err, fault.Token, "the credential in VAULT_TOKEN_FILE looks like the name of a file: set VAULT_TOKEN_FILE to it; otherwise, ")
			})
		}
		group.Wait()
		return nil
	})
	assert.NoError(t, err)
}
