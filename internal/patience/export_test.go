package patience

import (
	"context"
	"time"
)

// Do tries a request that never gives way.
func (p *Patience) Do(ctx context.Context, send func(ctx context.Context, limit time.Duration) *Failure) error {
	return p.Try(ctx, &Request{}, send)
}
