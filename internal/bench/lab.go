package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/delay"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// lab is what the figures are measured against.
type lab struct {
	options options
	vault   *vaulttest.Server
	token   string
	near    *delay.Proxy
	far     *delay.Proxy
}

const (
	nearTrip = 5 * time.Millisecond
	farTrip  = 50 * time.Millisecond
)

func secretPath(i int) string { return fmt.Sprintf("secret/luumen/host-%05d", i) }

func apiPath(i int) string { return fmt.Sprintf("secret/data/luumen/host-%05d", i) }

// openLab starts a Vault that holds a secret for each host.
func openLab(o options) (*lab, error) {
	// Its audit file would be the limit of what it answers.
	vault, err := vaulttest.Start(vaulttest.Config{TLS: true, NoAudit: true})
	if err != nil {
		return nil, err
	}
	l := &lab{options: o, vault: vault}
	err = l.furnish()
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	for _, proxy := range []*delay.Proxy{l.near, l.far} {
		if proxy != nil {
			proxy.Close()
		}
	}
	l.vault.Stop()
}

func (l *lab) furnish() (err error) {
	at, err := url.Parse(l.vault.Address)
	if err != nil {
		return err
	}
	if l.near, err = delay.Start(at.Host, nearTrip); err != nil {
		return err
	}
	if l.far, err = delay.Start(at.Host, farTrip); err != nil {
		return err
	}
	if l.token, err = newReader(l.vault); err != nil {
		return err
	}
	return fill(l.vault, max(l.options.hosts, 1))
}

// newReader makes a token that can read the hosts' secrets and nothing else. With
// the default policy, whose templates Vault parses again for each request, Vault
// would take most of both processors.
func newReader(vault *vaulttest.Server) (token string, err error) {
	status, _, err := vault.Do("PUT", "sys/policies/acl/fleet", map[string]string{
		"policy": `path "secret/data/luumen/*" { capabilities = ["read"] }`,
	})
	if err != nil || status/100 != 2 {
		return "", fmt.Errorf("writing the policy: status %d: %w", status, err)
	}
	_, answer, err := vault.Do("POST", "auth/token/create", map[string]any{"policies": []string{"fleet"}, "no_default_policy": true, "ttl": "700h"})
	if token = vaulttest.Text(answer, "auth", "client_token"); token == "" {
		return "", fmt.Errorf("no token was made: %w", err)
	}
	return token, nil
}

// fill writes the secrets of n hosts.
func fill(vault *vaulttest.Server, n int) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		// A new mount of KV version 2 is not there at once.
		if status, _, err := vault.Do("GET", "secret/config", nil); err == nil && status == http.StatusOK {
			break
		} else if time.Since(began) > time.Minute {
			return errors.New("the mount secret does not get ready")
		}
	}
	config, err := task{CAFile: vault.CAFile}.trust()
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	var next, written atomic.Int64
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				body := fmt.Appendf(nil, `{"data":{"user":"luumen-%05d","password":"Xq7-w2Lf-%05d-mK9z-T4vB"}}`, i, i)
				request, _ := http.NewRequest(http.MethodPut, vault.Address+"/v1/"+apiPath(int(i)), bytes.NewReader(body))
				request.Header.Set("X-Vault-Token", vault.Token)
				response, err := transport.RoundTrip(request)
				if err != nil {
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode == http.StatusOK {
					written.Add(1)
				}
			}
		})
	}
	group.Wait()
	if written.Load() != int64(n) {
		return fmt.Errorf("only %d of %d secrets were written", written.Load(), n)
	}
	return nil
}

// task is a task against the lab's Vault.
func (l *lab) task(do string, hosts int) task {
	return task{Do: do, Address: l.vault.Address, CAFile: l.vault.CAFile, Token: l.token, Fields: "distinct", Hosts: hosts}
}

func (t task) through(proxy *delay.Proxy) task {
	t.Address = "https://" + proxy.Address
	return t
}

// dead is a server that is none: it takes connections and then hangs up at
// once, or says nothing.
type dead struct {
	address string
	dials   atomic.Int64
	close   func()
}

func hangsUp() (*dead, error) { return listen(func(c net.Conn) { c.Close() }) }

func silent() (*dead, error) {
	return listen(func(c net.Conn) { io.Copy(io.Discard, c); c.Close() })
}

func listen(serve func(net.Conn)) (*dead, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &dead{address: "https://" + listener.Addr().String(), close: func() { listener.Close() }}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			d.dials.Add(1)
			go serve(connection)
		}
	}()
	return d, nil
}

// refuses is a server whose port nobody listens on.
func refuses() (*dead, error) {
	d, err := hangsUp()
	if err == nil {
		d.close()
	}
	return d, err
}
