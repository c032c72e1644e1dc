//go:build unix

package auth_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// A bad file ends the run at once. The error names it and shows nothing of its content.
// A FIFO does not block.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	const content = "Kq7canaryZ9"
	type make func(t *testing.T, name string)
	holding := func(text string) make {
		return func(t *testing.T, name string) { write(t, name, text) }
	}
	empty, blank := holding(""), holding(" \r\n\ufeff")
	missing := func(*testing.T, string) {}
	folder := func(t *testing.T, name string) { require.NoError(t, os.Mkdir(name, 0o700)) }
	fifo := func(t *testing.T, name string) { require.NoError(t, syscall.Mkfifo(name, 0o600)) }
	linkToFIFO := func(t *testing.T, name string) {
		fifo(t, name+".fifo")
		require.NoError(t, os.Symlink(name+".fifo", name))
	}
	linkToItself := func(t *testing.T, name string) { require.NoError(t, os.Symlink(name, name)) }
	unreadable := func(t *testing.T, name string) {
		if os.Getuid() == 0 {
			t.Skip("root can read everything")
		}
		write(t, name, content)
		require.NoError(t, os.Chmod(name, 0))
	}
	device := func(t *testing.T, name string) { require.NoError(t, os.Symlink("/dev/zero", name)) }
	socket := func(t *testing.T, name string) {
		// A test's folder can have a longer name than a socket's may be.
		short, err := os.MkdirTemp("", "")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(short) })
		listener, err := net.Listen("unix", filepath.Join(short, "s"))
		require.NoError(t, err)
		t.Cleanup(func() { listener.Close() })
		require.NoError(t, os.Symlink(filepath.Join(short, "s"), name))
	}
	belowAFile := func(t *testing.T, name string) {
		write(t, name+".file", content)
		require.NoError(t, os.Symlink(name+".file/token", name))
	}
	endless := holding(content + strings.Repeat(" ", 64<<10))
	for _, method := range fileCases(t) {
		isPEM := method.method == "cert" || method.variable == "VAULT_CACERT"
		noPair := "in PEM form"
		if method.variable == "VAULT_CACERT" {
			noPair = "holds no certificate"
		}
		for _, test := range []struct {
			name string
			make make
			says string
			pem  string // instead, of a file in PEM form
		}{
			{"missing", missing, "does not exist", ""},
			{"empty", empty, "is empty", noPair},
			{"blank", blank, "is empty", noPair},
			{"a folder", folder, "is a folder; name a file in it", ""},
			{"a FIFO", fifo, "is not a regular file", ""},
			{"a link to a FIFO", linkToFIFO, "is not a regular file", ""},
			{"a device", device, "is not a regular file", ""},
			{"unreadable", unreadable, "cannot be read (permission denied); give the agent's user the right to read it", ""},
			{"a link to itself", linkToItself, "cannot be read (too many levels of symbolic links); set " + method.variable + " to one that can be read", ""},
			{"a socket", socket, "set " + method.variable + " to one that can be read", ""},
			{"below a file", belowAFile, "does not exist", ""},
			{"too large", endless, "is larger than 64 KiB", ""},
			{"two lines", holding(content + "\n" + content), "holds several lines", noPair},
			{"UTF-16", holding("\xff\xfeK\x00q\x007\x00c\x00"), "is UTF-16; save it as UTF-8", ""},
			{"UTF-16 of the other order", holding("\xfe\xff\x00K\x00q\x007\x00c"), "is UTF-16; save it as UTF-8", ""},
		} {
			if method.variable == "VAULT_CACERT" && test.name == "too large" {
				test.make, test.says = holding(strings.Repeat(" ", 4<<20+1)), "is larger than 4096 KiB"
			}
			t.Run(method.variable+" "+test.name, func(t *testing.T) {
				t.Parallel()
				name := filepath.Join(t.TempDir(), "file")
				test.make(t, name)
				server := newStandIn(t, nil)
				vault := auth.New(auth.Settings{Address: server.address, AuthMethod: method.method}, method.with.and(variables{method.variable: name}).options())
				began := time.Now()
				r := readOnce(t.Context(), vault)
				says := test.says
				if isPEM && test.pem != "" {
					says = test.pem
				} else {
					assert.ErrorContains(t, r.err, name)
				}
				assertKind(t, r.err, fault.Environment, method.variable, says)
				assert.False(t, strings.Contains(r.err.Error(), content), "the error shows the content")
				assert.Empty(t, server.requests())
				assert.Less(t, time.Since(began), 10*time.Second)
			})
		}
	}
}

