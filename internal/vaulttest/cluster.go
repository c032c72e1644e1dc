package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Cluster is three Vaults with integrated storage (raft). They elect leaders with Vault's
// default settings: after one is killed, the others serve again in about ten seconds. The
// helpers of [Server] work on any healthy node.
type Cluster struct {
	// Nodes are the servers, the killed ones included. They share one root
	// token and one audit file.
	Nodes []*Server

	dir string
	key string // unseals any node
}

// clusterTimeout is the limit for a cluster to start. It takes 8 to 13 s, most of which the
// first node waits before it elects itself.
const clusterTimeout = 3 * time.Minute

// StartCluster starts a cluster and returns when it is healthy. Call Stop afterwards.
func StartCluster(config Config) (*Cluster, error) {
	program, err := Find()
	if err != nil {
		return nil, err
	}
	for range 5 {
		c, err := startCluster(program, config)
		if !errors.Is(err, errPortTaken) {
			return c, err
		}
	}
	return nil, errPortTaken
}

// Stop kills all nodes and removes their files. Stopping again does nothing.
func (c *Cluster) Stop() {
	for _, node := range c.Nodes {
		node.process.end(removeFolder)
	}
	os.RemoveAll(c.dir)
}

// Leader returns the active node, or nil if there is none at the moment.
func (c *Cluster) Leader() *Server {
	for _, node := range c.Nodes {
		if node.alive() && node.health(context.Background()) == http.StatusOK {
			return node
		}
	}
	return nil
}

// WaitHealthy waits until the nodes that were not killed have one leader, are voters, and
// serve requests as root. If ctx ends before that, the error says what was missing.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var missing error
	for {
		now := c.missing(ctx)
		if now == nil {
			return nil
		}
		if missing == nil || ctx.Err() == nil { // otherwise the error is only that of ctx
			missing = now
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not healthy: %w (%w)", missing, ctx.Err())
		}
	}
}

func startCluster(program string, config Config) (c *Cluster, err error) {
	dir, err := os.MkdirTemp("", "vaulttest-")
	if err != nil {
		return nil, err
	}
	c = &Cluster{dir: dir}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if config.TLS {
		if err := writeCertificates(dir); err != nil {
			return nil, err
		}
	}
	for i := range 3 {
		node, err := c.newNode(fmt.Sprintf("n%d", i+1), program, config)
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, node)
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	return c, c.form(ctx)
}

// newNode starts one node, which has not joined a cluster yet.
func (c *Cluster) newNode(name, program string, config Config) (*Server, error) {
	api, err := freePort()
	if err != nil {
		return nil, err
	}
	internal, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Address: "http://" + api,
		cluster: c,
		config:  config,
		dir:     c.dir,
		log:     filepath.Join(c.dir, name+".log"),
	}
	listener := "tls_disable = true"
	if config.TLS {
		s.Address = "https://" + api
		s.CAFile = filepath.Join(c.dir, caFile)
		listener = fmt.Sprintf("tls_cert_file = %q\n\ttls_key_file = %q",
			filepath.Join(c.dir, certFile), filepath.Join(c.dir, keyFile))
	}
	if !config.NoAudit {
		// One file for all: the device is a setting of the cluster, and only
		// the leader writes it.
		s.AuditFile = filepath.Join(c.dir, "audit.log")
	}
	if s.client, err = newClient(s.CAFile); err != nil {
		return nil, err
	}
	more := ""
	if isOpenBao(program) {
		more = allowsAudit
	}
	storage := filepath.Join(c.dir, name)
	if err := os.Mkdir(storage, 0o700); err != nil {
		return nil, err
	}
	settings := filepath.Join(c.dir, name+".hcl")
	if err := os.WriteFile(settings, fmt.Appendf(nil, `
storage "raft" {
	path    = %q
	node_id = %q
	autopilot_reconcile_interval = "500ms"
	autopilot_update_interval    = "500ms"
}
listener "tcp" {
	address         = %q
	cluster_address = %q
	%s
}
api_addr      = %q
cluster_addr  = %q
disable_mlock = true
%s`, storage, name, api, internal, listener, s.Address, "https://"+internal, more), 0o600); err != nil {
		return nil, err
	}
	s.args = []string{program, "server", "-config=" + settings}
	return s, s.launchNode()
}

