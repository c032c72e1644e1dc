package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	const token = "hvs.CAESIJ0PqFPDRzFzXkV0b2tlbg"
	const body = `{"initialized":true,"sealed":false,"standby":true,"enterprise":ENTERPRISE,"server_time_utc":1764097200,"version":"VERSION"}`
	at := time.Unix(1764097200-60, 500_000_000)
	for version, shown := range map[string]string{
		"1.21.1": "1.21.1", "1.21.1+ent": "1.21.1+ent", "1.18.0-rc1": "1.18.0-rc1", "1.16.2+ent.hsm.fips1402": "1.16.2+ent.hsm.fips1402",
		token: "", "": "", "1.21": "", "1.21.1 " + token: "", "1.21.1\\n": "", "9999999.1.1": "",
	} {
		for _, enterprise := range []string{"true", "false"} {
			h := auth.ParseHealth([]byte(strings.NewReplacer("VERSION", version, "ENTERPRISE", enterprise).Replace(body)), at)
			require.NotNil(t, h)
			namespaces := enterprise == "true" || strings.Contains(shown, "+ent") || shown == ""
			assert.Equal(t, auth.Health{Version: shown, Initialized: true, Standby: true, Namespaces: namespaces, ClockSkew: 60}, *h)
		}
	}
	for _, other := range []string{``, `{}`, `[]`, `{"server_time_utc":"soon"}`, `{"request_id":"1"}`} {
		assert.Nil(t, auth.ParseHealth([]byte(other), at), other)
	}
}
