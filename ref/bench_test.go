package ref_test

import (
	"net/url"
	"testing"

	"github.com/luumen/patch-vault/ref"
)

// BenchmarkParse has url.Parse of the same text beside each reference, as the
// yardstick: parsing a reference is to cost at most 1.25 of it, and to
// allocate nothing.
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

// BenchmarkUnmarshal is what a configuration costs per field.
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
