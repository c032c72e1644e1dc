package resolver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// answers are what a server says to each request, by what it is about.
type answers struct{ look, login, list, health, powers, read string }

// observed are answers of Vault 1.21.
var observed = answers{
	look:   `{"request_id":"5a9f","data":{"accessor":"a","creation_time":1764000000,"creation_ttl":2764800,"display_name":"token","entity_id":"","expire_time":"2026-12-26T21:55:07.126411012Z","explicit_max_ttl":0,"id":"x","num_uses":5,"orphan":false,"path":"auth/token/create","policies":["default","luumen"],"identity_policies":["team"],"renewable":true,"ttl":2764790,"type":"service","namespace_path":""},"warnings":null,"mount_type":"token"}`,
	login:  `{"request_id":"5a9f","auth":{"client_token":"hvs.x","accessor":"a","policies":["default","luumen"],"token_policies":["default"],"identity_policies":["team"],"lease_duration":3600,"renewable":true,"entity_id":"e","token_type":"service","orphan":true,"num_uses":0},"mount_type":""}`,
	list:   `{"request_id":"5a9f","data":{"auth":{},"secret":{"secret/":{"type":"kv","options":{"version":"2"}},"one/":{"type":"kv","options":{"version":"1"}},"pki/":{"type":"pki","options":null}}},"mount_type":"system"}`,
	health: `{"initialized":true,"sealed":false,"standby":false,"performance_standby":false,"replication_performance_mode":"disabled","replication_dr_mode":"disabled","server_time_utc":1764107707,"version":"1.21.1","enterprise":false,"cluster_name":"c","cluster_id":"i"}`,
	powers: `{"request_id":"5a9f","data":{"capabilities":["root"],"secret/data/app":["read","update"]},"mount_type":"system"}`,
	read:   `{"request_id":"5a9f","lease_id":"","lease_duration":0,"data":{"data":{"password":"x\n","other":1e21},"metadata":{"created_time":"2026-11-24T04:21:30.123456789Z","custom_metadata":{"luumen_hosts":"h*,["},"deletion_time":"2026-11-24T04:21:30.123456789Z","destroyed":false,"version":7}},"warnings":["w"],"mount_type":"kv"}`,
}

// encoder makes runs and checks against a server whose answers change.
type encoder struct {
	now            atomic.Pointer[answers]
	status         atomic.Int64 // of the reads
	given, byLogin *auth.Vault
}

func newEncoder(t testing.TB) *encoder {
	e := &encoder{}
	address := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		now := e.now.Load()
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
		case path == "auth/token/lookup-self":
			whole(w, 200, now.look)
		case strings.HasSuffix(path, "/login"):
			whole(w, 200, now.login)
		case path == "sys/internal/ui/mounts":
			whole(w, 200, now.list)
		case path == "sys/health":
			whole(w, 200, now.health)
		case path == "sys/capabilities-self":
			whole(w, 200, now.powers)
		case strings.HasSuffix(path, "-self"):
			whole(w, 403, denial)
		default:
			whole(w, int(e.status.Load()), now.read)
		}
	})
	e.given = auth.New(auth.Settings{Address: address}, environment(map[string]string{"VAULT_TOKEN": "hvs.given", "VAULT_CLIENT_TIMEOUT": "2"}))
	e.byLogin = auth.New(auth.Settings{Address: address, AuthMethod: "approle"}, environment(map[string]string{"VAULT_ROLE_ID": "r", "VAULT_CLIENT_TIMEOUT": "2"}))
	return e
}

// run has everything that the library returns encoded, whatever the server says.
func (e *encoder) run(t testing.TB, vault *auth.Vault, says answers, status int) {
	e.now.Store(&says)
	e.status.Store(int64(status))
	const patience = 100 * time.Millisecond
	all := map[string]any{"effective": vault.Effective(), "settings": vault.Settings(), "faults": vault.Settings().Faults()}
	fields := fieldsOf("vault:secret/app#password", "vault:one/app#pasword", "vault:pki/app#password", "vault:secret//app#password")
	verdicts := resolver.Check(t.Context(), vault, fields, resolver.CheckOptions{Patience: patience})
	all["verdicts"] = verdicts
	var hosts []resolver.Host
	for i, field := range fields {
		hosts = append(hosts, resolver.Host{Name: fmt.Sprint("h", i), Fields: map[string]ref.Value{"password": field}})
	}
	run := resolver.Resolve(t.Context(), vault, hosts, resolver.Options{Patience: patience})
	for i, result := range run.Results() {
		password, err := result.Credential("password")
		all[fmt.Sprint("result ", i)], all[fmt.Sprint("error ", i)], all[fmt.Sprint("host error ", i)], all[fmt.Sprint("credential ", i)] = result, err, result.Err(), password
		all[fmt.Sprint("created ", i)] = password.Created()
	}
	report := run.Report()
	all["run"], all["report"], all["causes"], all["findings"] = run, report, report.Causes, report.Findings
	usage, err := vault.Do(t.Context(), auth.DoOptions{Patience: patience, Check: true}, func(ctx context.Context, client *api.Client) error {
		all["token"] = auth.TokenOf(ctx)
		return nil
	})
	all["usage"], all["error of use"] = usage, err
	for name, v := range all {
		text, err := json.Marshal(v)
		require.NoError(t, err, "%s with %+v", name, says)
		require.True(t, utf8.Valid(text), "%s with %+v", name, says)
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		require.NotContains(t, log.String(), "!ERROR", "%s with %+v", name, says)
		require.True(t, json.Valid(log.Bytes()))
		require.True(t, utf8.ValidString(fmt.Sprint(v)), "%s with %+v", name, says)
	}
	assertDecodes(t, verdicts)
	assertDecodes(t, report)
}

