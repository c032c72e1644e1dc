package client_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/client"
	"github.com/luumen/patch-vault/internal/fault"
)

// Marked texts that no message may hold: the token of every request here, and
// what stands in the bodies of wrong servers.
const (
	token     = "hvs.CANARYtoken0123456789"
	bodyWords = "CANARYbody"
)

// generous is a time that no attempt here needs.
const generous = 30 * time.Second

// raw serves each connection with the function, which has read a request when
// it is called. It tells how many requests came.
type raw struct {
	address  *url.URL
	requests atomic.Int64
}

func serveRaw(t *testing.T, answer func(net.Conn)) *raw {
	t.Helper()
	r := &raw{}
	r.address = serveConnections(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			r.requests.Add(1)
			answer(conn)
		}
	})
	return r
}

// says writes an answer as it stands, with the line ends that HTTP has.
func says(lines ...string) func(net.Conn) {
	return func(conn net.Conn) { conn.Write([]byte(strings.Join(lines, "\r\n"))) }
}

// answers makes an answer with the right length.
func answers(status int, contentType, body string, header ...string) func(net.Conn) {
	lines := []string{fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), fmt.Sprintf("Content-Length: %d", len(body))}
	if contentType != "" {
		lines = append(lines, "Content-Type: "+contentType)
	}
	return says(append(append(lines, header...), "", body)...)
}

// vault makes an answer of Vault's.
func vault(status int, body string, header ...string) func(net.Conn) {
	return answers(status, "application/json", body, header...)
}

// newClient makes a client that is closed when the test ends.
func newClient(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	if config.Timeout == 0 {
		config.Timeout = generous
	}
	if config.Connections == 0 {
		config.Connections = 4
	}
	config.UserAgent = "test"
	c := client.New(config)
	t.Cleanup(c.Close)
	return c
}

// read sends one read with the token.
func read(t *testing.T, c *client.Client) (*client.Answer, *fault.Error) {
	t.Helper()
	return readInto(t, c, nil)
}

// readInto is read for the data of the answer.
func readInto(t *testing.T, c *client.Client, data any) (*client.Answer, *fault.Error) {
	t.Helper()
	return c.Send(t.Context(), client.Request{
		Method: http.MethodGet,
		Path:   "secret/data/app",
		Header: c.Header(token, "team"),
		Data:   data,
	}, generous)
}

// assertSafe holds what every fault must hold: one line, and nothing marked
// under any verb, the cause included.
func assertSafe(t *testing.T, f *fault.Error) {
	t.Helper()
	var all bytes.Buffer
	reason, fix := f.ForUI()
	fmt.Fprintf(&all, "%v %+v %q %s %s %s", f, f, f, reason, fix, f.Kind)
	if f.Cause != nil {
		fmt.Fprintf(&all, " %v %+v", f.Cause, f.Cause)
	}
	assert.False(t, strings.Contains(all.String(), token), "the token is in a text")
	assert.False(t, strings.Contains(strings.ToLower(all.String()), strings.ToLower(token)), "the token is in a text, in lower case")
	assert.False(t, strings.Contains(all.String(), bodyWords), "the body is in a text")
	assert.NotContains(t, f.Error(), "\n")
	assert.Less(t, len(f.Error()), 700)
	assert.NotEmpty(t, f.Do, "it says what to do")
}

// serveConnections serves each connection with the function.
func serveConnections(t *testing.T, serve func(net.Conn)) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			group.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}
}

// forward passes everything on to another server and back.
func forward(conn net.Conn, host string) {
	behind, err := net.Dial("tcp", host)
	if err != nil {
		return
	}
	defer behind.Close()
	var group sync.WaitGroup
	group.Go(func() { io.Copy(conn, behind); conn.Close() })
	io.Copy(behind, conn)
	behind.Close()
	group.Wait()
}
