// Package vaulttest starts real Vault servers for tests and the demo: dev-mode
// ones in a third of a second, and three-node clusters.
//
//	func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m)) }
//
//	func TestRead(t *testing.T) {
//		vault := vaulttest.Shared(t) // one server for all tests of the package
//		kv := vault.KV(t, 2)         // a mount of this test's own
//		vault.Put(t, kv, "app/db", map[string]any{"password": "s3cret"})
//		token := vault.ReaderToken(t, kv+"/data/app/db")
//
//		readIt(vault.Address, token, "my-run-id") // the code under test
//
//		requests := vault.RequestsBy(t, "my-run-id") // what Vault was asked
//		assert.Len(t, requests, 1)
//	}
//
// The servers are separate programs; see [Find]. They listen on loopback only, do not see
// the environment, and die with the process that started them, however that ends. The
// package works on Unix; elsewhere it only compiles.
//
// Start with [New] and [Shared] in tests, [Start] elsewhere, and [StartCluster] for
// failover.
package vaulttest

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Config configures a server. Its zero value is a plain dev-mode server.
type Config struct {
	// TLS makes the server speak https, with a certificate for localhost and
	// 127.0.0.1 from an authority made for it alone; see Server.CAFile.
	TLS bool
	// RawAudit writes the audit file in clear, so that Request.Data holds
	// what was really sent. False hashes all values but versions and accessors.
	RawAudit bool
	// NoAudit leaves the audit file out, for measuring. Requests then fails.
	NoAudit bool
}

// Server is one Vault server. Its exported fields are read-only.
type Server struct {
	Address   string // such as http://127.0.0.1:21234
	Token     string // the root token
	CAFile    string // the authority's certificate (PEM); empty without TLS
	AuditFile string // empty with Config.NoAudit

	config  Config
	dir     string   // removed by Stop
	args    []string // of the vault program, for Restart
	log     string   // path of what Vault printed
	process *process // the one started last; never nil after a start
	client  *http.Client
	mounts  sync.Map // mount path to KV version; see KVAt
	cluster *Cluster // nil for a dev-mode server
	audit   auditText
}

// startTimeout is the limit for a server to answer. It takes 0.3 s on an idle machine.
const startTimeout = 60 * time.Second

// Start starts a dev-mode Vault on a free port and returns when it answers. Call Stop
// afterwards.
func Start(config Config) (*Server, error) {
	program, err := Find()
	if err != nil {
		return nil, err
	}
	for range 5 {
		s, err := startDev(program, config)
		// Between choosing a port and listening on it, it may be taken.
		if !errors.Is(err, errPortTaken) {
			return s, err
		}
	}
	return nil, errPortTaken
}

// Stop kills the server and removes its files; for a cluster, see Cluster.Stop. Stopping
// again does nothing.
func (s *Server) Stop() {
	if s.cluster != nil {
		s.cluster.Stop()
		return
	}
	s.process.end(removeFolder)
	os.RemoveAll(s.dir)
}

// Kill kills the server as kill -9 does, and keeps its files.
func (s *Server) Kill() {
	s.process.end(keepFolder)
}

// Restart starts a killed server again at its old address, and returns when it answers. A
// dev-mode server comes back empty, except for its root token, and its CAFile has a new
// authority. A node of a cluster comes back sealed. Do not call other methods meanwhile.
func (s *Server) Restart() error {
	s.mounts.Clear()
	if s.cluster != nil {
		return s.launchNode()
	}
	return s.launch()
}

var errPortTaken = errors.New("no free port was found for vault; try again")

func startDev(program string, config Config) (*Server, error) {
	dir, err := os.MkdirTemp("", "vaulttest-")
	if err != nil {
		return nil, err
	}
	listen, err := freePort()
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s := &Server{
		Address: "http://" + listen,
		Token:   "root-" + rand.Text(),
		config:  config,
		dir:     dir,
		log:     filepath.Join(dir, "vault.log"),
		args:    []string{program, "server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + listen},
	}
	s.args = append(s.args, "-dev-root-token-id="+s.Token)
	if config.TLS {
		s.Address = "https://" + listen
		s.CAFile = filepath.Join(dir, "vault-ca.pem") // the name is Vault's
		s.args = append(s.args, "-dev-tls", "-dev-tls-cert-dir="+dir)
	}
	if !config.NoAudit {
		s.AuditFile = filepath.Join(dir, "audit.log")
	}
	if isOpenBao(program) {
		settings := filepath.Join(dir, "server.hcl")
		if err := os.WriteFile(settings, []byte(allowsAudit), 0o600); err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
		s.args = append(s.args, "-config="+settings)
	}
	if err := s.launch(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// launch starts a dev-mode server and waits until it answers.
func (s *Server) launch() error {
	if s.config.TLS {
		os.Remove(s.CAFile) // that of the last start
	}
	if err := s.exec(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := s.process.wait(ctx, func() bool {
		client, err := newClient(s.CAFile)
		if err != nil {
			return false // Vault has yet to write the file
		}
		s.client = client
		if s.health(ctx) != http.StatusOK {
			return false
		}
		// Another Vault may have got this port; ours then dies in a moment.
		_, err = s.call(ctx, "GET", "auth/token/lookup-self", nil)
		return err == nil
	})
	if err == nil {
		err = s.enableAudit()
	}
	if err != nil {
		err = s.explain(err)
		s.process.end(keepFolder)
	}
	return err
}

func (s *Server) exec() error {
	process, err := start(s.dir, s.log, s.args)
	if err == nil {
		s.process = process
	}
	return err
}

// explain adds the end of Vault's output to an error.
func (s *Server) explain(err error) error { return explain(err, s.log) }

// freePort returns a loopback address where nothing listens. The port is below the range of
// outgoing connections, so it stays free until Vault listens, and while a node of a cluster
// is down.
func freePort() (string, error) {
	for range 100 {
		var n [2]byte
		rand.Read(n[:])
		port := 10_000 + (int(n[0])<<8|int(n[1]))%22_000
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", errPortTaken
}
