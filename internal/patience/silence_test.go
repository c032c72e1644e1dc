package patience_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// A request that its caller gives up without an answer has been waited for, though it did
// not fail.
func TestWaitForARequestThatIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(time.Minute, patience.Limits{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := p.Do(ctx, func(ctx context.Context, _ time.Duration) *patience.Failure {
			<-ctx.Done()
			return &patience.Failure{Retry: patience.Later}
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		_, waited := p.Stats()
		assert.Equal(t, 5*time.Second, waited)
		silence, last := p.Silence()
		assert.Equal(t, 5*time.Second, silence)
		assert.Nil(t, last)

		require.NoError(t, p.Do(t.Context(), answered))
		time.Sleep(time.Hour)
		silence, _ = p.Silence()
		assert.Zero(t, silence, "Vault has answered since")
	})
}

// A proxy may block one request alone. If that is given up in silence after the whole budget,
// and nothing else has failed, the next request shows whether Vault is down.
func TestSilentRequestThatIsGivenUp(t *testing.T) {
	t.Parallel()
	silent := func(context.Context, time.Duration) *patience.Failure {
		time.Sleep(2 * budget)
		return late.GivenUp()
	}
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		assert.ErrorIs(t, p.Do(t.Context(), silent), fault.Unreachable)
		assert.Nil(t, p.Over())
		assert.NoError(t, p.Do(t.Context(), answered), "Vault is well")
	})
	synctest.Test(t, func(t *testing.T) {
		p := patience.New(budget, patience.Limits{})
		assert.Error(t, p.Do(t.Context(), silent))
		assert.Error(t, p.Do(t.Context(), silent))
		require.NotNil(t, p.Over(), "two show that Vault is down")
		assert.ErrorIs(t, p.Over(), fault.Unreachable)
	})
}
