package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/luumen/patch-vault/internal/delay"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// lab is the Vault that the figures are measured on.
type lab struct {
	options options
	vault   *vaulttest.Server
	token   string
	near    *delay.Proxy
	far     *delay.Proxy
	rows    []row
}

const (
	nearTrip = 5 * time.Millisecond
	farTrip  = 50 * time.Millisecond
)

func secretPath(i int) string { return fmt.Sprintf("secret/luumen/host-%05d", i) }

func apiPath(i int) string { return fmt.Sprintf("secret/data/luumen/host-%05d", i) }

// openLab starts a Vault that holds a secret for each host.
func openLab(o options) (*lab, error) {
	// An audit file would limit how fast Vault answers.
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
	secrets := hostSecrets(max(l.options.hosts, 1))
	if !l.options.scale {
		secrets = append(secrets, otherSecrets()...)
	}
	return fill(l.vault, secrets)
}

// stored is a secret of the lab.
type stored struct {
	path string
	body func() []byte // made when needed, because all together are large
}

func hostSecrets(n int) (all []stored) {
	for i := range n {
		all = append(all, stored{apiPath(i), func() []byte {
			return fmt.Appendf(nil, `{"data":{"user":"luumen-%05d","password":"Xq7-w2Lf-%05d-mK9z-T4vB"}}`, i, i)
		}})
	}
	return all
}

const largeSecrets = 300

// secretSizes are small secrets, 1 MB in one value, and 1 MB in many small keys.
var secretSizes = []string{"small", "large", "many"}

func sizedPath(kind string, i int) string { return fmt.Sprintf("luumen/%s-%03d", kind, i) }

// otherSecrets are those with large keys or values.
func otherSecrets() (all []stored) {
	keys := make(map[string]string)
	for i := range oddKeys {
		keys[oddKey(i)] = "v"
	}
	large := map[string]string{"certificates": strings.Repeat("kilobyte", 125_000)}
	many := make(map[string]string)
	for i := range 9000 { // Vault takes 10,000 at most
		many[fmt.Sprintf("key-%04d-%s", i, strings.Repeat("k", 40))] = strings.Repeat("v", 50)
	}
	for i := range largeSecrets {
		for n, values := range []map[string]string{nil, large, many} {
			all = append(all, stored{"secret/data/" + sizedPath(secretSizes[n], i), func() []byte { return secretBody(values) }})
		}
	}
	return append(all, stored{strings.Replace(oddPath, "/", "/data/", 1), func() []byte { return secretBody(keys) }})
}

// secretBody is a secret with the values and a password.
func secretBody(values map[string]string) []byte {
	data := map[string]string{"password": "Xq7-w2Lf-mK9z-T4vB"}
	maps.Copy(data, values)
	body, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		panic(err) // texts can be encoded
	}
	return body
}

// newReader makes a token that can read the hosts' secrets and nothing else. Vault
// parses the templates of the default policy for each request, which would take
// most of the CPU.
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

// fill writes the secrets.
func fill(vault *vaulttest.Server, secrets []stored) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		// A new KV v2 mount is not ready at once.
		if status, _, err := vault.Do("GET", "secret/config", nil); err == nil && status == http.StatusOK {
			break
		} else if time.Since(began) > time.Minute {
			return errors.New("the mount secret is not ready after a minute")
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
			for i := next.Add(1) - 1; i < int64(len(secrets)); i = next.Add(1) - 1 {
				secret := secrets[i]
				request, _ := http.NewRequest(http.MethodPut, vault.Address+"/v1/"+secret.path, bytes.NewReader(secret.body()))
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
	if written.Load() != int64(len(secrets)) {
		return fmt.Errorf("only %d of %d secrets were written", written.Load(), len(secrets))
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

// dead is a server that accepts connections, and then closes them at once or says
// nothing.
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

// refuses is an address where nothing listens.
func refuses() (*dead, error) {
	d, err := hangsUp()
	if err == nil {
		d.close()
	}
	return d, err
}
