package fault_test

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/fault"
)

func TestError(t *testing.T) {
	t.Parallel()
	whole := fault.Error{Kind: fault.Unreachable, What: "vault unreachable", Detail: "connection refused", Do: "check the network", Cause: io.EOF}
	for _, f := range []struct {
		name string
		*fault.Error
		want string
	}{
		{"what alone", &fault.Error{What: "no"}, "no"},
		{"what to do", fault.New(fault.Denied, "no", "ask"), "no; ask"},
		{"whole", &whole, "vault unreachable (connection refused); check the network"},
		{"repeated", whole.After(time.Minute), "vault unreachable (connection refused, tried for 60s); check the network"},
		{"repeated, without detail", (&fault.Error{What: "sealed"}).After(2500 * time.Millisecond), "sealed (tried for 2.5s)"},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			assert.EqualError(t, f.Error, f.want)
		})
	}
	repeated := whole.After(time.Second)
	assert.Zero(t, whole.Tried, "the fault it was made from is as it was")
	assert.True(t, whole.OfRun().Run)
	assert.False(t, whole.Run)
	assert.ErrorIs(t, repeated, fault.Unreachable)
	assert.ErrorIs(t, repeated, io.EOF)
	assert.NotErrorIs(t, repeated, fault.TLS)
	kind, ok := errors.AsType[fault.Kind](repeated)
	assert.True(t, ok)
	code, err := json.Marshal(kind)
	assert.NoError(t, err)
	assert.Equal(t, `"unreachable"`, string(code))
}

// The UI gets a reason and a fix for every kind, and nothing of the fault itself.
func TestForUI(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, fault.Kinds())
	for _, kind := range fault.Kinds() {
		reason, fix := kind.Advice()
		assert.NotEmpty(t, reason, kind)
		assert.NotEmpty(t, fix, kind)
		f := &fault.Error{Kind: kind, What: "inside", Detail: "inside", Do: "inside", Cause: errors.New("inside")}
		said, do := f.ForUI()
		assert.Equal(t, []string{reason, fix}, []string{said, do})
		shown, err := json.Marshal(f)
		assert.NoError(t, err)
		assert.NotContains(t, string(shown), "inside")
		assert.Contains(t, string(shown), `"kind":"`+string(kind)+`"`)
		f.Fix = "this"
		_, do = f.ForUI()
		assert.Equal(t, "this", do)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                       "0s",
		20 * time.Millisecond:   "20ms",
		2549 * time.Millisecond: "2.5s",
		3 * time.Second:         "3s",
		61 * time.Second:        "61s",
		time.Hour:               "60 minutes",

		3*time.Hour - time.Second:     "3 hours",
		47 * time.Hour:                "47 hours",
		48 * time.Hour:                "2 days",
		30*24*time.Hour - time.Second: "30 days",
	} {
		assert.Equal(t, want, fault.Duration(d))
	}
}
