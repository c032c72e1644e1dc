package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

const (
	secrets = 400 // each used by one host
	mount   = "secrets"
)

// fleet is the hosts of every run.
type fleet struct {
	hosts []resolver.Host
	want  []resolver.Kind // empty for a host that must be resolved
}

// newFleet makes hosts of each kind, and their secrets in Vault.
func newFleet(leader *vaulttest.Server) (*fleet, error) {
	if _, err := ask(leader, "POST", "sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}); err != nil {
		return nil, err
	}
	// A new mount is not ready at once.
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := ask(leader, "GET", mount+"/config", nil)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return nil, err
		}
	}
	f := &fleet{}
	for i := range secrets {
		if err := write(leader, i, 0); err != nil {
			return nil, err
		}
		f.add("", reference("host/"+strconv.Itoa(i), "password"))
	}
	if _, err := ask(leader, "DELETE", apiPath(secrets-1), nil); err != nil {
		return nil, err
	}
	f.want[secrets-1] = resolver.Deleted
	f.add(resolver.NoKey, reference("host/0", "user"))
	f.add(resolver.NotFound, reference("host/none", "password"))
	f.add(resolver.Denied, reference("other", "password"))
	f.add(resolver.Denied, ref.Parse("vault:elsewhere/other#password"))
	f.add(resolver.BadReference, ref.Parse("vault:no-key"))
	return f, nil
}

func (f *fleet) add(want resolver.Kind, password ref.Value) {
	name := "host" + strconv.Itoa(len(f.hosts))
	f.hosts = append(f.hosts, resolver.Host{Name: name, Fields: map[string]ref.Value{"user": ref.Parse("root"), "password": password}})
	f.want = append(f.want, want)
}

func reference(path, key string) ref.Value {
	return ref.Parse("vault:" + mount + "/" + path + "#" + key)
}

func apiPath(secret int) string { return mount + "/data/host/" + strconv.Itoa(secret) }

// write stores the number of a rotation as the secret.
func write(leader *vaulttest.Server, secret, number int) error {
	_, err := ask(leader, "PUT", apiPath(secret), rotated(number))
	return err
}

func rotated(number int) map[string]any {
	return map[string]any{"data": map[string]string{"password": "rotation-" + strconv.Itoa(number)}}
}

// verdicts count the results of a run.
type verdicts struct{ served, stale, lost, wrong, givenUp int }

// judge compares a result with what the host must get: an error of the kind want,
// or a value at least as new as the rotation oldest.
func (v *verdicts) judge(want resolver.Kind, result resolver.Result, oldest int) {
	err := result.Err()
	host, failed := errors.AsType[*resolver.HostError](err)
	switch {
	case failed && want != "" && errors.Is(err, want) && len(host.Fields) == 1:
	case failed && errors.Is(err, context.Canceled):
		v.givenUp++
	case failed && want == "":
		v.lost++
	case failed || want != "":
		v.wrong++
	default:
		v.served++
		password, err := result.Credential("password")
		text, ok := strings.CutPrefix(password.Reveal(), "rotation-")
		number, notNumber := strconv.Atoi(text)
		if err != nil || !ok || notNumber != nil || number < oldest {
			v.stale++
		}
	}
}

func (t *tally) add(v verdicts, taken int, report resolver.Report) {
	t.runs++
	t.hosts += taken
	t.served += v.served
	t.stale += v.stale
	t.lost += v.lost
	t.wrong += v.wrong
	t.retries += report.Retries
	t.longestWait = max(t.longestWait, report.Waited)
	for _, finding := range report.Findings {
		switch finding.Code {
		case auth.TokenNotRevoked:
			t.announced++
		case auth.TokenTTLShort:
			t.relogged++
		}
	}
}

// newRoles makes the roles, and returns the agent's environment for each.
func newRoles(leader *vaulttest.Server) (map[string]map[string]string, error) {
	if _, err := ask(leader, "POST", "sys/auth/approle", map[string]any{"type": "approle"}); err != nil {
		return nil, err
	}
	policy := fmt.Sprintf(`path "%s/data/host/*" { capabilities = ["read"] }`, mount)
	if _, err := ask(leader, "PUT", "sys/policies/acl/agent", map[string]any{"policy": policy}); err != nil {
		return nil, err
	}
	roles := make(map[string]map[string]string)
	for role, ttl := range map[string]time.Duration{lasting: 10 * time.Minute, expiring: expiry} {
		path := "auth/approle/role/" + role
		if _, err := ask(leader, "POST", path, map[string]any{"token_policies": []string{"agent"}, "token_ttl": ttl.String()}); err != nil {
			return nil, err
		}
		roleID, err := ask(leader, "GET", path+"/role-id", nil)
		if err != nil {
			return nil, err
		}
		secretID, err := ask(leader, "POST", path+"/secret-id", nil)
		if err != nil {
			return nil, err
		}
		roles[role] = map[string]string{
			"VAULT_ROLE_ID":   vaulttest.Text(roleID, "data", "role_id"),
			"VAULT_SECRET_ID": vaulttest.Text(secretID, "data", "secret_id"),
		}
	}
	return roles, nil
}
