package reply

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// Read reads a path of Vault's API below /v1/, and decodes the data of the answer into
// what data points to. The error is a *fault.Error, [patience.ErrAside], or that of a
// context.
func Read(ctx context.Context, client *api.Client, path string, query url.Values, data any) (*Answer, error) {
	response, err := client.Logical().ReadRawWithDataWithContext(ctx, path, query)
	answer, err := answerIn(response, err, data)
	if err == nil && answer.Status == http.StatusNoContent {
		return nil, NoContent()
	}
	return answer, err
}

// Write sends a body as JSON to a path of Vault's API; see Read.
func Write(ctx context.Context, client *api.Client, path string, body, data any) (*Answer, error) {
	text, _ := json.Marshal(body) // cannot fail: the library's own bodies hold texts and numbers
	response, err := client.Logical().WriteRawWithContext(ctx, path, text)
	return answerIn(response, err, data)
}

// answerIn returns the answer of a client's method. For status 400 and above, vault/api
// returns an error as well.
func answerIn(response *api.Response, err error, data any) (*Answer, error) {
	if response == nil {
		return nil, faultIn(err)
	}
	return Parse(response.Response, data)
}

// Unanswered says why a request of the library's own has no answer, and what to do, given the
// error of Read or Write.
func Unanswered(path string, err error) string {
	if errors.Is(err, fault.RateLimited) {
		return "a rate limit refused " + path + "; raise it"
	}
	return "Vault did not answer " + path + "; if a proxy in front of Vault blocks it, let it pass"
}

// faultIn returns what Read returns for the error of a client's method.
func faultIn(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	for _, other := range []error{patience.ErrAside, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return other
		}
	}
	return NotVault("")
}
