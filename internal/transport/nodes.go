package transport

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// dialAny connects to one of the addresses of a name. net.Dialer would spend most of the
// time on the first one, if that does not answer.
func (d *dialer) dialAny(ctx context.Context, address string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(address) // cannot fail: net/http and proxyAddress join them
	hosts, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	d.nodes.sort(hosts)
	return dialFirst(ctx, hosts, port)
}

// nodes orders the addresses of Vault's name, or the proxy's: first the one that was last
// connected to, and last the one that last failed. A node that is sealed, or hangs, may
// still accept connections.
type nodes struct {
	mu     sync.Mutex
	all    map[string]*node // by address
	events int              // how often a node was connected to, or failed
}

// node is one address of a name.
type node struct {
	place      int          // among nodes: less than 0 if it was last connected to, more than 0 if it last failed
	answeredAt atomic.Int64 // when a request was last answered over it, in nanoseconds since 1970
}

// connected notes a connection, and returns the node that it leads to.
func (n *nodes) connected(conn net.Conn) *node {
	address, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	n.mu.Lock()
	defer n.mu.Unlock()
	one := n.all[address]
	if one == nil {
		one = &node{}
		if n.all == nil {
			n.all = make(map[string]*node)
		}
		n.all[address] = one
	}
	n.events++
	one.place = -n.events
	return one
}

// failed notes that a request that was sent at that time failed at the node, unless the node
// has answered another since: then the request fails for its own reasons.
func (n *nodes) failed(one *node, sent time.Time) {
	if one.answeredAt.Load() >= sent.UnixNano() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events++
	one.place = n.events
}

func (n *nodes) sort(hosts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	place := func(host string) int {
		if one := n.all[host]; one != nil {
			return one.place
		}
		return 0
	}
	slices.SortStableFunc(hosts, func(a, b string) int { return place(a) - place(b) })
}

// dialFirst connects to the first of the hosts that answers, and otherwise returns the error of
// the last. Each of the others may take a second, or its share of the time until the deadline
// of ctx if that is less.
func dialFirst(ctx context.Context, hosts []string, port string) (conn net.Conn, err error) {
	deadline, _ := ctx.Deadline()
	for i, host := range hosts {
		var dialer net.Dialer
		if left := len(hosts) - i; left > 1 {
			dialer.Timeout = min(time.Second, time.Until(deadline)/time.Duration(left))
		}
		if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, port)); err == nil {
			break
		}
	}
	return conn, err
}
