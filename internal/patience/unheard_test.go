package patience_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// A balancer leads new connections to a node that is gone as well. That it does
// so for one request several times, while others are answered over the
// connections they have, is no fault of the request.
func TestNewConnectionsToANodeThatIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := *reset
		gone.Unheard = true
		r := play(t.Context(), patience.New(budget, 0, 0), 20_000, workers, func(request, try int, _ time.Duration) (time.Duration, *fault.Error) {
			if request == 100 && try <= 5 {
				return roundTrip, &gone
			}
			return blip, nil
		})
		assert.Empty(t, r.failed())
	})
}