func TestFilesThatOthersMayRead(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	for _, test := range []struct {
		mode os.FileMode
		can  string // empty if there is no warning
		do   string
	}{
		{0o400, "", ""}, {0o600, "", ""}, {0o640, "", ""}, {0o644, "read", "o-r"}, {0o604, "read", "o-r"}, {0o602, "write", "o-w"}, {0o666, "read and write", "o-rw"},
	} {
		name := inFile(t, "token")
		require.NoError(t, os.Chmod(name, test.mode))
		link := filepath.Join(t.TempDir(), "link")
		require.NoError(t, os.Symlink(name, link))
		r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, variables{"VAULT_TOKEN_FILE": link}.options()))
		require.NoError(t, r.err)
		if test.can == "" {
			assert.Empty(t, r.warnings(), test.mode)
			continue
		}
		assert.Equal(t, []string{"VAULT_TOKEN_FILE: every user of the Patch server can " + test.can + " " + link + "; chmod " + test.do + " it, or set its mode where it is mounted from, such as defaultMode in Kubernetes"}, r.warnings())
	}
	// A private key is no different.
	pair := newPair(t)
	require.NoError(t, os.Chmod(pair["VAULT_CLIENT_KEY"], 0o644))
	require.NoError(t, os.Chmod(pair["VAULT_CLIENT_CERT"], 0o644))
	r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, pair.and(variables{"VAULT_TOKEN": "t"}).options()))
	require.NoError(t, r.err)
	if assert.Len(t, r.warnings(), 1) {
		assert.Contains(t, r.warnings()[0], "VAULT_CLIENT_KEY")
	}
}

// Sometimes people put the credential itself into the variable for its file.
func TestCredentialInPlaceOfItsFile(t *testing.T) {
	t.Parallel()
	const canary = "hvs.Kq7canaryZ9"
	v := variables{"VAULT_TOKEN_FILE": canary}
	vault := auth.New(auth.Settings{Address: "https://vault.example"}, v.options())
	r := readOnce(t.Context(), vault)
	assertKind(t, r.err, fault.Environment, "VAULT_TOKEN_FILE: the file does not exist; write its full path")
	assert.False(t, strings.Contains(r.err.Error()+vault.Effective().String(), canary))
}

// White space, line ends and a BOM around a credential come from an editor.
func TestTrimming(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"tok", "tok\n", "tok\r\n", "\ufefftok\n", " tok\t", "\n\ntok", "tok\u00a0"} {
		server := newStandIn(t, nil)
		for _, v := range []variables{{"VAULT_TOKEN": text}, {"VAULT_TOKEN_FILE": inFile(t, text)}} {
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, v.options()), "secret/app")
			require.NoError(t, r.err)
			for _, request := range server.all() {
				assert.Equal(t, "tok", request.Header.Get("X-Vault-Token"))
			}
		}
	}
	for _, text := range []string{"t\nok", "t\rok", "t\x00ok", "t\tok", "t\x7fok", "t\u0085ok"} {
		server := newStandIn(t, nil)
		for _, v := range []variables{{"VAULT_TOKEN": text}, {"VAULT_TOKEN_FILE": inFile(t, text)}} {
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address}, v.options()), "secret/app")
			assertKind(t, r.err, fault.Environment, map[bool]string{true: "holds several lines; write the ", false: "holds a control character; write the "}[strings.ContainsAny(text, "\r\n")])
			assert.NotContains(t, r.err.Error(), "ok")
			assert.Empty(t, server.requests())
		}
	}
}

