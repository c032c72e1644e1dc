package resolver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/resolver"
)

// hostileVault answers as Vault 1.21 does, except what a test replaces.
type hostileVault struct {
	mounts string // the JSON of the list's data; empty means the mount secret of KV v2
	read   func(w http.ResponseWriter, r *http.Request, path string)
	reads  atomic.Int64
}

func (h *hostileVault) start(t testing.TB) *auth.Vault {
	address := wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); path {
		case "auth/token/lookup-self":
			always(200, lookupSelf)(w, r)
		case "sys/internal/ui/mounts":
			text := h.mounts
			if text == "" {
				text = `{"auth":{},"secret":{"secret/":{"type":"kv","options":{"version":"2"}}}}`
			}
			whole(w, 200, `{"request_id":"5a9f","lease_id":"","renewable":false,"lease_duration":0,"data":`, text, `,"wrap_info":null,"warnings":null,"auth":null,"mount_type":"system"}`)
		case "sys/capabilities-self", "sys/health":
			always(403, denial)(w, r)
		default:
			h.reads.Add(1)
			h.read(w, r, path)
		}
	})
	return vaultAt(address, "hvs.of-a-hostile-server")
}

const (
	lookupSelf = `{"request_id":"5a9f","lease_id":"","renewable":false,"lease_duration":0,"data":{"accessor":"a","creation_ttl":0,"expire_time":null,"id":"x","num_uses":0,"policies":["luumen"],"ttl":0,"type":"service"},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"token"}`
	denial     = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
)

// whole writes an answer with a Content-Length.
func whole(w http.ResponseWriter, status int, parts ...string) {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
	for _, part := range parts {
		io.WriteString(w, part)
	}
}

// secretV2 is an answer of KV v2 with this data and custom metadata.
func secretV2(w http.ResponseWriter, data, custom string) {
	whole(w, 200, `{"request_id":"5a9f","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":`, data,
		`,"metadata":{"created_time":"2026-11-24T04:21:30.123456789Z","custom_metadata":`, custom,
		`,"deletion_time":"","destroyed":false,"version":1}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`)
}

// members is the JSON of an object with n members, each as given.
func members(n int, member func(b *bytes.Buffer, i int)) string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		member(&b, i)
	}
	b.WriteByte('}')
	return b.String()
}

// longKeys is a secret with n keys of 512 bytes, which differ only at their ends.
func longKeys(n int) string {
	return members(n, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, `"%s%06d":"x"`, strings.Repeat("k", 506), i) })
}

// tinyMembers is as many members as fit in size bytes.
func tinyMembers(size int, value string) string {
	const key = 6
	return members((size-2)/(len(value)+key+4), func(b *bytes.Buffer, i int) { fmt.Fprintf(b, `"%*s":%s`, key, strconv.FormatInt(int64(i), 36), value) })
}

// misspelling are n hosts that each misspell a key of 512 bytes in another way.
func misspelling(n int) []resolver.Host {
	hosts := make([]resolver.Host, n)
	for i := range hosts {
		hosts[i] = host(fmt.Sprintf("h%d", i), "password", fmt.Sprintf("vault:secret/app#%sx%05d", strings.Repeat("k", 506), i))
	}
	return hosts
}

// ofPaths are n hosts of a path each, in a mount of their own if a format says so.
func ofPaths(n int, format string) []resolver.Host {
	hosts := make([]resolver.Host, n)
	for i := range hosts {
		hosts[i] = host(fmt.Sprintf("h%d", i), "password", "vault:"+fmt.Sprintf(format, i)+"#password")
	}
	return hosts
}

// aWhile is far more than bounded work takes on a busy machine, and far less than
// unbounded work would.
const aWhile = time.Minute

