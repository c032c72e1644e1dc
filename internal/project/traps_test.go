package project_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// trap is something that has bitten others who resolve secrets from Vault, and
// the tests that keep it from biting here: package.TestName. Comments of the
// tests name the trap by its number.
type trap struct {
	what  string
	tests []string
}

var traps = map[int]trap{
	1:  {"a deleted version answers 404 with a body and without an error", []string{"resolver.TestKindsOfAHealthyVault", "client.TestWrongAnswers"}},
	2:  {"a KV v2 mount read as v1 answers 404 with a warning", []string{"resolver.TestListOfMountsIsBlocked"}},
	3:  {"a v1 secret has fields called data and metadata", []string{"resolver.TestKindsOfAHealthyVault"}},
	4:  {"data/ is added twice, or guessed from a name that holds it", []string{"resolver.TestOddPaths", "resolver.TestPolicy"}},
	5:  {"the mount is more than the first segment", []string{"resolver.TestKindsOfAHealthyVault", "resolver.TestSettingsNameAnInvisibleMount"}},
	6:  {"a failed look at the mounts is taken for KV v1, and kept", []string{"resolver.TestListOfMountsIsBlocked"}},
	7:  {"a 403 is a dead token, a policy or a missing mount", []string{"resolver.TestKindsOfAHealthyVault", "resolver.TestManyRefusalsAtOnce", "auth.TestDenialIsNoReasonToLogIn"}},
	8:  {"the token expires in the middle of a run", []string{"resolver.TestTokenDiesMidway", "resolver.TestGivenTokenDiesMidway", "auth.TestTokenDiesMidway"}},
	9:  {"a kept token has the policies of yesterday", []string{"auth.TestEachRunLogsInAnew"}},
	10: {"each host or run leaves a token behind", []string{"resolver.TestRunAsksForEachPathOnce", "auth.TestRevocationOnEveryWayOut"}},
	11: {"each field is a read of its own", []string{"resolver.TestRunAsksForEachPathOnce"}},
	12: {"Retry-After is 0, a date, or not heeded", []string{"client.TestRetryAfter", "patience.TestQuotaServesAll", "resolver.TestQuotaCostsNoHost"}},
	13: {"what will fail again is sent again", []string{"client.TestWrongAnswers", "patience.TestPermanentFaults", "resolver.TestManyRefusalsAtOnce"}},
	14: {"a standby has not heard of the token yet", []string{"client.TestWrongAnswers", "auth.TestReadsCarryTheLoginsIndex"}},
	15: {"sealed, standby, or a proxy's page in an error's text", []string{"client.TestWrongAnswers"}},
	16: {"a missing key becomes an empty password", []string{"resolver.TestNearMatch", "resolver.TestAMissingFieldIsNoEmptyPassword"}},
	17: {"null becomes a text", []string{"resolver.TestValues"}},
	18: {"a number loses digits, an object is printed", []string{"resolver.TestValues"}},
	19: {"a token file ends in a line break", []string{"auth.TestTrimming"}},
	20: {"a value ends in a line break", []string{"resolver.TestValues", "resolver.TestCheckFindsOddValues"}},
	21: {"a path with odd characters reads another secret", []string{"resolver.TestOddPaths", "client.TestPaths"}},
	22: {"a key is taken for an expression", []string{"resolver.TestValues", "resolver.TestKindsOfAHealthyVault"}},
	23: {"a literal that looks like a reference", []string{"resolver.TestLiteralsNeverWaitForVault"}},
	24: {"a credential's file is read once, at the start", []string{"auth.TestRotatedFiles"}},
	25: {"a wrapped secret id is used up by the first run", nil}, // not supported, on purpose: it outlives no restart
	26: {"the environment overrides the UI", []string{"auth.TestVaultAPIsEnvironmentHasNoEffect", "auth.TestHostileUI", "auth.TestAddresses"}},
	27: {"the path of an address is lost", []string{"client.TestPaths", "auth.TestAddressWithAPath"}},
	28: {"the namespace is sent twice, or not at all", []string{"client.TestHeaders", "auth.TestNamespaces"}},
	29: {"cancelling does not reach a request", []string{"resolver.TestContextEnds", "patience.TestCancelEndsAll", "client.TestSlowServers"}},
	30: {"an answer is huge, slow or cut off", []string{"client.TestWrongAnswers", "client.TestSlowServers"}},
	31: {"a rotation tears a user name from its password", []string{"resolver.TestRotationNeverTearsCredentials"}},
	32: {"a secret in a log", []string{"resolver.TestNothingPrintsASecret", "resolver.TestPanicAndHTTPDebugPrintNoSecret", "ref.TestNothingPrintsASecret"}},
	33: {"hosts share a map that one of them changes", []string{"resolver.TestRunsAtOnceShareNothing"}},
	34: {"a redirect takes the token to another host", []string{"client.TestRedirects", "auth.TestHandedInMethodAgainstWrongServers"}},
	35: {"a version that is no version", []string{"resolver.TestKindsOfAHealthyVault", "ref.TestVectors"}},
	36: {"certificates are not verified for some addresses", []string{"auth.TestTrust", "client.TestTLS"}},
}

func TestTrapsAreHeld(t *testing.T) {
	t.Parallel()
	exists := make(map[string]bool)
	for path, text := range testFiles(t) {
		segments := strings.Split(path, "/")
		for _, name := range submatches(`(?m)^func (Test\w+)\(`, text) {
			exists[segments[len(segments)-2]+"."+name] = true
		}
	}
	assert.Len(t, traps, 36)
	for _, number := range slices.Sorted(maps.Keys(traps)) {
		for _, test := range traps[number].tests {
			assert.True(t, exists[test], "trap %d (%s): there is no %s", number, traps[number].what, test)
		}
	}
}
