package resolver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

func TestReport(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "a", map[string]any{"password": "p"})
	hosts := []resolver.Host{host("ready", "password", "vault:"+kv+"/a#password"), host("literal", "password", "x")}
	for i := range 5 {
		hosts = append(hosts, host("lost-"+strconv.Itoa(i), "password", "vault:"+kv+"/none#password", "user", "vault:"+kv+"/none#user"))
	}
	hosts = append(hosts, host("typo", "password", "vault:"+kv+"/a#pasword"))
	run := resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{RunID: "report-1"})
	results := collect(run)
	require.Len(t, results, 8)
	report := run.Report()

	assert.Equal(t, []int{8, 2, 6, 0}, []int{report.Hosts, report.Ready, report.Skipped, report.NotTaken})
	require.Len(t, report.Causes, 2, "the path's error is one, whatever the hosts and fields")
	assert.Equal(t, resolver.NotFound, report.Causes[0].Kind)
	assert.Len(t, report.Causes[0].Hosts, 5)
	assert.Equal(t, resolver.NoKey, report.Causes[1].Kind)
	assert.Equal(t, []string{"typo"}, report.Causes[1].Hosts)
	assert.Equal(t, 4, report.Requests)
	assert.Zero(t, report.Retries)
	assert.Zero(t, report.Waited)
	assert.Positive(t, report.Median)
	assert.LessOrEqual(t, report.Median, report.Longest)
	assert.True(t, report.Token.Given)

	lines := strings.Split(report.String(), "\n")
	assert.Contains(t, lines[0], "8 hosts: 2 ready, 6 skipped; 4 requests, answers in ")
	assert.Equal(t, "run report-1 in Vault's audit log; token: given, does not expire", lines[1])
	assert.Equal(t, "skipped lost-0, lost-1, lost-2 and 2 more (not_found): "+kv+"/none: vault has no secret at "+kv+"/data/none; check the path", lines[2])
	assert.Equal(t, "skipped typo (no_key): vault:"+kv+`/a#pasword: no key "pasword" at version 1; did you mean "password"?`, lines[3])

	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Error("hosts skipped", "cause", report.Causes[0], "run", report)
	var record struct {
		Cause struct {
			Kind, Error string
			Skipped     int
			Hosts       []string
		}
		Run struct {
			Hosts, Ready, Skipped int
			Token                 string
			RunID                 string `json:"run_id"`
			Causes                []struct {
				Kind, Error string
				Skipped     int
				Hosts       []string
			}
		}
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &record))
	assert.Equal(t, "not_found", record.Cause.Kind)
	assert.Equal(t, report.Causes[0].Text, record.Cause.Error)
	assert.Equal(t, 5, record.Cause.Skipped)
	assert.Len(t, record.Cause.Hosts, 5)
	assert.Equal(t, 2, record.Run.Ready)
	assert.Equal(t, []string{"report-1", "given, does not expire"}, []string{record.Run.RunID, record.Run.Token})
	require.Len(t, record.Run.Causes, 2)
	assert.Equal(t, "not_found", record.Run.Causes[0].Kind)
	assert.Equal(t, 5, record.Run.Causes[0].Skipped)
	assert.Empty(t, record.Run.Causes[0].Hosts, "many are counted")
	assert.Equal(t, []string{"typo"}, record.Run.Causes[1].Hosts)

	out.Reset()
	slog.New(slog.NewTextHandler(&out, nil)).Error("hosts skipped", "run", report)
	assert.Contains(t, out.String(), "check the path: lost-0, lost-1, lost-2 and 2 more skipped")
	assert.Contains(t, out.String(), "typo skipped")
}

// Fields that share a cause are in one Cause, whose JSON names them.
func TestCausesNameFieldsAndPaths(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "other", map[string]any{"user": "u", "password": "p"})
	server.Metadata(t, kv, "other", map[string]string{"luumen_hosts": "web-*"})
	server.Put(t, kv, "app", map[string]any{"user": "u", "null": nil})
	missing, null := "vault:"+kv+"/app#sudo", "vault:"+kv+"/app#null"
	run := resolver.Resolve(t.Context(), connect(server, server.Token), []resolver.Host{
		host("a", "user", "vault:"+kv+"/other#user", "password", "vault:"+kv+"/other#password"),
		host("b", "sudo", missing, "password", missing),
		host("c", "key", null),
		host("d", "user", "vault:"),
	}, resolver.Options{})
	collect(run)
	type cause struct {
		Kind, Reference, Path string
		Fields, Hosts         []string
	}
	var shown struct{ Causes []cause }
	text, err := json.Marshal(run.Report())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &shown))
	assert.ElementsMatch(t, []cause{
		{"not_for_host", "", kv + "/other", []string{"password", "user"}, []string{"a"}},
		{"no_key", missing, "", []string{"password", "sudo"}, []string{"b"}},
		{"bad_value", null, "", []string{"key"}, []string{"c"}},
		{"bad_reference", "", "", []string{"user"}, []string{"d"}},
	}, shown.Causes)
}