// The kubelet decides the mode of a projected file, which is a link into the folder
// ..data. Such a file gets no warning, but a link to anywhere else does.
func TestProjectedFiles(t *testing.T) {
	t.Parallel()
	server := newStandIn(t, nil)
	for _, test := range []struct {
		name, target string
		warns        bool
	}{
		{"as the kubelet links it", "..data/token", false},
		{"below a folder of the volume", "..data/vault/token", false},
		{"with an absolute target", "ABSOLUTE", true},
		{"into another folder", "other/token", true},
		{"through another link", "token2", false},
	} {
		for method, v := range map[string]variables{
			"kubernetes": {"VAULT_KUBERNETES_ROLE": "r", "VAULT_KUBERNETES_JWT_FILE": ""},
			"jwt":        {"VAULT_JWT_ROLE": "r", "VAULT_JWT_FILE": ""},
			"token":      {"VAULT_TOKEN_FILE": ""},
		} {
			volume := t.TempDir()
			// As kubernetes' atomic writer lays it out.
			for _, folder := range []string{"..2026_11_25_18_00_00.1/vault", "other"} {
				require.NoError(t, os.MkdirAll(filepath.Join(volume, folder), 0o755))
			}
			require.NoError(t, os.Symlink("..2026_11_25_18_00_00.1", filepath.Join(volume, "..data")))
			for _, file := range []string{"..data/token", "..data/vault/token", "other/token"} {
				write(t, filepath.Join(volume, file), "a-token")
				require.NoError(t, os.Chmod(filepath.Join(volume, file), 0o644))
			}
			target := test.target
			if target == "ABSOLUTE" {
				target = filepath.Join(volume, "other/token")
			}
			require.NoError(t, os.Symlink("..data/token", filepath.Join(volume, "token2")))
			link := filepath.Join(volume, "token")
			require.NoError(t, os.Symlink(target, link))
			all := make(variables)
			for name, value := range v {
				if all[name] = value; value == "" {
					all[name] = link
				}
			}
			r := readOnce(t.Context(), auth.New(auth.Settings{Address: server.address, AuthMethod: method}, all.options()))
			require.NoError(t, r.err, "%s, %s", test.name, method)
			assert.Equal(t, test.warns, len(r.warnings()) == 1, "%s, %s: %q", test.name, method, r.warnings())
			assert.Equal(t, test.warns, strings.Contains(strings.Join(r.warnings(), ""), "chmod o-r"), "%s, %s", test.name, method)
		}
	}
}

// Files that change during a use are read by the next one. They cost this one neither its
// next login nor the revocation, although vault/api reads them whenever a client is made.
func TestFilesChangeDuringAUse(t *testing.T) {
	server := vaulttest.SharedTLS(t)
	secret := newSecret(t, server)
	for name, change := range map[string]func(file string) error{
		"missing":   os.Remove,
		"truncated": func(file string) error { return os.Truncate(file, 0) },
		"a FIFO": func(file string) error {
			require.NoError(t, os.Remove(file))
			return syscall.Mkfifo(file, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			certificates, err := os.ReadFile(server.CAFile)
			require.NoError(t, err)
			file := inFile(t, string(certificates))
			a := server.AppRole(t, map[string]any{"token_policies": secret.policy})
			for variable, value := range map[string]string{"VAULT_CACERT": file, "VAULT_APPROLE_MOUNT": a.Mount, "VAULT_ROLE_ID": a.RoleID, "VAULT_SECRET_ID": a.SecretID(t, nil)} {
				t.Setenv(variable, value)
			}
			vault := auth.New(auth.Settings{Address: server.Address, AuthMethod: "approle"}, auth.Options{})
			r, statuses, errs := readTwice(t, vault, secret.path, func() {
				require.NoError(t, change(file))
				server.Must(t, "POST", "sys/leases/revoke-prefix/auth/"+a.Mount+"/login", map[string]any{"sync": true})
			})
			require.NoError(t, r.err)
			assert.Empty(t, errs)
			assert.Len(t, statuses, 32)
			assert.Empty(t, r.warnings())
			assert.Zero(t, tokensOf(t, server, a.Mount))
		})
	}
}
