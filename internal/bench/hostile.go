package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

const (
	oddKeys      = 1900 // of one secret, each as long as a reference allows
	listedMounts = 60_000
)

const oddPath = "secret/luumen/keys"

// oddKey is one of the keys of the secret at oddPath.
func oddKey(i int) string {
	name := fmt.Sprintf("key-%05d-", i)
	return name + strings.Repeat("k", 512-len(name))
}

// misspelling is a missing key that resembles one of the secret. The first 10,000
// all differ.
func misspelling(i int) string {
	key := []byte(oddKey(i % oddKeys))
	key[100+i/oddKeys] = 'x'
	return string(key)
}

func mountOf(i int) string { return fmt.Sprintf("m%05d", i%listedMounts) }

// misspelt is the agent's loop over one host that misspells a key, and then over
// many that each misspell a different one. Walls are the differences.
func misspelt(t task) (outcome, error) { return t.beyondOne() }

// canceled is the agent's loop over a fleet whose context ends after Deadline, or
// with the first result. Wall is the time from then to the last result.
func canceled(t task) (outcome, error) {
	vault, hosts := t.connect(), t.fleet(t.Hosts)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if t.Deadline != 0 {
		ctx, cancel = context.WithTimeout(ctx, t.Deadline)
		defer cancel()
	}
	var o outcome
	var ended time.Time
	context.AfterFunc(ctx, func() { ended = time.Now() })
	w := watch()
	results, last := 0, time.Time{}
	for _, result := range resolver.Resolve(ctx, vault, hosts, resolver.Options{RunID: t.RunID}).Results() {
		if results++; results == 1 && t.Deadline == 0 {
			cancel()
		}
		if result.Err() == nil {
			o.Ready++
		}
		last = time.Now()
	}
	w.stop(&o)
	<-ctx.Done()
	if results != len(hosts) || o.Ready != 0 {
		return o, fmt.Errorf("%d results, %d of them ready, for %d hosts", results, o.Ready, len(hosts))
	}
	o.Wall = max(last.Sub(ended), 0)
	return o, nil
}

// startCrowded starts a server that lists many mounts, as Vault would, and answers
// no read.
func startCrowded() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var mounts strings.Builder
	for i := range listedMounts {
		if i > 0 {
			mounts.WriteByte(',')
		}
		fmt.Fprintf(&mounts, `"%s/":{"type":"kv"}`, mountOf(i))
	}
	const begin = `{"request_id":"37c0ac1b-0ed0-7a0f-8d4f-1d4a5c2c1f4e","lease_id":"","renewable":false,"lease_duration":0,"data":`
	list := begin + `{"auth":{},"secret":{` + mounts.String() + `}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"system"}`
	look := begin + `{"accessor":"a","expire_time":null,"num_uses":0,"ttl":0,"type":"service"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"token"}`
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]string{"/v1/sys/internal/ui/mounts": list, "/v1/auth/token/lookup-self": look}[r.URL.Path]
		if answer == "" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	})}
	go server.Serve(listener)
	return "http://" + listener.Addr().String(), func() { server.Close() }, nil
}

// hostile measures secrets and servers that try to make a run slow.
func (l *lab) hostile() error {
	n := l.options.hosts
	// A secret with long keys.
	work := fmt.Sprintf("%d hosts that misspell one of %d keys of 512 bytes", n, oddKeys)
	ours := l.task("misspelt", n)
	ours.Fields, ours.Rounds = "misspelt", 5
	ends := l.task("canceled", n)
	ends.Fields = "misspelt"
	rounds, err := l.inTurn(ours, ends)
	if err != nil {
		return err
	}
	l.add(perHost(work, "time per host beyond the requests", each(rounds[0], func(o outcome) float64 {
		return micros(median(o.Walls)) / float64(n)
	})))
	l.add(lastResult(work, rounds[1]))

	// A server with many mounts, and an outage.
	work = fmt.Sprintf("%d hosts, %d listed mounts and an outage", n, listedMounts)
	address, stop, err := startCrowded()
	if err != nil {
		return err
	}
	defer stop()
	many, one := l.task("canceled", n), l.task("canceled", 1)
	for _, t := range []*task{&many, &one} {
		t.Address, t.Fields, t.Deadline = address, "mounts", 3*time.Second
	}
	if rounds, err = l.inTurn(many, one); err != nil {
		return err
	}
	beyond := make([]float64, len(rounds[0]))
	for i := range beyond {
		beyond[i] = micros(rounds[0][i].CPU-rounds[1][i].CPU) / float64(n)
	}
	l.add(perHost(work, "client CPU per additional host", beyond))
	l.add(lastResult(work, rounds[0]))
	return nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func perHost(work, figure string, measured []float64) row {
	return row{Work: work, Figure: figure, Measured: median(measured), Unit: "µs", Promised: new(10.0), Rounds: measured}
}

func lastResult(work string, rounds []outcome) row {
	late := each(rounds, func(o outcome) float64 { return micros(o.Wall) / 1000 })
	return row{Work: work, Figure: "last result after the context's end", Measured: median(late), Unit: "ms", Promised: new(100.0), Rounds: late}
}

// hostileFields are the fields of a host of a hostile task.
func hostileFields(kind string, i int) map[string]ref.Value {
	if kind == "misspelt" {
		return map[string]ref.Value{"password": ref.Parse("vault:" + oddPath + "#" + misspelling(i))}
	}
	return map[string]ref.Value{"password": ref.Parse("vault:" + mountOf(i) + "/app#password")}
}
