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
	"sync"
	"sync/atomic"

	"github.com/hashicorp/vault/api"
)

var ctx = context.Background()

// connections is as many as the library has by default.
const connections = 16

// bare reads the paths with net/http, over as many connections as the library,
// and does nothing with the answers but read them to their end.
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

	var o outcome
	var next, ready atomic.Int64
	var group sync.WaitGroup
	w := watch()
	for range connections {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(urls)); i = next.Add(1) - 1 {
				request, _ := http.NewRequest(http.MethodGet, urls[i], nil)
				request.Header.Set("X-Vault-Token", t.Token)
				response, err := client.Do(request)
				if err != nil {
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err == nil && response.StatusCode == http.StatusOK {
					ready.Add(1)
				}
			}
		})
	}
	group.Wait()
	w.stop(&o)
	o.Ready = int(ready.Load())
	if o.Ready != len(urls) {
		return o, fmt.Errorf("the bare client read only %d of %d paths", o.Ready, len(urls))
	}
	return o, nil
}

// sequence reads the paths with vault/api, one after the other, as a loop over
// hosts would. Its connection is up before it is timed.
func sequence(t task) (outcome, error) {
	config := api.DefaultConfig()
	config.Address = t.Address
	if err := config.ConfigureTLS(&api.TLSConfig{CACert: t.CAFile}); err != nil {
		return outcome{}, err
	}
	client, err := api.NewClient(config)
	if err != nil {
		return outcome{}, err
	}
	client.SetToken(t.Token)
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
