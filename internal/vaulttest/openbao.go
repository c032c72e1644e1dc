package vaulttest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// isOpenBao reports whether a program is OpenBao, by the version that it prints.
func isOpenBao(program string) bool {
	asked, _ := openBao.LoadOrStore(program, sync.OnceValue(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		text, err := exec.CommandContext(ctx, program, "version").Output()
		return err == nil && strings.HasPrefix(string(text), "OpenBao ")
	}))
	return asked.(func() bool)()
}

var openBao sync.Map // program to func() bool, which asks it once

// allowsAudit lets OpenBao create the audit device with its API, as Vault does.
const allowsAudit = "unsafe_allow_api_audit_creation = true\n"

// auditUserAgent makes OpenBao and old releases of Vault, such as 1.14, write the User-Agent to
// the audit file, as later ones do by default.
func (s *Server) auditUserAgent() error {
	_, err := s.call(context.Background(), "POST", "sys/config/auditing/request-headers/user-agent", map[string]any{"hmac": false})
	return err
}

const (
	noMountType   = "OpenBao's answers have no mount_type, so no secret of a guessed mount is given"
	plainDenial   = "OpenBao answers a dead token with permission denied alone, so the text says what else it may be"
	looksOnceMore = "OpenBao answers a dead token as a denied one, so the first denial costs a look at the token"
	readsDots     = "OpenBao reads a path with two dots in a segment as any other"
	readsOfOwn    = "OpenBao's standbys serve reads by themselves, with or without a leader"
)

// unsupported lists the tests that OpenBao 2.6.2 does not pass, with the reason.
var unsupported = map[string]map[string]string{
	"auth": {
		"TestDenialIsNoReasonToLogIn": looksOnceMore,
	},
	"resolver": {
		"TestCluster/each_node_is_killed_and_restarted_in_turn":                                      readsOfOwn,
		"TestNothingButKVIsGivenUnlisted":                                                            noMountType,
		"TestKVThatLendsItsSecrets/unlisted":                                                         noMountType,
		"TestKVThatLendsItsSecrets/unlisted,_and_named_in_the_settings":                              noMountType,
		"TestCheckOfRequestsThatHang/sys/internal/ui/mounts":                                         noMountType,
		"TestOptionalRequestsHang/sys/internal/ui/mounts_with_token":                                 noMountType,
		"TestCheckAgreesWithTheRun/the_same,_after_a_login":                                          noMountType,
		"TestCheckAgreesWithTheRun/all_optional_requests_hang":                                       noMountType,
		"TestCheckAgreesWithTheRun/the_list_of_mounts_hangs":                                         noMountType,
		"TestCheckAgreesWithTheRun/everything_is_slow":                                               noMountType,
		"TestAdviceAboutPaths/KV_v1_read_as_v2,_where_the_list_is_blocked":                           noMountType,
		"TestAdviceAboutPaths/the_other_KV_version,_where_the_list_is_blocked_and_the_policy_strict": noMountType,
		"TestAdviceAboutPaths/the_other_KV_version,_where_the_list_is_blocked":                       noMountType,
		"TestAdviceAboutPaths/a_path_that_Vault_refuses":                                             readsDots,
		"TestAdviceAboutPaths/a_path_that_Vault_refuses,_for_its_beginning":                          readsDots,
		"TestAdviceAboutPaths/a_path_that_Vault_refuses,_for_its_end":                                readsDots,
		"TestAdviceAboutThePatchServer/a_token_of_a_namespace_in_the_file":                           plainDenial,
		"TestAdviceAboutThePatchServer/a_token_of_another_cluster's_namespace":                       plainDenial,
		"TestAdviceAboutThePatchServer/the_token_of_another_cluster's_namespace":                     plainDenial,
		"TestAdviceAboutThePatchServer/a_token_file_that_is_large":                                   plainDenial,
		"TestAdviceAboutKubernetes/no_CA":                                                            "OpenBao demands kubernetes_ca_cert beside disable_local_ca_jwt",
		"TestCheckAnyFields":                                                                         looksOnceMore,
		"TestUnwell/the_policy_grants_another_path":                                                  looksOnceMore,
		"TestUnwell/the_token_is_revoked":                                                            plainDenial,
		"TestUnwell/the_token_has_expired":                                                           plainDenial,
		"TestTokenDiesMidway":                                                                        plainDenial,
		"TestListOfMountsIsBlocked":                                                                  noMountType,
		"TestEmptyListAndASecret":                                                                    noMountType,
		"TestPolicyOfWhatACheckSaw/guessed,_right_by_a_secret":                                       noMountType,
		"TestQuotaCostsNoHost":                                                                       "OpenBao in dev mode may serve less than the quota of this test",
		"TestCheckTheServer":                                                                         "OpenBao has namespaces, and this is about a server without",
		"TestCluster/its_leader_steps_down":                                                          readsOfOwn,
		"TestCluster/it_loses_its_quorum_for_good":                                                   readsOfOwn,
	},
	"vaulttest": {
		"TestRequests":                 "OpenBao's audit file says permission denied of a dead token",
		"TestKubernetes/no_CA":         "OpenBao demands kubernetes_ca_cert beside disable_local_ca_jwt",
		"TestClusterSurvivesItsLeader": "an OpenBao standby refuses a new KV v2 mount for a moment",
	},
}

// Unsupported skips a test that the server cannot pass. The functions that start a server
// call it; a subtest that uses a server of its parent calls it itself. With
// VAULT_UNSUPPORTED=run such tests run, and [Main] fails if one passes.
func Unsupported(t testing.TB) {
	t.Helper()
	program, err := Find()
	if err != nil || !isOpenBao(program) {
		return
	}
	reason, listed := unsupported[packageName()][t.Name()]
	if !listed {
		return
	}
	review.mu.Lock()
	review.met[t.Name()] = true
	review.mu.Unlock()
	if os.Getenv("VAULT_UNSUPPORTED") != "run" {
		t.Skip(reason)
	}
	t.Cleanup(func() {
		if !t.Failed() && !t.Skipped() {
			review.mu.Lock()
			review.passed = append(review.passed, t.Name())
			review.mu.Unlock()
		}
	})
}

// review is the outcome of the listed tests.
var review = struct {
	mu     sync.Mutex
	met    map[string]bool
	passed []string
}{met: make(map[string]bool)}

// reviewUnsupported returns an error if entries of the list are out of date. All tests of
// the package must have run.
func reviewUnsupported() error {
	program, err := Find()
	if err != nil || !isOpenBao(program) {
		return nil
	}
	review.mu.Lock()
	defer review.mu.Unlock()
	var gone []string
	for _, name := range slices.Sorted(maps.Keys(unsupported[packageName()])) {
		if !review.met[name] {
			gone = append(gone, name)
		}
	}
	if len(gone)+len(review.passed) == 0 {
		return nil
	}
	return fmt.Errorf("the list of tests that OpenBao does not pass is out of date: not met: %q; passed: %q", gone, review.passed)
}

// packageName is the name of the folder that a package's tests run in.
func packageName() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return filepath.Base(dir)
}
