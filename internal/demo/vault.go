package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// server is the Vault of the demo, with the agent's token.
type server struct {
	*vaulttest.Server
	token     string   // that of an administrator before admit
	passwords []string // every password that was made
	err       error    // the first one; later steps do nothing
}

func startVault() (*server, error) {
	started, err := vaulttest.Start(vaulttest.Config{})
	if err != nil {
		return nil, err
	}
	s := &server{Server: started, token: started.Token}
	s.fill()
	if s.err != nil {
		s.Stop()
	}
	return s, s.err
}

// environment is what an operator sets on the Patch server.
func (s *server) environment() auth.Options {
	variables := map[string]string{
		"VAULT_TOKEN":        s.token,
		"VAULT_ADDR":         s.Address,
		"LUUMEN_VAULT_PATHS": "secret, team/kv, legacy, transit",
	}
	return auth.Options{Getenv: func(name string) string { return variables[name] }}
}

func (s *server) fill() {
	s.do(http.MethodPost, "sys/mounts/team/kv", object{"type": "kv", "options": object{"version": "2"}})
	s.do(http.MethodPost, "sys/mounts/legacy", object{"type": "kv", "options": object{"version": "1"}})
	s.do(http.MethodPost, "sys/mounts/transit", object{"type": "transit"})
	s.do(http.MethodPost, "transit/keys/app", nil)

	s.put("secret", "luumen/windev", object{"user": "Administrator", "password": s.password()})
	s.put("secret", "luumen/windev", object{"user": "Administrator", "password": s.password()})
	s.put("secret", "luumen/linux-key", object{"private_key": privateKey()})
	s.put("secret", "luumen/dmz", object{"user": "Administrator", "password": s.password()})
	s.do(http.MethodPost, "secret/metadata/luumen/dmz", object{"custom_metadata": object{"luumen_hosts": "win-dmz-*, lin-dmz-*"}})
	s.put("secret", "luumen/leaver", object{"password": s.password()})
	s.put("secret", "luumen/odd", object{"nested": object{"password": s.password()}})
	s.put("secret", "luumen/retired", object{"password": s.password()})
	s.do(http.MethodDelete, "secret/data/luumen/retired", nil)
	s.put("secret", "luumen/servicenow", object{"password": s.password()})
	s.put("secret", "luumen/confluence", object{"api token": s.password()})
	s.put("secret", "hr/payroll", object{"password": s.password()})
	s.put("team/kv", "sap/hosts", object{"user": "sapadm", "password": s.password()})
	s.put("team/kv", "btp", object{"client_id": "sb-luumen", "client_secret": s.password()})
	s.put("team/kv", "odd#name", object{"pass?word": s.password()})
	s.do(http.MethodPost, "legacy/unix", object{"user": "patch", "password": s.password()})
}

// admit makes the agent's token. It has the policy, without payroll but with a
// transit key for some other work.
func (s *server) admit(policy string) error {
	policy = regexp.MustCompile(`(?m)^.*payroll.*$`).ReplaceAllString(policy, "")
	policy += `path "transit/keys/app" { capabilities = ["read"] }`
	s.do(http.MethodPost, "sys/policies/acl/luumen", object{"policy": policy})
	s.token = vaulttest.Text(s.do(http.MethodPost, "auth/token/create", object{"policies": []string{"luumen"}, "period": "768h"}), "auth", "client_token")
	return s.err
}

// rotate changes the password that most hosts use, and deletes a secret that one
// host uses.
func (s *server) rotate() error {
	s.put("secret", "luumen/windev", object{"user": "Administrator", "password": s.password()})
	s.do(http.MethodDelete, "secret/data/luumen/leaver", nil)
	return s.err
}

func (s *server) shutDown() error {
	s.Kill()
	return s.err
}

type object = map[string]any

func (s *server) put(mount, path string, secret object) {
	s.do(http.MethodPost, mount+"/data/"+path, object{"data": secret})
}

func (s *server) do(method, path string, body any) map[string]any {
	if s.err != nil {
		return nil
	}
	status, answer, err := s.Do(method, path, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s %s: vault answered %d", method, path, status)
	}
	s.err = err
	return answer
}

func (s *server) password() string {
	s.passwords = append(s.passwords, rand.Text())
	return s.passwords[len(s.passwords)-1]
}

// privateKey makes a key of several lines, which must arrive byte for byte.
func privateKey() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