// form makes the running nodes a cluster. It is fast without changing elections: nodes are
// told to join, since retry_join in their files tries only every two seconds; and a new
// node votes after one second, not ten to twenty (see autopilot_… in newNode).
func (c *Cluster) form(ctx context.Context) error {
	first := c.Nodes[0]
	answer, err := first.call(ctx, "PUT", "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	if err != nil {
		return first.explain(err)
	}
	if keys, _ := answer["keys_base64"].([]any); len(keys) == 1 {
		c.key, _ = keys[0].(string)
	}
	for _, node := range c.Nodes {
		node.Token = Text(answer, "root_token")
	}
	if err := first.Unseal(); err != nil {
		return first.explain(err)
	}
	active := func() bool { return first.health(ctx) == http.StatusOK }
	if err := first.process.wait(ctx, active); err != nil {
		return first.explain(err)
	}
	if _, err := first.call(ctx, "PUT", "sys/storage/raft/autopilot/configuration",
		map[string]any{"server_stabilization_time": "1s"}); err != nil {
		return err
	}
	for _, node := range c.Nodes[1:] {
		if err := node.join(ctx, first); err != nil {
			return node.explain(err)
		}
	}
	if err := c.WaitHealthy(ctx); err != nil {
		return first.explain(err)
	}
	return first.enableAudit()
}

func (s *Server) join(ctx context.Context, leader *Server) error {
	body := map[string]any{"leader_api_addr": leader.Address}
	if leader.CAFile != "" {
		text, err := os.ReadFile(leader.CAFile)
		if err != nil {
			return err
		}
		body["leader_ca_cert"] = string(text)
	}
	if _, err := s.call(ctx, "PUT", "sys/storage/raft/join", body); err != nil {
		return err
	}
	return s.Unseal()
}

// launchNode starts the program of a cluster's node and waits until it listens.
func (s *Server) launchNode() error {
	if err := s.exec(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.process.wait(ctx, func() bool { return s.health(ctx) != 0 }); err != nil {
		err = s.explain(err)
		s.Kill()
		return err
	}
	return nil
}

// missing returns what keeps the cluster from being healthy.
func (c *Cluster) missing(ctx context.Context) error {
	var leader *Server
	for i, node := range c.Nodes {
		if !node.alive() {
			continue
		}
		switch status := node.health(ctx); status {
		case http.StatusOK:
			leader = node
		case http.StatusTooManyRequests: // a standby
		default:
			return fmt.Errorf("node %d: sys/health answers %d", i+1, status)
		}
		// Asked of a standby, this also shows that it reaches the leader.
		if _, err := node.call(ctx, "GET", "auth/token/lookup-self", nil); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	if leader == nil {
		return errors.New("no leader")
	}
	answer, err := leader.call(ctx, "GET", "sys/storage/raft/configuration", nil)
	if err != nil {
		return err
	}
	return c.missingVoter(answer)
}

// missingVoter reports nodes that serve but do not vote yet. If the leader died now, the
// others could not elect a new one.
func (c *Cluster) missingVoter(answer map[string]any) error {
	data, _ := answer["data"].(map[string]any)
	config, _ := data["config"].(map[string]any)
	servers, _ := config["servers"].([]any)
	voters := 0
	for _, server := range servers {
		if server, _ := server.(map[string]any); server["voter"] == true {
			voters++
		}
	}
	// Killed nodes stay in the list.
	if voters != len(c.Nodes) {
		return fmt.Errorf("%d of %d nodes vote", voters, len(c.Nodes))
	}
	return nil
}

func (s *Server) alive() bool {
	select {
	case <-s.process.done:
		return false
	default:
		return true
	}
}

// health returns the status of sys/health: 200 for a leader, 429 for a standby, 503 if
// sealed, 501 if not in a cluster yet, 0 for no answer.
func (s *Server) health(ctx context.Context) int {
	status, _, _ := s.ask(ctx, s.Token, "GET", "sys/health", nil)
	return status
}
