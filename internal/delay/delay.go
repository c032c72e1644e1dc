// Package delay simulates the distance of a network between two programs on one machine. It
// is a TCP proxy that delays all data without limiting its rate.
//
//	proxy, err := delay.Start("127.0.0.1:8200", 5*time.Millisecond)
//	defer proxy.Close()
//	dial(proxy.Address) // each question and its answer take 5 ms longer
//
// Only data is delayed: the connection itself is accepted at once. Start with [Start].
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
	readers  sync.WaitGroup
	writer   sync.WaitGroup

	// The parcels on their way, in the order in which they are due. That is the order
	// in which they were sent, since all take equally long. One goroutine delivers
	// them all: a hundred sleeping goroutines would use as much CPU as the work to be
	// measured.
	underway chan parcel

	mu     sync.Mutex
	links  map[*link]bool
	closed bool
	once   sync.Once
}

// most is how many parcels may be on their way: enough to delay a stream without slowing it
// down.
const most = 4096

// link is one connection through the proxy, with both halves.
type link struct {
	client, server *net.TCPConn
	ended          int // of its directions; the deliverer's own
}

// parcel is the data of one read, with the time at which to deliver it. Without data, it is
// the end of its direction.
type parcel struct {
	data []byte
	due  time.Time
	to   *net.TCPConn
	link *link
}

// Start starts a proxy in front of the target that adds half of the round trip in each
// direction.
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
		underway: make(chan parcel, most),
		links:    make(map[*link]bool),
	}
	p.readers.Go(p.accept)
	p.writer.Go(p.deliver)
	return p, nil
}

// Close closes the proxy with all of its connections. Closing again does nothing.
func (p *Proxy) Close() { p.once.Do(p.end) }

func (p *Proxy) end() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	p.readers.Wait()
	close(p.underway)
	p.writer.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.readers.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server.(*net.TCPConn)}
	p.mu.Lock()
	p.links[l] = true
	if p.closed {
		l.close()
	}
	p.mu.Unlock()
	p.readers.Go(func() { p.read(l, l.client, l.server) })
	p.read(l, l.server, l.client)
}

// read sends data from one side on its way to the other.
func (p *Proxy) read(l *link, from, to *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.underway <- parcel{append([]byte(nil), buffer[:n]...), time.Now().Add(p.half), to, l}
		}
		if err != nil {
			p.underway <- parcel{nil, time.Now().Add(p.half), to, l}
			return
		}
	}
}

// deliver delivers each parcel when it is due. A side that does not read delays all others.
func (p *Proxy) deliver() {
	for one := range p.underway {
		sleep(time.Until(one.due))
		if one.data != nil {
			if _, err := one.to.Write(one.data); err != nil {
				one.link.close() // the receiver is gone
			}
			continue
		}
		one.to.CloseWrite()
		if one.link.ended++; one.link.ended == 2 {
			one.link.close()
			p.mu.Lock()
			delete(p.links, one.link)
			p.mu.Unlock()
		}
	}
}

func (l *link) close() {
	l.client.Close()
	l.server.Close()
}
