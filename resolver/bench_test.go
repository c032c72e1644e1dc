package resolver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// fleet makes n hosts with two fields each, of the path that the func returns.
func fleet(n int, path func(i int) string) []resolver.Host {
	hosts := make([]resolver.Host, n)
	for i := range hosts {
		hosts[i] = resolver.Host{Name: fmt.Sprintf("host-%05d", i), Fields: map[string]ref.Value{
			"user":     ref.Parse("vault:" + path(i) + "#user"),
			"password": ref.Parse("vault:" + path(i) + "#password"),
		}}
	}
	return hosts
}

// BenchmarkPlan is what a run costs before its first request.
func BenchmarkPlan(b *testing.B) {
	vault := auth.New(auth.Settings{Address: "https://vault.example.com"}, environment(nil))
	for _, bench := range []struct {
		name string
		path func(i int) string
	}{
		{"distinct", func(i int) string { return fmt.Sprintf("secret/luumen/host-%05d", i) }},
		{"shared", func(int) string { return "secret/luumen/windev" }},
	} {
		b.Run(bench.name+"/10000", func(b *testing.B) {
			hosts := fleet(10_000, bench.path)
			b.ReportAllocs()
			for b.Loop() {
				resolver.Resolve(b.Context(), vault, hosts, resolver.Options{})
			}
		})
	}
}

// BenchmarkLiterals is what a run without references costs.
func BenchmarkLiterals(b *testing.B) {
	hosts := make([]resolver.Host, 10_000)
	for i := range hosts {
		hosts[i] = host("host", "user", "luumen", "password", "correct horse battery staple")
	}
	vault := auth.New(auth.Settings{}, environment(nil))
	b.ReportAllocs()
	for b.Loop() {
		for _, result := range resolver.Resolve(b.Context(), vault, hosts, resolver.Options{}).Results() {
			result.Credential("password")
		}
	}
}

// v2 is an answer of KV version 2, as Vault 1.21 gives it.
const v2 = `{"data":{"password":%s,"user":"luumen-00001"},"metadata":{"created_time":"2026-11-24T04:21:30.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}}`

// BenchmarkPick decodes the data of an answer for one key.
func BenchmarkPick(b *testing.B) {
	pem, err := json.Marshal("-----BEGIN KEY-----\n" + fmt.Sprintf("%01700d", 0) + "\n-----END KEY-----\n")
	require.NoError(b, err)
	for _, bench := range []struct{ name, value string }{
		{"password", `"Xq7-w2Lf-00001-mK9z-T4vB"`},
		{"private key", string(pem)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			data := fmt.Appendf(nil, v2, bench.value)
			b.ReportAllocs()
			for b.Loop() {
				_, err := resolver.Decode(200, data, 2, "password")
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkMisspelt is a run over hosts that each misspell another key of 512
// bytes, and its report: one read, and as many causes as hosts.
func BenchmarkMisspelt(b *testing.B) {
	secret := longKeys(1900)
	server := &hostileVault{read: func(w http.ResponseWriter, _ *http.Request, _ string) { secretV2(w, secret, "null") }}
	vault := server.start(b)
	for _, n := range []int{1, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			hosts := misspelling(n)
			b.ReportAllocs()
			for b.Loop() {
				run := resolver.Resolve(b.Context(), vault, hosts, resolver.Options{})
				for _, result := range run.Results() {
					require.Error(b, result.Err())
				}
				require.Len(b, run.Report().Causes, n)
			}
		})
	}
}
