package balancer_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/balancer"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m)) }

func TestConnectionsGoRoundTheServers(t *testing.T) {
	t.Parallel()
	var servers []string
	for _, name := range []string{"a", "b"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }))
		defer server.Close()
		servers = append(servers, server.URL)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	b, err := balancer.Start(append(servers, gone.URL)...)
	require.NoError(t, err)
	defer b.Stop()

	var answers strings.Builder
	kept := &http.Transport{DisableKeepAlives: true}
	for range 6 {
		answers.WriteString(ask(kept, b.Address))
	}
	assert.Equal(t, "ab-ab-", answers.String(), "a server that is gone takes its turn, too")
	assert.Equal(t, 6, b.Accepted())

	kept.DisableKeepAlives = false
	assert.Equal(t, "aaa", ask(kept, b.Address)+ask(kept, b.Address)+ask(kept, b.Address), "a kept connection leads to one server")
	assert.Equal(t, 7, b.Accepted())
	kept.CloseIdleConnections()
	assert.Eventually(t, func() bool { return b.Open() == 0 }, 5*time.Second, time.Millisecond)
}

func TestStopEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	mute := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer mute.Close()
	b, err := balancer.Start(mute.URL)
	require.NoError(t, err)
	answer := make(chan string)
	go func() { answer <- ask(new(http.Transport), b.Address) }()
	require.Eventually(t, func() bool { return b.Open() == 1 }, 5*time.Second, time.Millisecond)
	b.Stop()
	assert.Equal(t, "-", <-answer)
	assert.Zero(t, b.Open())
}

// ask returns the answer's body; "-" if there is none.
func ask(transport *http.Transport, address string) string {
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return err.Error()
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "-"
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}
