package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/vault/api"
)

var ctx = context.Background()

// connections is the library's default number of connections.
const connections = 16

// bare reads the paths with net/http, over as many connections as the library, and
// discards the answers. Like the library's caller, it has the fleet in memory, where it
// costs garbage collection time; so do the other yardsticks.
func bare(t task) (outcome, error) {
	config, err := t.trust()
	if err != nil {
		return outcome{}, err
	}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	transport := &http.Transport{
		TLSClientConfig:     config,
		Protocols:           http1,
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	urls := make([]string, t.Hosts)
	for i := range urls {
		urls[i] = t.Address + "/v1/" + apiPath(i)
	}

	return t.concurrently(func(i int) bool {
		request, _ := http.NewRequest(http.MethodGet, urls[i], nil)
		request.Header.Set("X-Vault-Token", t.Token)
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return err == nil && response.StatusCode == http.StatusOK
	})
}

// kv reads the paths with vault/api's KVv2.Get from as many goroutines as the
// library has workers, as one would without the library. With HTTP1 it also uses as
// many HTTP/1.1 connections; otherwise it uses its default, HTTP/2.
func kv(t task) (outcome, error) {
	client, err := t.client()
	if err != nil {
		return outcome{}, err
	}
	secrets := client.KVv2("secret")
	return t.concurrently(func(i int) bool {
		secret, err := secrets.Get(ctx, strings.TrimPrefix(secretPath(i), "secret/"))
		if err != nil {
			return false
		}
		user, _ := secret.Data["user"].(string)
		password, _ := secret.Data["password"].(string)
		return user != "" && password != ""
	})
}

// client is an ordinary client of vault/api.
func (t task) client() (*api.Client, error) {
	config := api.DefaultConfig()
	config.Address = t.Address
	if err := config.ConfigureTLS(&api.TLSConfig{CACert: t.CAFile}); err != nil {
		return nil, err
	}
	transport := config.HttpClient.Transport.(*http.Transport)
	transport.MaxIdleConnsPerHost = connections
	if t.HTTP1 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP1(true)
		transport.ForceAttemptHTTP2 = false
		transport.MaxConnsPerHost = connections
		transport.TLSClientConfig.NextProtos = nil
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.SetToken(t.Token)
	return client, nil
}

// concurrently reads all paths, from one goroutine for each connection.
func (t task) concurrently(read func(i int) (ok bool)) (outcome, error) {
	var o outcome
	fleet := t.fleet(t.Hosts)
	defer runtime.KeepAlive(fleet)
	var next, ready atomic.Int64
	var group sync.WaitGroup
	w := watch()
	for range connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(t.Hosts); i = next.Add(1) - 1 {
				if read(int(i)) {
					ready.Add(1)
				}
			}
		})
	}
	group.Wait()
	w.stop(&o)
	if o.Ready = int(ready.Load()); o.Ready != t.Hosts {
		return o, fmt.Errorf("%s read only %d of %d paths", t.Do, o.Ready, t.Hosts)
	}
	return o, nil
}

// sequence reads the paths with vault/api, one after another, as a loop over hosts
// would. The connection is made before the clock starts.
func sequence(t task) (outcome, error) {
	client, err := t.client()
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	read := func(i int) error {
		secret, err := client.Logical().ReadWithContext(ctx, apiPath(i))
		if err == nil && secret == nil {
			err = errors.New("no secret")
		}
		return err
	}
	if err := read(0); err != nil {
		return o, err
	}
	w := watch()
	for i := range t.Hosts {
		if err := read(i); err != nil {
			return o, err
		}
	}
	w.stop(&o)
	o.Ready = t.Hosts
	return o, nil
}

func (t task) trust() (*tls.Config, error) {
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate", t.CAFile)
	}
	return &tls.Config{RootCAs: pool}, nil
}
