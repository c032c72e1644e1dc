package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

// readBuffer is the size of net/http's own buffer before an answerConn. It holds a whole line
// of Vault's headers, which net/http would copy otherwise. It is smaller than the answer to a
// read, since what fits into it is read byte by byte.
const readBuffer = 128

// answerConn gives net/http one answer at a time. net/http logs the bytes that it finds
// in its buffer after an answer. They can be the rest of a secret, if a server or proxy
// sent a wrong length. So no byte after an answer may get into net/http's buffer, and
// data that arrives without a request closes the connection.
//
// net/http uses its buffer for headers, chunk sizes and the ends of bodies. It reads the
// rest of a body directly, and no further than it must. So a read in a header returns
// bytes up to the header's end, and a later read of the buffer's size or less returns
// one byte.
type answerConn struct {
	net.Conn
	buffer *bufio.Reader
	node   *node

	mu        sync.Mutex
	isTaken   bool // a request got the connection and is not written yet
	underWay  int  // requests that were written, and whose answer was not read yet
	inHeader  bool // the header of an answer is being read
	emptyLine bool // so far, the current line of the header is empty
	stray     bool // there was data after an answer
}

func newAnswerConn(conn net.Conn, node *node) *answerConn {
	return &answerConn{Conn: conn, buffer: bufio.NewReader(conn), node: node}
}

// begin notes that a request got the connection. Until net/http writes it, it takes no answer:
// net/http may not expect one yet, and would log it.
func (c *answerConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isTaken = true
}

func (c *answerConn) Write(p []byte) (int, error) {
	c.sends()
	return c.Conn.Write(p)
}

// sends counts the request that got the connection, once.
func (c *answerConn) sends() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isTaken {
		c.isTaken = false
		c.underWay++
		c.inHeader, c.emptyLine = true, false
	}
}

// end counts a request whose answer has been read. net/http calls it before it reads
// on, but possibly after the next request has begun. Data that is in the buffer by then
// is not the answer to that request.
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

// throughHeader returns how many of the bytes belong to the header, and notes whether
// the header ends with them. It ends with an empty line; for net/http, a line ends with
// \n, with or without \r before it.
func (c *answerConn) throughHeader(p []byte) int {
	n := 0
	for line := range bytes.Lines(p) {
		n += len(line)
		text, isWhole := bytes.CutSuffix(line, []byte("\n"))
		c.emptyLine = c.emptyLine && len(bytes.Trim(text, "\r")) == 0
		switch {
		case isWhole && c.emptyLine:
			c.inHeader = false
			return n
		case isWhole:
			c.emptyLine = true // so far, the next one is
		}
	}
	return n
}