// If the loop ends early, the report says how many hosts are left.
func TestReportOfALoopThatEndsEarly(t *testing.T) {
	t.Parallel()
	run := resolver.Resolve(t.Context(), connect(&vaulttest.Server{}, ""), []resolver.Host{host("a"), host("b"), host("c")}, resolver.Options{})
	for range run.Results() {
		break
	}
	assert.Equal(t, "3 hosts: 1 ready, 0 skipped, 2 not taken\n", run.Report().String())
}

// Names may repeat. A cause counts hosts, not names, and each host once.
func TestCausesCountHostsOfOneName(t *testing.T) {
	t.Parallel()
	hosts := []resolver.Host{host("db", "user", "vault:x", "password", "vault:x"), host("db", "user", "vault:x"), host("db", "user", "vault:x")}
	run := resolver.Resolve(t.Context(), auth.New(auth.Settings{}, environment(nil)), hosts, resolver.Options{})
	collect(run)
	causes := run.Report().Causes
	require.Len(t, causes, 2)
	assert.Equal(t, []string{"db", "db", "db"}, causes[0].Hosts)
	assert.Equal(t, []string{"db"}, causes[1].Hosts)
}

// Few hosts are named, many are counted.
func TestCauseNamesFewHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hosts []string
		want  string
	}{
		{[]string{"a"}, "vault unreachable: a skipped"},
		{[]string{"a", "b", "c"}, "vault unreachable: a, b, c skipped"},
		{[]string{"a", "b", "c", "d", "e"}, "vault unreachable: a, b, c and 2 more skipped"},
	} {
		assert.Equal(t, c.want, resolver.Cause{Problem: resolver.Problem{Text: "vault unreachable"}, Hosts: c.hosts}.String())
	}
}

// With a deadline shorter than patience, hosts get the caller's own error. The report
// still says that Vault is down.
func TestReportOfADeadlineBeforePatience(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ address, cause string }{
		"refused":   {"http://" + vaulttest.ClosedPort(t), "connection refused"},
		"no answer": {mute(t), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			run := resolver.Resolve(ctx, vaultAt(c.address, "t"), []resolver.Host{host("h", "password", "vault:secret/a#b")}, resolver.Options{})
			require.ErrorIs(t, collect(run)[0].Err(), context.DeadlineExceeded)
			report := run.Report()
			assert.Equal(t, resolver.Canceled, report.Causes[0].Kind)
			require.Equal(t, []string{auth.NoAnswer}, codes(report.Findings))
			assert.Regexp(t, `^vault had not answered for \d+\.\d+s when the run was canceled`, report.Findings[0].Text)
			assert.Contains(t, report.Findings[0].Detail, c.cause)
			assert.Contains(t, report.String(), "warning: vault had not answered")
			assert.NotContains(t, report.String(), "audit log", "Vault has seen nothing")
		})
	}
}

// A literal that looks mistyped is used as it is. The host will refuse it, and the report
// says why.
func TestReportOfOddLiterals(t *testing.T) {
	t.Parallel()
	hosts := []resolver.Host{
		host("a", "password", "secret/luumen/windev#password"),
		host("b", "password", "correct horse", "user", "root"),
		host("c", "password", "", "user", "((vault:x))"),
	}
	run := resolver.Resolve(t.Context(), auth.New(auth.Settings{}, environment(nil)), hosts[:2], resolver.Options{})
	collect(run)
	assert.Equal(t, []string{"warning: password of a: this field looks like a reference without vault:, but is used as a literal; if it is meant as a reference, begin the field with vault:"}, texts(run.Report().Findings))
	assertPlaced(t, run, "password of a: this field looks ", "secret/luumen/windev")

	hosts[0].Name = "a\nb"
	run = resolver.Resolve(t.Context(), auth.New(auth.Settings{}, environment(nil)), hosts, resolver.Options{})
	collect(run)
	require.Len(t, run.Report().Findings, 2) // one of each text
	assertPlaced(t, run, `user of c: this field looks like a reference for `, "((vault:x))")

	hosts[1].Fields = hosts[0].Fields
	run = resolver.Resolve(t.Context(), auth.New(auth.Settings{}, environment(nil)), hosts[:2], resolver.Options{})
	collect(run)
	require.Len(t, run.Report().Findings, 1)
	assertPlaced(t, run, `password of "a\nb", and 1 more: this field looks `, "secret/luumen/windev")
}