// Keys of a secret, its list of hosts, and a server's words do not make a host
// cost more than its fields.
func TestWorkPerHostIsBounded(t *testing.T) {
	t.Parallel()
	globs := func(glob string, n int) string { return `{"luumen_hosts":"` + strings.Repeat(glob+",", n) + `no"}` }
	for _, c := range []struct {
		name  string
		hosts []resolver.Host
		read  func(w http.ResponseWriter, r *http.Request, path string)
		kind  resolver.Kind
	}{
		{"keys of 512 bytes, misspelt", misspelling(500),
			func(w http.ResponseWriter, _ *http.Request, _ string) { secretV2(w, longKeys(1900), "null") }, resolver.NoKey},
		{"30,000 keys, none of them the right one", hostsOf("secret/app", 600),
			func(w http.ResponseWriter, _ *http.Request, _ string) {
				secretV2(w, tinyMembers(300<<10, `""`), "null")
			}, resolver.NoKey},
		{"a list of hosts of 200 KiB", hostsOf("secret/app", 600),
			func(w http.ResponseWriter, _ *http.Request, _ string) {
				secretV2(w, `{"password":"x"}`, globs("a*b*c*d*e", 20_000))
			}, resolver.NotForHost},
		{"a list of hosts of as many stars as fit", hostsOf("secret/app", 600),
			func(w http.ResponseWriter, _ *http.Request, _ string) {
				secretV2(w, `{"password":"x"}`, globs("*h*h*h*h*z", 46))
			}, resolver.NotForHost},
		{"300 KiB of custom metadata", hostsOf("secret/app", 600),
			func(w http.ResponseWriter, _ *http.Request, _ string) {
				secretV2(w, `{"password":"x"}`, tinyMembers(300<<10, `""`))
			}, resolver.BadResponse},
		{"600 KiB in one word, for each path", ofPaths(5, "secret/%d"),
			func(w http.ResponseWriter, _ *http.Request, _ string) {
				whole(w, 403, `{"errors":["`, strings.Repeat("no ", 200<<10), `"]}`)
			}, resolver.Denied},
		{"600 KiB in many words, for each path", ofPaths(5, "secret/%d"),
			func(w http.ResponseWriter, _ *http.Request, _ string) {
				whole(w, 403, `{"errors":["permission denied"`, strings.Repeat(`,"no"`, 120_000), `]}`)
			}, resolver.Denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := &hostileVault{read: c.read}
			began := time.Now()
			run := resolver.Resolve(t.Context(), server.start(t), c.hosts, resolver.Options{})
			results := collect(run)
			assert.Less(t, time.Since(began), aWhile)
			require.Len(t, results, len(c.hosts))
			for _, result := range results {
				require.ErrorIs(t, result.Err(), c.kind)
			}
		})
	}
}

// Null in place of a secret has no key.
func TestNullInPlaceOfASecret(t *testing.T) {
	t.Parallel()
	for version, kind := range map[string]resolver.Kind{"1": resolver.BadResponse, "2": resolver.NoKey} {
		server := &hostileVault{
			mounts: `{"auth":{},"secret":{"secret/":{"type":"kv","options":{"version":"` + version + `"}}}}`,
			read: func(w http.ResponseWriter, _ *http.Request, _ string) {
				if version == "1" {
					whole(w, 200, `{"request_id":"5a9f","lease_id":"","data":null,"mount_type":"kv"}`)
				} else {
					secretV2(w, "null", "null")
				}
			},
		}
		err := resolver.One(t.Context(), server.start(t), host("h", "password", "vault:secret/app#password"), resolver.Options{}).Err()
		assert.ErrorIs(t, err, kind, "v%s", version)
	}
}

// An error shows a long key once, in the reference.
func TestLongKeyIsShownOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, key, secret, shown string
		kind                     resolver.Kind
	}{
		{"not there", strings.Repeat("k", 512), `{"a":"x"}`, `: no key "` + strings.Repeat("k", 64) + `"… at version 1; check`, resolver.NoKey},
		{"null", strings.Repeat("k", 512), `{"` + strings.Repeat("k", 512) + `":null}`, `: the value of key "` + strings.Repeat("k", 64) + `"… at version 1 is null`, resolver.BadValue},
		{"cut within a character", "k" + strings.Repeat("ü", 200), `{"a":"x"}`, `: no key "k` + strings.Repeat("ü", 31) + `"… at version 1`, resolver.NoKey},
		{"short", strings.Repeat("k", 64), `{"a":"x"}`, `: no key "` + strings.Repeat("k", 64) + `" at version 1`, resolver.NoKey},
	} {
		server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) { secretV2(w, c.secret, "null") }}
		result := resolver.One(t.Context(), server.start(t), host("h", "password", "vault:secret/app#"+c.key), resolver.Options{})
		require.ErrorIs(t, result.Err(), c.kind, c.name)
		assert.ErrorContains(t, result.Err(), "password: vault:secret/app#"+c.key+c.shown, c.name)
	}
}

