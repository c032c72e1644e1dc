package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// playErrors shows what the agent's log says about three mistakes on the Patch
// server, and that following it resolves the host.
func (s *server) playErrors(ctx context.Context, out io.Writer, config *configuration) error {
	roleID, secretID := s.appRole()
	folder, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	sink := filepath.Join(folder, "sink")
	if err := os.WriteFile(sink, []byte(`{"token":"`+s.token+`","accessor":"","ttl":300,"creation_path":"auth/approle/login","wrapped_accessor":""}`), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThree mistakes on the Patch server: what the agent's log says, and the next run after the fix:\n\n")
	for _, mistake := range []struct {
		title         string
		method        string
		wrong, right  map[string]string
		before, after func()
	}{
		{title: "VAULT_TOKEN has quotes around the token", method: "token",
			wrong: map[string]string{"VAULT_TOKEN": `"` + s.token + `"`}, right: map[string]string{"VAULT_TOKEN": s.token}},
		{title: "Vault Agent wraps the token that it writes", method: "token",
			wrong: map[string]string{"VAULT_TOKEN_FILE": sink}, right: map[string]string{"VAULT_TOKEN_FILE": sink},
			after: func() { s.err = os.WriteFile(sink, []byte(s.token), 0o600) }},
		{title: "The secret id was wrong in five runs; now it is correct", method: "approle",
			wrong:  map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_SECRET_ID": secretID},
			right:  map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_SECRET_ID": secretID},
			before: func() { s.lock(roleID) }, after: func() { s.unlock(roleID) }},
	} {
		settings := config.Vault
		settings.AuthMethod = mistake.method
		run := func(variables map[string]string) error {
			all := map[string]string{"VAULT_ADDR": s.Address}
			maps.Copy(all, variables)
			vault := auth.New(settings, auth.Options{Getenv: func(name string) string { return all[name] }})
			host := resolver.Host{Name: "win-1", Fields: map[string]ref.Value{"password": ref.Parse("vault:secret/luumen/windev#password")}}
			return resolver.One(ctx, vault, host, resolver.Options{Patience: 5 * time.Second}).Err()
		}
		if mistake.before != nil {
			mistake.before()
		}
		err := run(mistake.wrong)
		if err == nil {
			return fmt.Errorf("no error: %s", mistake.title)
		}
		if mistake.after != nil {
			mistake.after()
		}
		if s.err != nil {
			return s.err
		}
		fmt.Fprintf(out, "  %s\n    %s\n", mistake.title, err)
		if err := run(mistake.right); err != nil {
			return err
		}
		fmt.Fprintln(out, "    after the fix: ready")
	}
	return nil
}

// appRole makes a role for the agent.
func (s *server) appRole() (roleID, secretID string) {
	s.do(http.MethodPost, "sys/auth/approle", object{"type": "approle"})
	s.do(http.MethodPost, "auth/approle/role/agent", object{"token_policies": "luumen"})
	return vaulttest.Text(s.do(http.MethodGet, "auth/approle/role/agent/role-id", nil), "data", "role_id"),
		vaulttest.Text(s.do(http.MethodPost, "auth/approle/role/agent/secret-id", nil), "data", "secret_id")
}

// lock makes Vault lock a role id by sending wrong secret ids.
func (s *server) lock(roleID string) {
	for range 5 {
		if _, _, err := s.Do(http.MethodPost, "auth/approle/login", object{"role_id": roleID, "secret_id": "wrong"}); err != nil {
			s.err = err
		}
	}
}

// unlock does what the command in the error does.
func (s *server) unlock(roleID string) {
	accessor := vaulttest.Text(s.do(http.MethodGet, "sys/auth/approle", nil), "data", "accessor")
	s.do(http.MethodPost, "sys/locked-users/"+accessor+"/unlock/"+roleID, nil)
}
