package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

// readBuffer is the size of net/http's own buffer before an answerConn.
const readBuffer = 64

// answerConn hands net/http one answer at a time. net/http writes what it finds
// on a connection behind an answer to the process's log, and that can be the
// rest of a secret whose length a server or proxy got wrong. So nothing gets into
// net/http's buffer behind an answer, and what arrives while no request is under
// way ends the connection.
//
// net/http fills its buffer for headers, chunk sizes, and the ends of bodies; the
// rest of a body it reads directly, and no further than it must. Headers are
// handed out up to their end, and afterwards a read of the buffer's size or less
// gets one byte.
type answerConn struct {
	net.Conn
	buffer *bufio.Reader

	mu       sync.Mutex
	underWay int    // requests that were given the connection and have not given it back
	inHeader bool   // the header of an answer is being handed out
	last     []byte // the last two bytes of it at most
	stray    bool   // something stood behind an answer
}

func newAnswerConn(conn net.Conn) *answerConn {
	return &answerConn{Conn: conn, buffer: bufio.NewReader(conn)}
}

// begin counts a request that is given the connection, before it is written.
func (c *answerConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay++
	c.inHeader, c.last = true, c.last[:0]
}

// end counts a request whose answer has been read. net/http says so before it
// reads on, but possibly after the next request has begun. What stands behind the
// answer by now is not the answer to that one.
func (c *answerConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
	if c.buffer.Buffered() > 0 {
		c.stray = true
		c.Conn.Close()
	}
}

var errStray = errors.New("data without a request")

func (c *answerConn) Read(p []byte) (int, error) {
	if len(p) >= c.buffer.Size() && c.isInBody() && c.buffer.Buffered() == 0 {
		return c.Conn.Read(p)
	}
	if _, err := c.buffer.Peek(1); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay == 0 || c.stray {
		c.Conn.Close()
		return 0, errStray
	}
	available, _ := c.buffer.Peek(c.buffer.Buffered())
	n := min(len(p), len(available))
	switch {
	case c.inHeader:
		n = c.throughHeader(available[:n])
	case len(p) <= readBuffer:
		n = 1
	}
	return io.ReadFull(c.buffer, p[:n])
}

func (c *answerConn) isInBody() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.underWay > 0 && !c.inHeader
}

// throughHeader returns how many of the bytes belong to the header, and notes
// whether it ends with them. A header ends in an empty line, and net/http takes a
// line to end in \n, with or without \r before it.
func (c *answerConn) throughHeader(p []byte) int {
	seen := len(c.last)
	all := append(c.last, p...)
	for i, b := range all {
		if b == '\n' && (bytes.HasSuffix(all[:i], []byte("\n")) || bytes.HasSuffix(all[:i], []byte("\n\r"))) {
			c.inHeader = false
			return i + 1 - seen
		}
	}
	c.last = append(all[:0], all[max(0, len(all)-2):]...)
	return len(p)
}