// assertDecodes checks that nothing of the JSON is lost when it is decoded.
func assertDecodes[T any](t testing.TB, v T) {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	var decoded T
	require.NoError(t, json.Unmarshal(text, &decoded))
	again, err := json.Marshal(decoded)
	require.NoError(t, err)
	require.JSONEq(t, string(text), string(again))
}

// oddValues are what a server could put in the place of any value.
var oddValues = []string{
	`null`, `{}`, `"\u0000\ud800"`, "\"\xff\xfe\"",
	`-1`, `1e999`, `9223372036854775807`, `253402300800`, `"9999-12-31T23:59:59-12:00"`, `"0000-01-01T00:00:00Z"`,
}

// places are the values of a JSON text, each as its beginning and end.
func places(t *testing.T, text string) (all [][2]int) {
	decoder := json.NewDecoder(strings.NewReader(text))
	inObject, isKey := []bool{}, false
	for {
		before := int(decoder.InputOffset())
		token, err := decoder.Token()
		if err != nil {
			return all
		}
		depth := len(inObject)
		switch token {
		case json.Delim('{'), json.Delim('['):
			inObject, isKey = append(inObject, token == json.Delim('{')), token == json.Delim('{')
			continue
		case json.Delim('}'), json.Delim(']'):
			inObject = inObject[:depth-1]
			isKey = depth > 1 && inObject[depth-2]
			continue
		}
		if depth > 0 && inObject[depth-1] && isKey {
			isKey = false
			continue
		}
		isKey = depth > 0 && inObject[depth-1]
		end := int(decoder.InputOffset())
		start := before + strings.IndexFunc(text[before:end], func(r rune) bool { return !strings.ContainsRune(" ,:", r) })
		all = append(all, [2]int{start, end})
	}
}

// Whatever value a server puts in the place of another, everything
// that comes out can be encoded.
func TestEverythingCanBeEncoded(t *testing.T) {
	t.Parallel()
	e := newEncoder(t)
	tried := 0
	for _, part := range []func(*answers) *string{
		func(a *answers) *string { return &a.look }, func(a *answers) *string { return &a.login }, func(a *answers) *string { return &a.list },
		func(a *answers) *string { return &a.health }, func(a *answers) *string { return &a.powers }, func(a *answers) *string { return &a.read },
	} {
		text := *part(&observed)
		for n, place := range places(t, text) {
			for i := n % 2; i < len(oddValues); i += 2 { // half of them, in turn, to save time
				says := observed
				*part(&says) = text[:place[0]] + oddValues[i] + text[place[1]:]
				vault := e.given
				if strings.Contains(text, "client_token") {
					vault = e.byLogin
				}
				e.run(t, vault, says, 200)
				tried++
			}
		}
	}
	require.Greater(t, tried, 250)
}

// FuzzEncoding has a server answer anything: everything that comes out can be
// encoded.
func FuzzEncoding(f *testing.F) {
	f.Add(observed.look, observed.login, observed.list, observed.health, observed.powers, observed.read, uint8(0), false)
	f.Add(observed.look, observed.login, observed.list, observed.health, observed.powers, observed.read, uint8(1), true)
	f.Add(observed.look, observed.login, `{"errors":["no"]}`, `{}`, denial, `{"errors":["\ud800"],"data":{"data":null,"metadata":{"deletion_time":"9999-12-31T23:59:59-12:00","version":1}}}`, uint8(2), true)
	e := newEncoder(f)
	f.Fuzz(func(t *testing.T, look, login, list, health, powers, read string, status uint8, byLogin bool) {
		vault := e.given
		if byLogin {
			vault = e.byLogin
		}
		e.run(t, vault, answers{look, login, list, health, powers, read}, []int{200, 400, 403, 404}[status%4])
	})
}
