// Package balancer is a very simple TCP balancer: each connection goes to the next server
// in turn, healthy or not.
//
//	b, err := balancer.Start(node1.Address, node2.Address, node3.Address)
//	defer b.Stop()
//	useVault(b.Address)
//
// It does not look at the data, so it works for http and https. In front of a single
// server, it counts connections. Start with [Start].
package balancer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// Balancer is a running balancer.
type Balancer struct {
	Address string // in place of the servers' own, such as http://127.0.0.1:21234

	listener net.Listener
	servers  []string // host:port
	stopping context.Context
	stop     context.CancelFunc
	relays   sync.WaitGroup
	accepted atomic.Int64
	open     atomic.Int64
}

// Start starts a balancer on loopback in front of servers, given by URLs that are all http
// or all https.
func Start(servers ...string) (*Balancer, error) {
	if len(servers) == 0 {
		return nil, errors.New("a balancer needs a server")
	}
	b := &Balancer{}
	var scheme string
	for _, server := range servers {
		u, err := url.Parse(server)
		if err != nil {
			return nil, err
		}
		scheme = u.Scheme
		b.servers = append(b.servers, u.Host)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.listener = listener
	b.Address = scheme + "://" + listener.Addr().String()
	b.stopping, b.stop = context.WithCancel(context.Background())
	b.relays.Go(b.serve)
	return b, nil
}

// Stop ends all connections, and returns when they are gone.
func (b *Balancer) Stop() {
	b.stop()
	b.listener.Close()
	b.relays.Wait()
}

// Accepted is how many connections were accepted so far.
func (b *Balancer) Accepted() int { return int(b.accepted.Load()) }

// Open is how many of them are still open.
func (b *Balancer) Open() int { return int(b.open.Load()) }

func (b *Balancer) serve() {
	for turn := 0; ; turn++ {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.accepted.Add(1)
		b.open.Add(1)
		b.relays.Go(func() {
			defer b.open.Add(-1)
			b.relay(client, b.servers[turn%len(b.servers)])
		})
	}
}

// relay copies data both ways until one side ends.
func (b *Balancer) relay(client net.Conn, address string) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(b.stopping, "tcp", address)
	if err != nil {
		return // the client sees its connection closed
	}
	defer server.Close()
	hangUp := func() { client.Close(); server.Close() }
	defer context.AfterFunc(b.stopping, hangUp)()

	var answers sync.WaitGroup
	answers.Go(func() {
		defer hangUp()
		io.Copy(client, server)
	})
	io.Copy(server, client)
	hangUp()
	answers.Wait()
}
