package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/balancer"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

const (
	runsAtOnce = 3
	underWay   = 100 // the round's event begins after as many results of each run
	healTime   = 2 * time.Minute
)

// soak is a cluster with secrets and roles, and a fleet that uses them.
type soak struct {
	cluster  *vaulttest.Cluster
	front    *balancer.Balancer
	fleet    *fleet
	rotation *rotation
	roles    map[string]map[string]string // the agent's environment for each role
	log      io.Writer

	mu    sync.Mutex
	tally *tally
	round tally // of the current round
}

func newSoak(log io.Writer) (s *soak, err error) {
	s = &soak{log: log, tally: &tally{events: make(map[string]int)}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.cluster, err = vaulttest.StartCluster(vaulttest.Config{NoAudit: true}); err != nil {
		return nil, err
	}
	var nodes []string
	for _, node := range s.cluster.Nodes {
		nodes = append(nodes, node.Address)
	}
	if s.front, err = balancer.Start(nodes...); err != nil {
		return nil, err
	}
	leader := s.cluster.Leader()
	if leader == nil {
		return nil, errors.New("the new cluster has no leader")
	}
	if s.fleet, err = newFleet(leader); err != nil {
		return nil, err
	}
	if s.roles, err = newRoles(leader); err != nil {
		return nil, err
	}
	s.rotation = newRotation(s.front.Address, leader.Token)
	return s, nil
}

func (s *soak) stop() {
	if s.front != nil {
		s.front.Stop()
	}
	if s.cluster != nil {
		s.cluster.Stop()
	}
}

// meet lets several runs meet one event, and repairs the cluster.
func (s *soak) meet(e event) error {
	began := time.Now()
	s.round = tally{}
	stop := s.rotation.start()
	defer stop()
	var runs sync.WaitGroup
	begun := make(chan struct{}, runsAtOnce)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range runsAtOnce {
		runs.Go(func() { s.run(ctx, e, func() { begun <- struct{}{} }) })
	}
	for range runsAtOnce {
		<-begun
	}
	var err error
	if e.happen != nil {
		err = e.happen(s, cancel)
	}
	runs.Wait()
	took := time.Since(began)
	if err = errors.Join(err, s.heal()); err != nil {
		return err
	}
	s.tally.events[e.name]++
	r := s.round
	fmt.Fprintf(s.log, "%s: %d of %d hosts resolved in %.1fs, %d runs logged in three times or more, longest wait %.1fs; %d stale, %d lost, %d wrong\n",
		e.name, r.served, r.hosts, took.Seconds(), r.relogged, r.longestWait.Seconds(), r.stale, r.lost, r.wrong)
	return nil
}

// run is one run of the agent. It calls begun after its first results.
func (s *soak) run(ctx context.Context, e event, begun func()) {
	once := sync.OnceFunc(begun)
	defer once()
	oldest := s.rotation.acknowledged()
	environment := map[string]string{"VAULT_RATE_LIMIT": strconv.Itoa(e.pace) + ":1"}
	maps.Copy(environment, s.roles[e.role])
	settings := auth.Settings{Address: s.front.Address, AuthMethod: "approle"}
	vault := auth.New(settings, auth.Options{Getenv: func(name string) string { return environment[name] }})

	run := resolver.Resolve(ctx, vault, s.fleet.hosts, resolver.Options{})
	var v verdicts
	taken := 0
	for i, result := range run.Results() {
		if taken++; taken == underWay {
			once()
		}
		v.judge(s.fleet.want[i], result, oldest[i%secrets])
		if e.breaksOff && taken == len(s.fleet.hosts)/2 {
			break
		}
	}
	report := run.Report()
	if ctx.Err() == nil {
		v.lost += v.givenUp
	}
	if !e.breaksOff {
		v.lost += len(s.fleet.hosts) - taken
	}
	if v.lost+v.wrong+v.stale > 0 {
		fmt.Fprintf(s.log, "%s: %d lost, %d wrong, %d stale: %s", e.name, v.lost, v.wrong, v.stale, report)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.add(v, taken, report)
	s.round.add(v, taken, report)
}

// heal restarts and unseals the nodes that an event stopped.
func (s *soak) heal() error {
	for _, node := range s.cluster.Nodes {
		status, _, err := node.Do("GET", "sys/health", nil)
		if err != nil {
			if err := node.Restart(); err != nil {
				return err
			}
		}
		if err != nil || status == 503 {
			if err := node.Unseal(); err != nil {
				return err
			}
		}
	}
	return s.waitHealthy()
}

func (s *soak) waitHealthy() error {
	ctx, cancel := context.WithTimeout(context.Background(), healTime)
	defer cancel()
	return s.cluster.WaitHealthy(ctx)
}

// take counts what exists between rounds.
func (s *soak) take() (remains, error) {
	accessors, err := s.accessors()
	if err != nil {
		return remains{}, err
	}
	runtime.GC()
	runtime.GC() // frees what the first one's finalizers released
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return remains{tokens: len(accessors), goroutines: runtime.NumGoroutine(), heap: memory.HeapAlloc}, nil
}

// settle counts again, once Vault has removed expired tokens and the connections
// are closed, or after 20 seconds.
func (s *soak) settle(before remains) (after remains, err error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		after, err = s.take()
		flat := after.tokens <= before.tokens && after.goroutines <= before.goroutines
		if err != nil || flat || time.Now().After(end) {
			return after, err
		}
	}
}

// accessors lists the living tokens.
func (s *soak) accessors() ([]string, error) {
	leader := s.cluster.Leader()
	if leader == nil {
		return nil, errors.New("the cluster has no leader")
	}
	answer, err := ask(leader, "LIST", "auth/token/accessors", nil)
	if err != nil {
		return nil, err
	}
	data, _ := answer["data"].(map[string]any)
	keys, _ := data["keys"].([]any)
	var accessors []string
	for _, key := range keys {
		accessor, _ := key.(string)
		accessors = append(accessors, accessor)
	}
	return accessors, nil
}

// ask is node.Do, but any status other than 2xx is an error.
func ask(node *vaulttest.Server, method, path string, body any) (map[string]any, error) {
	status, answer, err := node.Do(method, path, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: status %d: %v", method, path, status, answer["errors"])
	}
	return answer, err
}