// assertPlaced checks that the last finding says in the UI, too, what it is about, and that
// a text is for the log alone or for nobody.
func assertPlaced(t *testing.T, run *resolver.Run, place, kept string) {
	t.Helper()
	report := run.Report()
	require.NotEmpty(t, report.Findings)
	last := report.Findings[len(report.Findings)-1].Text
	assert.True(t, strings.HasPrefix(last, place), last)
	shown, err := json.Marshal(report)
	require.NoError(t, err)
	quoted, err := json.Marshal(kept)
	require.NoError(t, err)
	assert.NotContains(t, string(shown), strings.Trim(string(quoted), `"`))
}

// A run copies its hosts, and any goroutine can ask for the report while it goes on.
func TestHostsChangeAndReportsAreMadeDuringTheLoop(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	hosts := writtenFleet(t, server, kv, 20)
	run := resolver.Resolve(t.Context(), connect(server, server.Token), hosts, resolver.Options{})
	clear(hosts[0].Fields)
	var reporting sync.WaitGroup
	for i, result := range run.Results() {
		reporting.Go(func() { assert.Equal(t, 20, run.Report().Hosts) })
		_, err := result.Credential("password")
		assert.NoError(t, err)
		clear(hosts[i].Fields)
		hosts[i] = resolver.Host{}
	}
	reporting.Wait()
	assert.Equal(t, 20, run.Report().Ready)
}

func TestResultPrints(t *testing.T) {
	t.Parallel()
	run := resolver.Resolve(t.Context(), auth.New(auth.Settings{}, environment(nil)), []resolver.Host{host("a", "password", "x"), host("b", "password", "vault:x")}, resolver.Options{})
	results := collect(run)
	assert.Equal(t, "a: ready", fmt.Sprintf("%+v", results[0]))
	assert.Equal(t, "b: "+results[1].Err().Error(), fmt.Sprint(results[1]))
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("took", "result", results[1])
	assert.Contains(t, log.String(), "no # and key after the path")

	credential, err := results[0].Credential("password")
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		assert.Contains(t, fmt.Sprintf(verb, credential), "[literal]", verb)
	}
}

// A decoded report, such as in a backend, says of each cause what the UI may show.
func TestReportThatWasDecoded(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	kv := server.KV(t, 2)
	server.Put(t, kv, "app", map[string]any{"password": "right"})
	run := resolver.Resolve(t.Context(), connect(server, server.ReaderToken(t, kv+"/data/app")), []resolver.Host{
		host("a", "p", "vault:"+kv+"/hr#password"), host("b", "p", "vault:"+kv+"/app#pasword"), host("c", "p", "vault:x"),
	}, resolver.Options{})
	collect(run)
	data, err := json.Marshal(run.Report())
	require.NoError(t, err)
	var decoded resolver.Report
	require.NoError(t, json.Unmarshal(data, &decoded))
	for _, line := range []string{
		"skipped a (denied): " + kv + "/hr: the agent may not read this path; check that the path and its mount exist",
		"skipped b (no_key): vault:" + kv + "/app#pasword: the secret has no such key; check the key; ",
		"skipped c (bad_reference): key at byte 7: no # and key after the path; write vault:PATH#KEY",
	} {
		assert.Contains(t, decoded.String(), "\n"+line)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("run ended", "report", decoded, "cause", decoded.Causes[0])
	for _, c := range decoded.Causes {
		assert.Contains(t, c.String(), c.Reason)
		assert.Contains(t, log.String(), c.Reason)
	}
}

// A line of the log holds a hundred causes, and says how many more there are.
func TestReportOfManyCauses(t *testing.T) {
	t.Parallel()
	h := &hostileVault{read: func(w http.ResponseWriter, r *http.Request, _ string) { always(404, `{"errors":[]}`)(w, r) }}
	run := resolver.Resolve(t.Context(), h.start(t), ofPaths(300, "secret/%d"), resolver.Options{})
	collect(run)
	report := run.Report()
	require.Len(t, report.Causes, 300)
	var line bytes.Buffer
	slog.New(slog.NewJSONHandler(&line, nil)).Info("run ended", "report", report)
	var logged struct {
		Report struct {
			Causes     []any `json:"causes"`
			MoreCauses int   `json:"more_causes"`
		} `json:"report"`
	}
	require.NoError(t, json.Unmarshal(line.Bytes(), &logged))
	assert.Len(t, logged.Report.Causes, 100)
	assert.Equal(t, 200, logged.Report.MoreCauses)
}
