package ref_test

import (
	"net/url"
	"testing"

	"github.com/luumen/patch-vault/ref"
)

// BenchmarkParse compares Parse with url.Parse of the same text. Parse must take
// no longer than url.Parse, and must not allocate for a reference without
// escapes.
func BenchmarkParse(b *testing.B) {
	for _, bench := range []struct {
		name, field string
	}{
		{"plain", "vault:secret/luumen/windev#password"},
		{"pinned", "vault:secret/luumen/windev?version=3#password"},
		{"escaped", "vault:secret/luumen/win%23dev#pass%3Fword"},
	} {
		b.Run(bench.name+"/ref", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ref.Parse(bench.field)
			}
		})
		b.Run(bench.name+"/url", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				url.Parse(bench.field)
			}
		})
	}
	b.Run("literal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ref.Parse("correct horse battery staple")
		}
	})
}

// BenchmarkWarning measures the check of one literal. A run makes it for each.
func BenchmarkWarning(b *testing.B) {
	for _, bench := range []struct {
		name, field string
	}{
		{"passphrase", "correct horse battery staple"},
		{"password with #", "k9/&x#pQw8!zzL"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			v := ref.Parse(bench.field)
			for b.Loop() {
				v.Warning()
			}
		})
	}
}

// BenchmarkUnmarshal measures the decoding of one field of a configuration.
func BenchmarkUnmarshal(b *testing.B) {
	for _, bench := range []struct {
		name, json string
	}{
		{"string", `"vault:secret/luumen/windev#password"`},
		{"object", `{"path": "secret/luumen/windev", "key": "password"}`},
		{"literal", `"correct horse battery staple"`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var v ref.Value
			for b.Loop() {
				v.UnmarshalJSON([]byte(bench.json))
			}
		})
	}
}