// hostsOf makes n hosts with long names that share one path.
func hostsOf(path string, n int) []resolver.Host {
	hosts := make([]resolver.Host, n)
	for i := range hosts {
		hosts[i] = host(strings.Repeat("h", 240)+strconv.Itoa(i), "password", "vault:"+path+"#password")
	}
	return hosts
}

// When the context ends, all results come at once, however many mounts the
// settings or Vault list.
func TestMountsDoNotHoldResultsUp(t *testing.T) {
	t.Parallel()
	named := make([]string, 1000)
	for i := range named {
		named[i] = fmt.Sprintf("team-%d/kv", i)
	}
	minimal := func(n int) string {
		return `{"secret":` + members(n, func(b *bytes.Buffer, i int) { fmt.Fprintf(b, `"m%d/":{"type":"kv"}`, i) }) + `}`
	}
	for _, c := range []struct {
		name   string
		mounts string // in Vault's list
		named  []string
		format string
	}{
		{"1,000 mounts in the settings", `[]`, named, "team-%d/kv/app"},
		{"20,000 mounts in the list", minimal(20_000), nil, "m%d/app"},
		{"none of 20,000 mounts is that of a path", minimal(20_000), nil, "other-%d/app"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const size = 2000
			asked := make(chan struct{}, size)
			server := &hostileVault{mounts: c.mounts, read: func(_ http.ResponseWriter, r *http.Request, _ string) {
				asked <- struct{}{}
				<-r.Context().Done() // an outage
			}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			settings := server.start(t).Settings()
			settings.Mounts = c.named
			vault := auth.New(settings, environment(map[string]string{"VAULT_TOKEN": "t"}))
			var ended time.Time
			go func() {
				select {
				case <-asked:
				case <-t.Context().Done():
				}
				ended = time.Now()
				cancel()
			}()
			run := resolver.Resolve(ctx, vault, ofPaths(size, c.format), resolver.Options{})
			results, last := 0, time.Time{}
			for range run.Results() {
				results++
				last = time.Now()
				if c.format == "other-%d/app" {
					cancel() // none is read
				}
			}
			assert.Equal(t, size, results)
			if !ended.IsZero() {
				assert.Less(t, last.Sub(ended), 3*time.Second)
			}
		})
	}
}

// The settings name 1,000 mounts at most. Their faults are few, since each
// host's error has them.
func TestTooManyMountsInTheSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		count  int
		path   string
		faults int
	}{
		{"1,000", 1000, "team/kv", 0},
		{"1,001", 1001, "team/kv", 1},
		{"50,000", 50_000, "team/kv", 1},
		{"1,000 that are none", 1000, "/kv", 11},
		{"50,000 that are none", 50_000, "/kv", 1},
	} {
		settings := auth.Settings{Address: "https://vault.example", Mounts: make([]string, c.count)}
		for i := range settings.Mounts {
			settings.Mounts[i] = c.path
		}
		faults := settings.Faults()
		assert.Len(t, faults, c.faults, c.name)
		vault := auth.New(settings, environment(map[string]string{"VAULT_TOKEN": "t"}))
		if c.faults == 0 {
			assert.NoError(t, vault.Validate())
			continue
		}
		assert.Equal(t, "mounts", faults[0].Setting)
		began := time.Now()
		run := resolver.Resolve(t.Context(), vault, ofPaths(2000, "secret/%d"), resolver.Options{})
		for _, result := range run.Results() {
			require.ErrorIs(t, result.Err(), resolver.Settings)
			require.Less(t, len(result.Err().Error()), 2000)
		}
		assert.Less(t, time.Since(began), aWhile)
	}
}

