package auth_test

import (
	"bytes"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// blocks returns the fenced blocks of a language in the README's part for the Vault
// administrator.
func blocks(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut("\n"+string(text), "\n## For the Vault administrator\n")
	require.True(t, ok, "the section is missing")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, match := range fenced.FindAllStringSubmatch(section, -1) {
		if match[1] == language {
			blocks = append(blocks, match[2])
		}
	}
	require.NotEmpty(t, blocks, language)
	return blocks
}

// Every command runs as it is, with Vault's own command line, but in a folder of the
// test's own. The library then works with what the commands made.
func TestREADMEForTheAdministrator(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{TLS: true})
	server.Must(t, "DELETE", "sys/mounts/secret", nil) // of dev mode
	kubernetes, jwt, cert := vaulttest.NewKubernetes(t), vaulttest.NewJWT(t), vaulttest.NewCert(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "issuer.pem"), jwt.PublicKey(t))
	write(t, filepath.Join(dir, "authority.pem"), cert.Authority())

	program, err := vaulttest.Find()
	require.NoError(t, err)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(program, filepath.Join(bin, "vault")))
	kubernetes.Kubectl(t, bin)
	shells := blocks(t, "sh")
	require.Len(t, shells, 14, "secrets, policies, the hosts of a secret, and five ways to log in")
	run := func(block, token string) (output []byte, err error) {
		shell := exec.CommandContext(t.Context(), "sh", "-u", "-c", strings.ReplaceAll(block, "/etc/luumen", dir))
		shell.Dir = dir
		shell.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "PASSWORD=of no matter",
			"VAULT_ADDR=" + server.Address, "VAULT_TOKEN=" + token, "VAULT_CACERT=" + server.CAFile, "KUBERNETES_API=" + kubernetes.Host}
		return shell.CombinedOutput()
	}
	var oldSecretID []byte
	metadata := func() any {
		_, answer, err := server.Do("GET", "secret/metadata/luumen/dmz", nil)
		require.NoError(t, err)
		return answer["data"].(map[string]any)["custom_metadata"]
	}
	for _, block := range shells {
		if strings.Contains(block, "cp -p secret_id secret_id.old") {
			oldSecretID, err = os.ReadFile(filepath.Join(dir, "secret_id"))
			require.NoError(t, err)
		}
		output, err := run(block, server.Token)
		require.NoError(t, err, "%s\n%s", block, output)
		require.NotContains(t, string(output), "Error", block)

		switch {
		case strings.Contains(block, "vault secrets enable"):
			// Vault makes a new mount one of KV v2 in the background.
			require.Eventually(t, func() bool {
				status, _, err := server.Do("GET", "secret/config", nil)
				return err == nil && status == http.StatusOK
			}, time.Minute, 5*time.Millisecond)
			server.Put(t, "secret", "luumen/dmz", map[string]any{"password": "of no matter"})
			server.Metadata(t, "secret", "luumen/dmz", map[string]string{"owner": "alice"})
		case strings.Contains(block, " -custom-metadata="):
			assert.Equal(t, map[string]any{"owner": "alice", "luumen_hosts": "win-dmz-*, lin-dmz-*"}, metadata())
		case strings.Contains(block, "-remove-custom-metadata="):
			assert.Equal(t, map[string]any{"owner": "alice"}, metadata())
		}
	}
	_, answer, err := server.Do("GET", "sys/policies/acl/luumen-patch", nil)
	require.NoError(t, err)
	policy := vaulttest.Text(answer, "data", "policy")
	assert.Contains(t, policy, `path "secret/data/luumen/*"`)
	assert.Contains(t, policy, `path "legacy/luumen/*"`)
	for _, name := range []string{"role_id", "secret_id", "token"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode(), name)
	}
	assert.NoFileExists(t, filepath.Join(dir, "reviewer.jwt"))
	roleID, err := os.ReadFile(filepath.Join(dir, "role_id"))
	require.NoError(t, err)
	require.NotEmpty(t, oldSecretID)
	status, _, err := server.Do("POST", "auth/approle/login", map[string]any{"role_id": string(roleID), "secret_id": string(oldSecretID)})
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, status, "the old secret id is destroyed")

	// A command that Vault refuses costs nothing that was there before.
	files := func() map[string]string {
		all := make(map[string]string)
		for _, name := range []string{"role_id", "secret_id", "token"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			all[name] = string(content)
		}
		return all
	}
	before := files()
	for _, block := range shells {
		output, err := run(block, server.NewToken(t, map[string]any{"policies": []string{"none"}}))
		require.Error(t, err, "%s\n%s", block, output)
	}
	assert.True(t, maps.Equal(before, files()))
	_, answer, err = server.Do("GET", "sys/policies/acl/luumen-patch", nil)
	require.NoError(t, err)
	assert.Equal(t, policy, vaulttest.Text(answer, "data", "policy"))

	certificate, key := cert.Issue(t, "luumen-patch")
	pod := kubernetes.TokenOf(t, "luumen/luumen-patch", nil)
	administered := map[string]variables{
		"approle":    {"VAULT_ROLE_ID_FILE": filepath.Join(dir, "role_id"), "VAULT_SECRET_ID_FILE": filepath.Join(dir, "secret_id")},
		"kubernetes": {"VAULT_KUBERNETES_ROLE": "luumen-patch", "VAULT_KUBERNETES_JWT_FILE": inFile(t, pod)},
		"jwt":        {"VAULT_JWT_ROLE": "luumen-patch", "VAULT_JWT_FILE": inFile(t, jwt.Token(t, map[string]any{"sub": "luumen-patch"}))},
		"cert":       {"VAULT_CLIENT_CERT": inFile(t, certificate), "VAULT_CLIENT_KEY": inFile(t, key)},
		"token":      {"VAULT_TOKEN_FILE": filepath.Join(dir, "token")},
	}
	assert.ElementsMatch(t, auth.MethodNames(), slices.Collect(maps.Keys(administered)), "each method has a section")
	for method, v := range administered {
		before := server.Accessors(t)
		for range 3 {
			r := readOnce(t.Context(), at(server, method, v), "secret/data/luumen/windev", "secret/data/other")
			require.NoError(t, r.err, method)
			assert.Equal(t, []int{200, 403}, r.status, method)
			assert.Empty(t, r.warnings(), method)
		}
		assert.Equal(t, before, server.Accessors(t), method)
	}
}

