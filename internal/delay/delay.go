// Package delay puts the distance of a network between two programs on one
// machine: a TCP proxy that hands everything on later, and as fast as it came.
//
//	proxy, err := delay.Start("127.0.0.1:8200", 5*time.Millisecond)
//	defer proxy.Close()
//	dial(proxy.Address) // each question and its answer take 5 ms longer
//
// Only what is sent is late: the connection itself is accepted at once. Start
// with [Start].
package delay

import (
	"net"
	"sync"
	"time"
)

// Proxy is one proxy.
type Proxy struct {
	Address string // of the proxy, on loopback

	target   string
	half     time.Duration
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// Start starts a proxy before the target that adds half of the round trip on
// each way.
func Start(target string, roundTrip time.Duration) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		Address:  listener.Addr().String(),
		target:   target,
		half:     roundTrip / 2,
		listener: listener,
		open:     make(map[net.Conn]bool),
	}
	p.group.Go(p.accept)
	return p, nil
}

// Close ends the proxy with all of its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for connection := range p.open {
		connection.Close()
	}
	p.mu.Unlock()
	p.group.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.keep(client)()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.keep(server)()
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client) })
	both.Go(func() { p.carry(client, server) })
	both.Wait()
}

// keep has Close end the connection, until the function it returns has.
func (p *Proxy) keep(connection net.Conn) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[connection] = true
	if p.closed {
		connection.Close()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, connection)
		connection.Close()
	}
}

// parcel is what one read brought, and when it is to arrive.
type parcel struct {
	data []byte
	due  time.Time
}

// underway is how many parcels one direction of a connection holds, so that
// the proxy delays a stream without slowing it down.
const underway = 1024

func (p *Proxy) carry(to, from net.Conn) {
	parcels := make(chan parcel, underway)
	p.group.Go(func() {
		defer close(parcels)
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				parcels <- parcel{append([]byte(nil), buffer[:n]...), time.Now().Add(p.half)}
			}
			if err != nil {
				parcels <- parcel{nil, time.Now().Add(p.half)}
				return
			}
		}
	})
	for one := range parcels {
		sleep(time.Until(one.due))
		if one.data == nil {
			break
		}
		if _, err := to.Write(one.data); err != nil {
			from.Close() // nobody is left to read for
			break
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		half.CloseWrite()
	}
	for range parcels { // the reader must not wait for room
	}
}
