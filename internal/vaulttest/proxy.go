package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ProxyConfig configures a Vault Proxy. Its zero value passes requests on unchanged.
type ProxyConfig struct {
	// Agent starts Vault Agent in place of Vault Proxy.
	Agent bool
	// AutoAuth makes it log in by itself, with AppRole, and write the token to
	// Proxy.Sink. These are the settings of the role, as in Server.AppRole. Nil
	// is no auto-auth.
	AutoAuth map[string]any
	// UseToken is use_auto_auth_token: "true" adds that token to requests without
	// one, "force" to all requests, "" to none.
	UseToken string
	// WrapTTL, such as "5m", writes the token wrapped, so that the sink holds
	// JSON. "" writes the token itself.
	WrapTTL string
	// Cache keeps leases and tokens: two equal logins get the same token.
	Cache bool
	// RequireHeader refuses requests without X-Vault-Request: true, with status 412.
	RequireHeader bool
}

// Proxy is a Vault Proxy, or Vault Agent, in front of a server.
type Proxy struct {
	Address string // plain http, such as http://127.0.0.1:21234

	// These are set with ProxyConfig.AutoAuth only.
	AppRole  *AppRole // the role it logs in with
	Sink     string   // the file with its token
	Accessor string   // of the token it got at first; see Server.Alive

	config  ProxyConfig
	log     string
	process *process
}

// Proxy starts a Vault Proxy in front of the server, and stops it when the test ends. It returns
// when the proxy answers and, with auto-auth, has its token. The server needs an audit
// file, to find the token's accessor.
func (s *Server) Proxy(t testing.TB, config ProxyConfig) *Proxy {
	t.Helper()
	program, err := Find()
	require.NoError(t, err)
	p := &Proxy{config: config}
	// Between choosing a port and listening on it, it may be taken.
	for range 5 {
		if err = p.start(t, s, program); !errors.Is(err, errPortTaken) {
			break
		}
	}
	require.NoError(t, err)
	if p.AppRole != nil {
		p.Accessor, err = s.autoAuthAccessor(p.AppRole.Mount)
		require.NoError(t, err)
	}
	return p
}

// Alive reports whether the token with an accessor is alive.
func (s *Server) Alive(t testing.TB, accessor string) bool {
	t.Helper()
	status, answer, err := s.Do("POST", "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
	require.NoError(t, err)
	if status != http.StatusOK {
		require.Contains(t, fmt.Sprint(answer["errors"]), "invalid accessor", "status %d", status)
	}
	return status == http.StatusOK
}

// Stop kills the proxy. Stopping again does nothing.
func (p *Proxy) Stop() { p.process.end(keepFolder) }

func (p *Proxy) start(t testing.TB, s *Server, program string) error {
	t.Helper()
	dir := t.TempDir()
	listen, err := freePort()
	if err != nil {
		return err
	}
	p.Address, p.log = "http://"+listen, filepath.Join(dir, "proxy.log")
	file := filepath.Join(dir, "proxy.hcl")
	require.NoError(t, os.WriteFile(file, []byte(p.settings(t, s, dir, listen)), 0o600))
	command := "proxy"
	if p.config.Agent {
		command = "agent"
	}
	p.process, err = start(dir, p.log, []string{program, command, "-config=" + file})
	require.NoError(t, err)
	t.Cleanup(p.Stop)

	client, err := newClient("")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := p.process.wait(ctx, func() bool { return p.ready(ctx, client) }); err != nil {
		err = explain(err, p.log)
		p.Stop()
		return err
	}
	return nil
}

// settings makes the role, if auto-auth is on, and returns the text of the config file.
func (p *Proxy) settings(t testing.TB, s *Server, dir, listen string) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "vault {\n\taddress = %q\n\tca_cert = %q\n}\n", s.Address, s.CAFile)
	fmt.Fprintf(&text, "listener \"tcp\" {\n\taddress = %q\n\ttls_disable = true\n\trequire_request_header = %t\n}\n",
		listen, p.config.RequireHeader)
	if p.config.Cache {
		text.WriteString("cache {}\n")
	}
	if p.config.UseToken != "" {
		fmt.Fprintf(&text, "api_proxy {\n\tuse_auto_auth_token = %q\n}\n", p.config.UseToken)
	}
	if p.config.AutoAuth == nil {
		return text.String()
	}
	if p.AppRole == nil {
		p.AppRole = s.AppRole(t, p.config.AutoAuth)
	}
	p.Sink = filepath.Join(dir, "sink")
	roleID, secretID := filepath.Join(dir, "role_id"), filepath.Join(dir, "secret_id")
	require.NoError(t, os.WriteFile(roleID, []byte(p.AppRole.RoleID), 0o600))
	require.NoError(t, os.WriteFile(secretID, []byte(p.AppRole.SecretID(t, nil)), 0o600))
	wrap := ""
	if p.config.WrapTTL != "" {
		wrap = fmt.Sprintf("wrap_ttl = %q\n\t\t", p.config.WrapTTL)
	}
	fmt.Fprintf(&text, `auto_auth {
	method "approle" {
		mount_path = %q
		config = {
			role_id_file_path = %q
			secret_id_file_path = %q
			remove_secret_id_file_after_reading = false
		}
	}
	sink "file" {
		%sconfig = {
			path = %q
		}
	}
}
`, "auth/"+p.AppRole.Mount, roleID, secretID, wrap, p.Sink)
	return text.String()
}

// ready reports whether the proxy answers, has written its sink, and uses its token, which
// happens a moment after the sink.
func (p *Proxy) ready(ctx context.Context, client *http.Client) bool {
	if p.Sink != "" {
		if _, err := os.Stat(p.Sink); err != nil {
			return false
		}
	}
	path := "sys/health"
	if p.config.UseToken != "" {
		path = "auth/token/lookup-self"
	}
	request, err := http.NewRequestWithContext(ctx, "GET", p.Address+"/v1/"+path, nil)
	if err != nil {
		return false
	}
	request.Header.Set("X-Vault-Request", "true")
	request.Header.Set("User-Agent", "vaulttest")
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var answer struct{ Errors []string }
	// Vault answers exactly this to a request without a token. A token that may not
	// look itself up gets a longer text.
	return json.NewDecoder(response.Body).Decode(&answer) == nil &&
		(len(answer.Errors) == 0 || answer.Errors[0] != "permission denied")
}

// autoAuthAccessor returns the accessor of the token of a proxy's first login. It comes
// from the audit file, since the proxy removes it from the answers that it passes on.
func (s *Server) autoAuthAccessor(mount string) (string, error) {
	text, err := s.audit.upToNow(s.AuditFile)
	if err != nil {
		return "", err
	}
	for entry := range bytes.Lines(text) {
		if !bytes.Contains(entry, []byte(mount+"/login")) {
			continue
		}
		var line auditLine
		if err := json.Unmarshal(entry, &line); err != nil {
			return "", fmt.Errorf("audit file: %w", err)
		}
		if line.Type == "response" && strings.Contains(line.request().UserAgent, "Auto-Auth") {
			return line.Auth.Accessor, nil
		}
	}
	return "", errors.New("the login of the proxy is not in the audit file")
}