// systemd knows the unit's settings, and the library reads its variables.
func TestREADMEForTheService(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("systemd's paths are not absolute here")
	}
	units := blocks(t, "ini")
	require.Len(t, units, 1)
	unit := units[0]
	for line := range strings.Lines(unit) {
		line = strings.TrimSpace(line)
		assert.Regexp(t, `^(\[Service\]|LoadCredential=[a-z-]+:/\S+|Environment=[A-Z_]+=\S+( [A-Z_]+=\S+)*)$`, line)
	}
	assert.NotRegexp(t, `VAULT_(TOKEN|SECRET_ID)=`, unit, "a secret in Environment=")

	// As systemd would set them.
	credentials := "/run/credentials/luumen-patch.service"
	v := make(variables)
	for _, match := range regexp.MustCompile(`([A-Z_]+)=(\S+)`).FindAllStringSubmatch(strings.ReplaceAll(unit, "Environment=", ""), -1) {
		v[match[1]] = strings.ReplaceAll(match[2], "%d", credentials)
	}
	vault := auth.New(auth.Settings{Address: "https://vault.example:8200", AuthMethod: "approle"}, v.options())
	assert.NoError(t, vault.Validate())
	assert.Contains(t, vault.Effective().Used, auth.Setting{Name: "secret_id_file", Value: credentials + "/secret-id", Source: "VAULT_SECRET_ID_FILE"})
	elsewhere := auth.New(auth.Settings{Address: "https://other.example:8200", AuthMethod: "approle"}, v.options())
	assertKind(t, elsewhere.Validate(), fault.Pinned)
	v["VAULT_CACERT"] = "" // it is not on this machine
	usage, err := do(t.Context(), auth.New(auth.Settings{Address: "https://vault.example:8200", AuthMethod: "approle"}, v.options()), auth.DoOptions{Patience: brief}, nil)
	assertKind(t, err, fault.Environment, "VAULT_ROLE_ID_FILE")
	assert.Empty(t, usage.Findings, "the example provokes a finding")

	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here; the keys were compared by themselves")
		return
	}
	dir := t.TempDir()
	dropIn := filepath.Join(dir, "luumen-patch.service.d", "vault.conf")
	require.NoError(t, os.Mkdir(filepath.Dir(dropIn), 0o700))
	write(t, filepath.Join(dir, "luumen-patch.service"), "[Service]\nExecStart=/bin/true\n")
	verify := func(unit string) string {
		write(t, dropIn, unit)
		output, err := exec.CommandContext(t.Context(), program, "verify", filepath.Join(dir, "luumen-patch.service")).CombinedOutput()
		require.NoError(t, err, "%s", output)
		// systemd-analyze also complains about other units on this machine.
		var about []byte
		for line := range bytes.Lines(output) {
			if bytes.Contains(line, []byte("luumen-patch.service")) {
				about = append(about, line...)
			}
		}
		return string(about)
	}
	assert.Empty(t, verify(unit))
	assert.Contains(t, verify(strings.ReplaceAll(unit, "LoadCredential", "LoadCredentials")), "Unknown key", "systemd-analyze sees nothing")
}
