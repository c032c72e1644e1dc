package transport_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

// No redirect is followed, so the token reaches no host but the configured one.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		for _, location := range []struct{ name, header, target string }{
			{"to another host", "Location: http://OTHER/v1/secret/data/app", "to http://OTHER"},
			{"to https", "Location: https://OTHER/v1/secret/data/app", "to https://OTHER"},
			{"to a page", "Location: /ui/", "to ADDRESS); set the address of Vault itself"},
			{"to a page elsewhere", "Location: https://sso.example/login", "to https://sso.example"},
			{"relative", "Location: /v1/secret/data/app", "to ADDRESS"},
			{"to the token", "Location: http://" + token + ".example.com/v1/" + token, "to http://[masked].example.com"},
			{"with user info", "Location: http://user:" + token + "@OTHER/v1/" + bodyWords, "to http://OTHER"},
			{"to nonsense", "Location: ht!tp://%zz", "to elsewhere"},
			{"to a long host", "Location: http://" + strings.Repeat("a", 10_000), "to http://aaaa"},
			{"to nothing", "Location: ", "to elsewhere"},
			{"without a location", "X-Nothing: 1", "to elsewhere"},
		} {
			t.Run(strconv.Itoa(status)+" "+location.name, func(t *testing.T) {
				t.Parallel()
				other := serveRaw(t, vault(200, `{"request_id":"1"}`))
				fill := strings.NewReplacer("OTHER", other.address.Host)
				s := serveRaw(t, answers(status, page, html, fill.Replace(location.header)))
				f := fails(t, wireTo(t, s.address))
				assert.EqualValues(t, 1, s.requests.Load())
				assert.Zero(t, other.requests.Load(), "requests that reached the other server")

				// Any standby answers 307 for seconds while the leader changes. To its
				// own page, Vault redirects what is no request of its API.
				isStandby := status == 307 && !strings.HasPrefix(location.name, "to a page")
				assert.Equal(t, isStandby, f.Retry == patience.Later)
				if isStandby {
					assert.Equal(t, fault.NoActiveNode, f.Fault.Kind)
					assert.True(t, f.Unsent)
				} else {
					assert.Equal(t, fault.BadResponse, f.Fault.Kind)
					assert.Contains(t, f.Fault.Error(), "the address redirects ("+strconv.Itoa(status)+" at ")
				}
				assert.Contains(t, f.Fault.Error(), strings.ReplaceAll(fill.Replace(location.target), "ADDRESS", s.address.String()))
				assertSafe(t, f)
			})
		}
	}
}

// A proxy may redirect http to https with 307, as Traefik does for logins. That of a standby
// has Vault's own header.
func TestRedirectToHTTPS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, target, header string
		isStandby            bool
	}{
		{"by a proxy", "https://localhost", "X-Nothing: 1", false},
		{"by a proxy or a standby", "https://localhost:8443", "X-Nothing: 1", true},
		{"by a standby", "https://localhost", "Cache-Control: no-store", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, answers(307, "", "", "Location: "+c.target+"/v1/auth/approle/login", c.header))
			address := *s.address
			address.Host = "LOCALHOST:" + address.Port() // nginx redirects to a host in lower case
			f := fails(t, wireTo(t, &address))
			assert.Equal(t, c.isStandby, f.Retry == patience.Later)
			assert.Equal(t, map[bool]fault.Kind{true: fault.NoActiveNode, false: fault.BadResponse}[c.isStandby], f.Fault.Kind)
			assert.Contains(t, f.Fault.Error(), " use https in the address")
		})
	}
}
