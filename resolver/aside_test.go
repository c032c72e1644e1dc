package resolver_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/resolver"
)

// Paths that fail cost their hosts alone, even if they occupied all workers.
func TestPathsThatFailGiveWay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		paths, of, start int // one path of so many fails
		workers          int
		silent           bool
	}{
		{"one of 20 fails, with one worker", 20, 20, 0, 1, false},
		{"one of 20 is silent, with one worker", 20, 20, 0, 1, true},
		{"every 10th is silent, with 4 workers", 200, 10, 3, 4, true},
		{"every 10th fails, with 4 workers", 200, 10, 3, 4, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, path string) {
				n, _ := strconv.Atoi(path[strings.LastIndexByte(path, '/')+1:])
				switch {
				case n%test.of != test.start:
					secretV2(w, `{"password":"x"}`, "null")
				case test.silent:
					<-r.Context().Done()
				default:
					always(500, `{"errors":["1 error occurred:\n\t* failed to read\n\n"]}`)(w, r)
				}
			}}
			vault := auth.New(auth.Settings{Address: h.start(t).Settings().Address}, environment(map[string]string{"VAULT_TOKEN": "hvs.any", "VAULT_CLIENT_TIMEOUT": "1"}))
			run := resolver.Resolve(t.Context(), vault, ofPaths(test.paths, "secret/%d"), resolver.Options{Workers: test.workers, Patience: 4 * time.Second})
			for i, result := range run.Results() {
				assert.Equal(t, i%test.of == test.start, result.Err() != nil, "%d: %v", i, result.Err())
				assert.NotContains(t, result.String(), "log; a full or missing audit device", "others are answered")
			}
		})
	}
}

// A path that fails twice is tried again soon, since many hosts may wait for it.
func TestPathThatFailedIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	const paths = 1500
	var failures atomic.Int32
	h := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, path string) {
		<-time.After(5 * time.Millisecond)
		if strings.HasSuffix(path, "/0") && failures.Add(1) <= 2 {
			always(500, `{"errors":["1 error occurred:\n\t* failed to read\n\n"]}`)(w, r)
			return
		}
		secretV2(w, `{"password":"x"}`, "null")
	}}
	run := resolver.Resolve(t.Context(), h.start(t), ofPaths(paths, "secret/%d"), resolver.Options{Workers: 4})
	var order []int
	for i, result := range run.Results() {
		assert.NoError(t, result.Err())
		order = append(order, i)
	}
	require.Len(t, order, paths)
	assert.Less(t, slices.Index(order, 0), paths*3/4)
	assert.EqualValues(t, 3, failures.Load())
}
