package transport

import (
	"context"
	"net/http"

	"github.com/luumen/patch-vault/internal/patience"
)

// Own describes a request of the library's own. Its answer has Vault's usual form; answers
// to a caller's requests may have any.
type Own struct {
	Optional End  // when it gives up; 0 if the run cannot go on without its answer
	Harmless bool // safe to repeat, whatever its method
	Decides  bool // it is optional, but no other request shows whether Vault accepts the token

	// Request is the request as Patience sees it; nil means one in no group, which never gives way.
	Request *patience.Request
}

// End is when an optional request gives up, if a proxy may block it alone. The first one
// that hangs gives up after a quarter of patience, and the next after a twelfth, so that
// together they cost a third. While Vault as a whole is down, they wait like others.
type End int

const (
	AtOnce   End = iota + 1
	InAWhile     // after a quarter of patience
)

type ownKey struct{}

// WithOwn marks the requests of a context as the library's own.
func WithOwn(ctx context.Context, own Own) context.Context {
	return context.WithValue(ctx, ownKey{}, own)
}

// ownIn describes the requests of a context. It reports false for a caller's.
func ownIn(ctx context.Context) (own Own, isOwn bool) {
	own, isOwn = ctx.Value(ownKey{}).(Own)
	return own, isOwn
}

// IsOwn reports whether a request is the library's own.
func IsOwn(request *http.Request) bool {
	_, isOwn := ownIn(request.Context())
	return isOwn
}

// IsOptional reports whether the run can go on without the answer to a request.
func IsOptional(request *http.Request) bool {
	own, _ := ownIn(request.Context())
	return own.Optional != 0
}

// Decides reports whether a denial of a request may show that Vault refuses the token.
func Decides(request *http.Request) bool {
	own, _ := ownIn(request.Context())
	return own.Optional == 0 || own.Decides
}

// IsHarmless reports whether a request is safe to repeat.
func IsHarmless(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, "LIST":
		return true
	}
	own, _ := ownIn(request.Context())
	return own.Harmless
}