// heap is how many bytes are reachable.
func heap() int {
	runtime.GC()
	runtime.GC() // what finalizers let go
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// While the caller is slow, the plan holds only the wanted values and a few
// kilobytes of a server's words, however large answers are. The test measures the whole
// process, so it is not parallel.
func TestPlanHoldsWhatIsAskedFor(t *testing.T) {
	const mib = 1 << 20
	const most = 2 * mib // the answers are 4 MiB at least
	half := strings.Repeat("0", mib/2)
	tiny := tinyMembers(mib/2, `""`)
	words := strings.Repeat("no ", mib/6)
	for _, c := range []struct {
		name string
		n    int
		read func(w http.ResponseWriter, r *http.Request, path string)
	}{
		{"secrets of 512 KiB", 8, func(w http.ResponseWriter, _ *http.Request, _ string) {
			secretV2(w, `{"other":"`+half+`","password":"x"}`, "null")
		}},
		{"secrets of tiny keys", 4, func(w http.ResponseWriter, _ *http.Request, _ string) {
			secretV2(w, `{"password":"x",`+tiny[1:], "null")
		}},
		{"a value that is an object of 512 KiB", 8, func(w http.ResponseWriter, _ *http.Request, _ string) {
			secretV2(w, `{"password":{"a":"`+half+`"}}`, "null")
		}},
		{"a time of 512 KiB", 8, func(w http.ResponseWriter, _ *http.Request, _ string) {
			whole(w, 404, `{"request_id":"1","data":{"data":null,"metadata":{"created_time":"","custom_metadata":null,"deletion_time":"`, half, `","destroyed":false,"version":1}},"mount_type":"kv"}`)
		}},
		{"words of 512 KiB", 8, func(w http.ResponseWriter, _ *http.Request, _ string) {
			whole(w, 403, `{"errors":["`, words, `"]}`)
		}},
		{"many words", 8, func(w http.ResponseWriter, _ *http.Request, _ string) {
			whole(w, 403, `{"errors":["permission denied"`, strings.Repeat(`,"`+words[:4000]+`"`, 120), `]}`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &hostileVault{read: c.read}
			run := resolver.Resolve(t.Context(), server.start(t), append(ofPaths(c.n, "secret/%d"), host("literal", "password", "x")), resolver.Options{})
			before := heap()
			results, held := 0, 0
			for range run.Results() {
				if results++; results == 1 { // the literal; the caller is slow with it
					defer func() { t.Logf("%.1f MiB held", float64(held)/mib) }()
					require.Eventually(t, func() bool { return server.reads.Load() == int64(c.n) }, time.Minute, 5*time.Millisecond)
					require.Eventually(t, func() bool { held = heap() - before; return held < most }, time.Minute, 100*time.Millisecond)
				}
			}
			assert.Equal(t, c.n+1, results)
			var causes int
			for _, cause := range run.Report().Causes {
				causes += len(cause.Text)
			}
			assert.Less(t, causes, c.n*2000)
		})
	}
}

// A run does not hold the values that the caller is done with, nor any after the loop. The
// test measures the whole process, so it is not parallel.
func TestRunLetsValuesGo(t *testing.T) {
	const mib = 1 << 20
	const n = 8 // values of 512 KiB, so 4 MiB in all
	value := strings.Repeat("0", mib/2)
	server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) {
		secretV2(w, `{"password":"`+value+`"}`, "null")
	}}
	hosts := append(ofPaths(n, "secret/%d"), ofPaths(n, "secret/%d")...) // two hosts for each path
	run := resolver.Resolve(t.Context(), server.start(t), hosts, resolver.Options{})
	before := heap()
	results := 0
	for range run.Results() {
		switch results++; results {
		case 1:
			require.Eventually(t, func() bool { return heap()-before > 3*mib }, time.Minute, 100*time.Millisecond)
		case 2 * n:
			require.Eventually(t, func() bool { return heap()-before < 2*mib }, time.Minute, 100*time.Millisecond)
		}
	}
	assert.Equal(t, 2*n, results)

	run = resolver.Resolve(t.Context(), server.start(t), hosts, resolver.Options{})
	before = heap()
	for range run.Results() {
		require.Eventually(t, func() bool { return heap()-before > 3*mib }, time.Minute, 100*time.Millisecond)
		break
	}
	require.Eventually(t, func() bool { return heap()-before < 2*mib }, time.Minute, 100*time.Millisecond)
	assert.Equal(t, 2*n-1, run.Report().NotTaken, "the run, which the report needs, holds no value that was not taken")
}

// The errors of a server are kept as an *api.ResponseError of a few
// kilobytes.
func TestWordsOfAServerAreCut(t *testing.T) {
	t.Parallel()
	server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) {
		whole(w, 403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"`, strings.Repeat(`,"`+strings.Repeat("no ", 1000)+`"`, 1000), `]}`)
	}}
	run := resolver.Resolve(t.Context(), server.start(t), ofPaths(1, "secret/%d"), resolver.Options{})
	result := collect(run)[0]
	require.ErrorIs(t, result.Err(), resolver.Denied)
	if answer, ok := errors.AsType[*api.ResponseError](result.Err()); ok {
		assert.Less(t, len(strings.Join(answer.Errors, "")), 16<<10)
	}
}
