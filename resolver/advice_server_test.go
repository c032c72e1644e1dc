package resolver_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
	"github.com/luumen/patch-vault/resolver"
)

// settingOf sets a variable to a wrong value, and then to the right one or unsets it.
func settingOf(variable, wrong, right string) func(*testing.T, *desk) func() {
	return func(_ *testing.T, d *desk) func() {
		d.v[variable] = wrong
		return func() { d.v[variable] = right }
	}
}

// pasted sets VAULT_TOKEN to the token between two texts, and then to the token alone.
func pasted(before, after string) func(*testing.T, *desk) func() {
	return tokenAs(func(token string) string { return before + token + after })
}

// tokenAs sets VAULT_TOKEN to the func's result, and then to the token.
func tokenAs(content func(token string) string) func(*testing.T, *desk) func() {
	return func(_ *testing.T, d *desk) func() {
		right := d.v["VAULT_TOKEN"]
		d.v["VAULT_TOKEN"] = content(right)
		return func() { d.v["VAULT_TOKEN"] = right }
	}
}

func inBase64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// inTokenFile writes the func's result to a token file, and then the token alone.
func inTokenFile(content func(token string) string) func(*testing.T, *desk) func() {
	return func(t *testing.T, d *desk) func() {
		token := d.v["VAULT_TOKEN"]
		file := inFile(t, content(token))
		d.v["VAULT_TOKEN"], d.v["VAULT_TOKEN_FILE"] = "", file
		return func() { require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600)) }
	}
}

// Not proven here: a process variable that vault/api rejects (see
// TestVaultAPIsEnvironmentHasNoEffect); an unreadable file, since tests may run as root;
// and a namespace, which this Vault does not have.
func TestAdviceAboutThePatchServer(t *testing.T) {
	t.Parallel()
	server := vaulttest.SharedTLS(t)
	const dead = "set VAULT_TOKEN to a new one on the Patch server"
	token := func(settings map[string]any, change func(t *testing.T, token string)) func(*testing.T, *desk) func() {
		return func(t *testing.T, d *desk) func() {
			right := d.v["VAULT_TOKEN"]
			settings["policies"] = []string{"default", policyOf(t, server, d)}
			d.v["VAULT_TOKEN"] = server.NewToken(t, settings)
			change(t, d.v["VAULT_TOKEN"])
			return func() { d.v["VAULT_TOKEN"] = right }
		}
	}
	// batch sets VAULT_TOKEN to the func's result of a batch token, and then to the
	// batch token.
	batch := func(content func(token string) string) func(*testing.T, *desk) func() {
		return func(t *testing.T, d *desk) func() {
			token := server.NewToken(t, map[string]any{"type": "batch", "policies": []string{policyOf(t, server, d)}})
			d.v["VAULT_TOKEN"] = content(token)
			return func() { d.v["VAULT_TOKEN"] = token }
		}
	}
	whole := func(t *testing.T) (file string) {
		content, err := os.ReadFile(server.CAFile)
		require.NoError(t, err)
		return inFile(t, string(content))
	}
	prove(t, withToken(server), []advice{
		{"a path in the address that Vault does not have", resolver.BadResponse, "omit /vault from the address", func(_ *testing.T, d *desk) func() {
			right := d.Address
			d.Address += "/vault/"
			return func() { d.Address = right }
		}, ""},
		{"a path in the address, in upper case", resolver.BadResponse, "omit /V1 from the address", func(_ *testing.T, d *desk) func() {
			right := d.Address
			d.Address += "/V1"
			return func() { d.Address = right }
		}, ""},
		{"a path in the address of a Vault without web pages", resolver.BadResponse, "omit /vault from the address", func(t *testing.T, d *desk) func() {
			own := vaulttest.NewUninitialized(t) // whose configuration does not ask for them
			d.Address = own.Address + "/vault"
			return func() { d.Address, d.patience = own.Address, brief }
		}, resolver.Sealed},
		{"a path in the address of a server without web pages", resolver.BadResponse, "omit /vault from the address", func(t *testing.T, d *desk) func() {
			right := d.Address
			d.Address = wrongServer(t, always(http.StatusNotFound, `{"errors":[]}`+"\n")) + "/vault"
			return func() { d.Address = right }
		}, ""},
		{"a redirect to https", resolver.BadResponse, "use https in the address", func(t *testing.T, d *desk) func() {
			right := d.Address
			https, err := url.Parse(right)
			require.NoError(t, err)
			d.Address = wrongServer(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://"+https.Host+r.RequestURI, http.StatusMovedPermanently)
			})
			return func() { d.Address = right }
		}, ""},
		{"no token", resolver.Environment, "neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set; set one on the Patch server", func(_ *testing.T, d *desk) func() {
			right := d.v["VAULT_TOKEN"]
			d.v["VAULT_TOKEN"] = ""
			return func() { d.v["VAULT_TOKEN"] = right }
		}, ""},
		{"two sources of a token", resolver.Environment, "are both set; unset one", settingOf("VAULT_TOKEN_FILE", "/f", ""), ""},
		{"quotes around the token", resolver.Environment, "holds quotes around the token; write the token without quotes", pasted(`"`, `"`), ""},
		{"single quotes around the token", resolver.Environment, "holds quotes around the token; write the token without quotes", pasted(`'`, `'`), ""},
		{"quotes in the token file", resolver.Environment, "holds quotes around the token; write the token without quotes", inTokenFile(func(t string) string { return `"` + t + `"` + "\n" }), ""},
		{"the name of a variable as the token", resolver.Token, "holds a quote, a bracket, a comma, a semicolon,", settingOf("VAULT_TOKEN", "${VAULT_TOKEN}", ""), resolver.Environment},
		{"brackets around the token", resolver.Token, "holds a quote, a bracket, a comma, a semicolon,", pasted("<", ">"), ""},
		{"a quote behind the token", resolver.Token, `the credential in VAULT_TOKEN holds a quote, a bracket, a comma, a semicolon,`, pasted("", `"`), ""},
		{"a quote before the token", resolver.Token, `holds a quote, a bracket, a comma, a semicolon,`, pasted(`'`, ""), ""},
		{"a semicolon behind the token", resolver.Token, `holds a quote, a bracket, a comma, a semicolon,`, pasted("", ";"), ""},
		{"a line end behind the token in the file", resolver.Token, `holds a quote, a bracket, a comma, a semicolon,`, inTokenFile(func(t string) string { return t + `\n` }), ""},
		{"a quote behind a batch token", resolver.Token, `holds a quote, a bracket, a comma, a semicolon,`, batch(func(t string) string { return t + `"` }), ""},
		{"Bearer before the token", resolver.Environment, "holds Bearer before the token; write the token alone", pasted("Bearer ", ""), ""},
		{"bearer before the token in the file", resolver.Environment, "holds Bearer before the token; write the token alone", inTokenFile(func(t string) string { return "bearer " + t }), ""},
		{"the name copied along", resolver.Environment, "write the credential alone, without a name before it", pasted("VAULT_TOKEN=", ""), ""},
		{"the name and export copied along", resolver.Environment, "write the credential alone, without a name before it", inTokenFile(func(t string) string { return "export VAULT_TOKEN=" + t }), ""},
		{"token= before it", resolver.Environment, "write the credential alone, without a name before it", pasted("token=", ""), ""},
		{"as PowerShell sets it", resolver.Environment, "write the credential alone, without a name before it", pasted("$env:VAULT_TOKEN=\"", "\""), ""},
		{"the name in another case", resolver.Environment, "write the credential alone, without a name before it", pasted("Token=", ""), ""},
		{"an env file as the token file", resolver.Environment, "write the credential alone, without a name before it", inTokenFile(func(t string) string { return "VAULT_ADDR=https://vault.example:8200\r\nVAULT_TOKEN=" + t + "\r\n" }), ""},
		{"a list of the token", resolver.Environment, "holds JSON, not the credential alone", pasted(`["`, `"]`), ""},
		{"JSON that is cut off", resolver.Environment, "holds JSON, not the credential alone", pasted(`{"token":"`, ``), ""},
		{"the file's name as the token", resolver.Token, "the credential in VAULT_TOKEN looks like the name of a file: set VAULT_TOKEN_FILE to it", func(t *testing.T, d *desk) func() {
			file := inFile(t, d.v["VAULT_TOKEN"])
			d.v["VAULT_TOKEN"] = file
			return func() { d.v["VAULT_TOKEN"], d.v["VAULT_TOKEN_FILE"] = "", file }
		}, ""},
		{"the name of a file in the home folder as the token", resolver.Token, "the credential in VAULT_TOKEN looks like the name of a file", func(t *testing.T, d *desk) func() {
			file := inFile(t, d.v["VAULT_TOKEN"])
			d.v["VAULT_TOKEN"] = "~/.vault-token"
			return func() { d.v["VAULT_TOKEN"], d.v["VAULT_TOKEN_FILE"] = "", file }
		}, ""},
		{"a Secret that was encoded twice", resolver.Token, "the credential in VAULT_TOKEN is in base64: write it decoded", tokenAs(inBase64), ""},
		{"a Secret file that was encoded twice, with a line break", resolver.Token, "the credential in VAULT_TOKEN_FILE is in base64: write it decoded", inTokenFile(func(t string) string { return inBase64(t+"\n") + "\n" }), ""},
		{"the answer of jq that found no token", resolver.Token, "or is a placeholder: write the credential itself", inTokenFile(func(string) string { return "null\n" }), ""},
		{"a token that PowerShell encrypted", resolver.Token, "the credential in VAULT_TOKEN is encrypted: decrypt it", tokenAs(func(t string) string {
			return "01000000d08c9ddf0115d1118c7a00c04fc297eb" + hex.EncodeToString([]byte(t))
		}), ""},
		{"a token that transit encrypted", resolver.Token, "the credential in VAULT_TOKEN is encrypted: decrypt it", tokenAs(func(t string) string { return "vault:v1:" + inBase64(t) }), ""},
		{"the accessor in place of the token", resolver.Token, "the credential in VAULT_TOKEN looks like the accessor of a token: write the token itself", func(t *testing.T, d *desk) func() {
			right := d.v["VAULT_TOKEN"]
			_, answer, err := server.DoAs(right, http.MethodGet, "auth/token/lookup-self", nil)
			require.NoError(t, err)
			d.v["VAULT_TOKEN"] = vaulttest.Text(answer, "data", "accessor")
			return func() { d.v["VAULT_TOKEN"] = right }
		}, ""},
		{"a wrapping token", resolver.Token, "is a wrapping token, or belongs to another Vault", func(t *testing.T, d *desk) func() {
			sink := server.Proxy(t, vaulttest.ProxyConfig{Agent: true, AutoAuth: map[string]any{"token_policies": "default"}, WrapTTL: "5m"}).Sink
			text, err := os.ReadFile(sink)
			require.NoError(t, err)
			var wrapped struct{ Token string }
			require.NoError(t, json.Unmarshal(text, &wrapped))
			right := d.v["VAULT_TOKEN"]
			d.v["VAULT_TOKEN"] = wrapped.Token
			return func() { d.v["VAULT_TOKEN"] = right }
		}, ""},
		{"a batch token with more behind it", resolver.Token, "check that the token belongs to this Vault and has no quotes or other characters around it", batch(func(t string) string { return t + "=" }), ""},
		{"a batch token that lost its end", resolver.Token, "otherwise, replace it", batch(func(t string) string {
			body := len(t) - len(t[:strings.Index(t, ".")+1])
			return t[:len(t)-body%4-3]
		}), ""},
		{"the start of a batch token", resolver.Environment, "holds a batch token that is cut off; write the whole token", batch(func(t string) string { return t[:40] }), ""},
		{"a dot too many in a batch token", resolver.Environment, "holds a batch token that is cut off; write the whole token", batch(func(t string) string { return t[:40] + "." + t[40:] }), ""},
		{"JSON around the token", resolver.Environment, "holds JSON, not the credential alone; write the credential alone", pasted(`{"token":"`, `"}`), ""},
		{"the answer of vault login as JSON", resolver.Environment, "write the credential alone", inTokenFile(func(t string) string { return `{"auth":{"client_token":"` + t + `"}}` }), ""},
		{"a PEM block", resolver.Environment, "holds a PEM block, not the credential; write the credential alone", inTokenFile(func(t string) string {
			return "-----BEGIN PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString([]byte(t)) + "\n-----END PRIVATE KEY-----\n"
		}), ""},
		{"a letter that no token has", resolver.Environment, "write the token alone, without spaces, non-ASCII or invisible characters", pasted("", "ä"), ""},
		{"a zero-width space in the token", resolver.Environment, "without spaces, non-ASCII or invisible characters", pasted("\u200b", ""), ""},
		{"two lines in the token file", resolver.Environment, "holds several lines; write the credential alone", inTokenFile(func(t string) string { return t + "\nagent" }), ""},
		{"an empty token file", resolver.Environment, "is empty; write the credential into it", inTokenFile(func(string) string { return " \n" }), ""},
		{"a token file as PowerShell writes it", resolver.Environment, "is UTF-16; save it as UTF-8", inTokenFile(func(t string) string {
			return "\xff\xfe" + strings.Join(strings.Split(t, ""), "\x00") + "\x00"
		}), ""},
		{"a token file that is large", resolver.Environment, "is larger than 64 KiB; name the right one", inTokenFile(func(t string) string { return strings.Repeat(t, 1<<11) }), ""},
		{"no token file", resolver.Environment, "does not exist; create it, or set VAULT_TOKEN_FILE", func(t *testing.T, d *desk) func() {
			right, file := d.v["VAULT_TOKEN"], filepath.Join(t.TempDir(), "token")
			d.v["VAULT_TOKEN"], d.v["VAULT_TOKEN_FILE"] = "", file
			return func() { require.NoError(t, os.WriteFile(file, []byte(right), 0o600)) }
		}, ""},
		{"the token in place of its file", resolver.Environment, "write its full path: what VAULT_TOKEN_FILE holds now is not shown", func(t *testing.T, d *desk) func() {
			right := d.v["VAULT_TOKEN"]
			d.v["VAULT_TOKEN"], d.v["VAULT_TOKEN_FILE"] = "", right
			return func() { d.v["VAULT_TOKEN_FILE"] = inFile(t, right) }
		}, ""},
		{"a folder in place of the token file", resolver.Environment, "is a folder; name a file in it", func(t *testing.T, d *desk) func() {
			file := inFile(t, d.v["VAULT_TOKEN"])
			d.v["VAULT_TOKEN"], d.v["VAULT_TOKEN_FILE"] = "", filepath.Dir(file)
			return func() { d.v["VAULT_TOKEN_FILE"] = file }
		}, ""},
		{"Agent's sink with wrap_ttl", resolver.Environment, "holds JSON, as Vault Agent writes it with wrap_ttl; remove wrap_ttl from Agent's sink", func(t *testing.T, d *desk) func() {
			role := map[string]any{"token_policies": policyOf(t, server, d)}
			d.v["VAULT_TOKEN"] = ""
			d.v["VAULT_TOKEN_FILE"] = server.Proxy(t, vaulttest.ProxyConfig{Agent: true, AutoAuth: role, WrapTTL: "5m"}).Sink
			return func() {
				d.v["VAULT_TOKEN_FILE"] = server.Proxy(t, vaulttest.ProxyConfig{Agent: true, AutoAuth: role}).Sink
			}
		}, ""},
		{"a Vault Proxy's sink with wrap_ttl", resolver.Environment, "remove wrap_ttl from Agent's sink", func(t *testing.T, d *desk) func() {
			role := map[string]any{"token_policies": policyOf(t, server, d)}
			d.v["VAULT_TOKEN"] = ""
			d.v["VAULT_TOKEN_FILE"] = server.Proxy(t, vaulttest.ProxyConfig{AutoAuth: role, WrapTTL: "60s"}).Sink
			return func() {
				d.v["VAULT_TOKEN_FILE"] = server.Proxy(t, vaulttest.ProxyConfig{AutoAuth: role}).Sink
			}
		}, ""},
		{"what vault write -wrap-ttl prints", resolver.Environment, "remove wrap_ttl from Agent's sink", inTokenFile(func(t string) string {
			return `{"wrap_info":{"token":"` + t + `","accessor":"","ttl":60,"creation_path":"auth/approle/login","wrapped_accessor":""}}`
		}), ""},
		{"the token of another cluster's namespace", resolver.Token, "check that the token belongs to this Vault", pasted("", ".nsid1"), ""},
		{"a token of another cluster's namespace", resolver.Token, "check that the token belongs to this Vault", settingOf("VAULT_TOKEN", "hvs.x.nsid", ""), resolver.Environment},
		{"a token of a namespace in the file", resolver.Token, "check that the token belongs to this Vault", inTokenFile(func(string) string { return "hvs.CAESIJforeign.AbCdE" }), ""},
		{"a JWT as the token", resolver.Token, "the credential in VAULT_TOKEN is a JWT: to log in with one, choose the method jwt, or kubernetes", func(t *testing.T, d *desk) func() {
			d.v["VAULT_TOKEN"] = vaulttest.NewJWT(t).Token(t, nil)
			return func() { jwtWith(server, nil, func(*testing.T, *desk, *vaulttest.JWT) func() { return nil })(t, d) }
		}, ""},
		{"a token of another Vault", resolver.Token, dead, settingOf("VAULT_TOKEN", "hvs.CAESIJof-another-one", ""), resolver.Environment},
		{"a revoked token", resolver.Token, dead, token(map[string]any{}, func(t *testing.T, token string) {
			server.Must(t, http.MethodPost, "auth/token/revoke", map[string]any{"token": token})
		}), ""},
		{"a token with one use left", resolver.Token, "replace it with one without a use limit", token(map[string]any{"num_uses": 1}, func(*testing.T, string) {}), ""},
		{"a proxy that drops the token", resolver.Token, "that no proxy in front of Vault drops the header X-Vault-Token", func(t *testing.T, d *desk) func() {
			good := d.Address
			d.Address = inFront(t, vaulttest.Shared(t), func(r *http.Request) { r.Header.Del("X-Vault-Token") })
			return func() { d.Address = good }
		}, ""},
		{"an address without a scheme", resolver.Settings, "write it like https://vault.example:8200", address(func(a string) string { return strings.TrimPrefix(a, "https://") }), ""},
		{"an address of the API", resolver.Settings, "omit /v1 and what follows", address(func(a string) string { return a + "/v1/secret" }), ""},
		{"an address of the web page", resolver.Settings, "omit /ui and what follows", address(func(a string) string { return a + "/ui" }), ""},
		{"an address with a space", resolver.Settings, "white space at its beginning or end; remove it", address(func(a string) string { return a + " " }), ""},
		{"no address", resolver.NotConfigured, "set it up in the UI", address(func(string) string { return "" }), ""},
		{"disabled", resolver.NotConfigured, "enable it there", func(_ *testing.T, d *desk) func() {
			d.Enabled = new(false)
			return func() { d.Enabled = new(true) }
		}, ""},
		{"a KV version that is none", resolver.Settings, `choose "v1" or "v2"`, func(_ *testing.T, d *desk) func() {
			d.KVVersion = "2"
			return func() { d.KVVersion = "v2" }
		}, ""},
		{"a method that is none", resolver.Settings, "choose one of", func(_ *testing.T, d *desk) func() {
			d.AuthMethod = "Token"
			return func() { d.AuthMethod = "token" }
		}, ""},
		{"a mount that is none", resolver.Settings, "write it as Vault shows it, such as team/kv", func(_ *testing.T, d *desk) func() {
			d.Mounts = []string{"/" + d.mount()}
			return func() { d.Mounts = []string{d.mount()} }
		}, ""},
		{"the method of nobody", resolver.Environment, "or choose another auth_method in the UI", func(_ *testing.T, d *desk) func() {
			d.AuthMethod = "jwt"
			return func() { d.AuthMethod = "token" }
		}, ""},
		{"a pinned address", resolver.Pinned, "correct one of them", settingOf("VAULT_ADDR", "https://vault.example:8200", server.Address), ""},
		{"a pinned namespace", resolver.Pinned, "correct one of them", func(_ *testing.T, d *desk) func() {
			d.Namespace, d.v["VAULT_NAMESPACE"] = "other", "team"
			return func() { d.Namespace, d.v["VAULT_NAMESPACE"] = "", "" }
		}, ""},
		{"a pinned path", resolver.Pinned, "name a secret below one of these paths, or add this path to the list on the Patch server", func(_ *testing.T, d *desk) func() {
			d.v["LUUMEN_VAULT_PATHS"] = "secret"
			return func() { d.v["LUUMEN_VAULT_PATHS"] += "," + d.mount() }
		}, ""},
		{"a pinned path as of a reference", resolver.Environment, "without vault: and separated by commas", pinnedPaths("vault:MOUNT", "MOUNT"), ""},
		{"a pinned path with a key", resolver.Pinned, "add this path to the list on the Patch server, after a comma, without escapes, key, data/ and metadata/", pinnedPaths("MOUNT/app#password", "MOUNT/app"), ""},
		{"pinned paths with semicolons", resolver.Pinned, "or add this path to the list on the Patch server, after a comma", pinnedPaths("MOUNT/app;secret", "MOUNT/app,secret"), ""},
		{"pinned paths in JSON", resolver.Environment, "write the value alone, without brackets and quotes", pinnedPaths(`["MOUNT/app"]`, "MOUNT/app"), ""},
		{"a pinned path of metadata", resolver.Pinned, "without escapes, key, data/ and metadata/", pinnedPaths("MOUNT/metadata/app", "MOUNT/app"), ""},
		{"a pin that is no address", resolver.Environment, "write it like https://vault.example:8200", settingOf("VAULT_ADDR", strings.TrimPrefix(server.Address, "https://"), server.Address), ""},
		{"a timeout that is none", resolver.Environment, "write seconds such as 10, or 10s", settingOf("VAULT_CLIENT_TIMEOUT", "soon", "10"), ""},
		{"a rate that is none", resolver.Environment, "write requests a second such as 100, or rate:burst", settingOf("VAULT_RATE_LIMIT", "many", "100:20"), ""},
		{"a boolean that is none", resolver.Environment, "write true or false", settingOf("VAULT_SKIP_VERIFY", "no", "false"), ""},
		{"a proxy that is none", resolver.Environment, "write it like http://proxy.example:3128", settingOf("VAULT_PROXY_ADDR", "proxy.example", ""), ""},
		{"quotes around a file's name", resolver.Environment, "VAULT_CACERT holds quotes; remove them", settingOf("VAULT_CACERT", `"`+server.CAFile+`"`, server.CAFile), ""},
		{"a CA in place of its file", resolver.Environment, "write it to a file and name that, or use VAULT_CACERT_BYTES for a CA", func(t *testing.T, d *desk) func() {
			content, err := os.ReadFile(server.CAFile)
			require.NoError(t, err)
			d.v["VAULT_CACERT"] = string(content)
			return func() { d.v["VAULT_CACERT"], d.v["VAULT_CACERT_BYTES"] = "", string(content) }
		}, ""},
		{"two sources of CAs", resolver.Environment, "VAULT_CACERT and VAULT_CAPATH are both set; unset one", settingOf("VAULT_CAPATH", "/etc/ssl/certs", ""), ""},
		{"half a pair", resolver.Environment, "set both or neither", settingOf("VAULT_CLIENT_CERT", "/c", ""), ""},
		{"no CA in its file", resolver.Environment, "name a file of certificates in PEM form", func(t *testing.T, d *desk) func() {
			d.v["VAULT_CACERT"] = inFile(t, "no certificate")
			return func() { d.v["VAULT_CACERT"] = whole(t) }
		}, ""},
		{"a CA that was encoded twice", resolver.Environment, "is in base64; write it decoded", func(t *testing.T, d *desk) func() {
			content, err := os.ReadFile(server.CAFile)
			require.NoError(t, err)
			d.v["VAULT_CACERT"] = inFile(t, inBase64(string(content))+"\n")
			return func() { d.v["VAULT_CACERT"] = inFile(t, string(content)) }
		}, ""},
		{"a CA in its variable that was encoded twice", resolver.Environment, "VAULT_CACERT_BYTES is in base64; write it decoded", func(t *testing.T, d *desk) func() {
			content, err := os.ReadFile(server.CAFile)
			require.NoError(t, err)
			d.v["VAULT_CACERT"], d.v["VAULT_CACERT_BYTES"] = "", inBase64(string(content))
			return func() { d.v["VAULT_CACERT_BYTES"] = string(content) }
		}, ""},
		{"a file's name in place of a CA", resolver.Environment, "or set VAULT_CACERT to the name of their file", func(_ *testing.T, d *desk) func() {
			d.v["VAULT_CACERT"], d.v["VAULT_CACERT_BYTES"] = "", server.CAFile
			return func() { d.v["VAULT_CACERT"], d.v["VAULT_CACERT_BYTES"] = server.CAFile, "" }
		}, ""},
		{"no CA in the variable", resolver.Environment, "set it to certificates in PEM form, with their line breaks and without quotes", func(t *testing.T, d *desk) func() {
			content, err := os.ReadFile(server.CAFile)
			require.NoError(t, err)
			d.v["VAULT_CACERT"], d.v["VAULT_CACERT_BYTES"] = "", `"`+string(content)+`"`
			return func() { d.v["VAULT_CACERT_BYTES"] = string(content) }
		}, ""},
		{"no CA in the folder", resolver.Environment, "put files with certificates in PEM form directly into it", func(t *testing.T, d *desk) func() {
			content, err := os.ReadFile(server.CAFile)
			require.NoError(t, err)
			d.v["VAULT_CACERT"], d.v["VAULT_CAPATH"] = "", t.TempDir()
			return func() {
				require.NoError(t, os.WriteFile(filepath.Join(d.v["VAULT_CAPATH"], "ca.pem"), content, fs.FileMode(0o600)))
			}
		}, ""},
		{"a file in place of the folder", resolver.Environment, "set VAULT_CAPATH to the folder of the CA files, or VAULT_CACERT to one file", func(_ *testing.T, d *desk) func() {
			d.v["VAULT_CACERT"], d.v["VAULT_CAPATH"] = "", server.CAFile
			return func() { d.v["VAULT_CACERT"], d.v["VAULT_CAPATH"] = server.CAFile, "" }
		}, ""},
		{"an unknown CA", resolver.TLS, "VAULT_CACERT on the Patch server", settingOf("VAULT_CACERT", "", server.CAFile), ""},
		{"a name with a port", resolver.TLS, "correct or unset VAULT_TLS_SERVER_NAME on the Patch server", settingOf("VAULT_TLS_SERVER_NAME", "localhost:8200", "localhost"), ""},
		{"another name", resolver.TLS, "correct or unset VAULT_TLS_SERVER_NAME on the Patch server", settingOf("VAULT_TLS_SERVER_NAME", "vault.example", "localhost"), ""},
		{"http to https", resolver.TLS, "use https in the address", address(func(a string) string { return strings.Replace(a, "https://", "http://", 1) }), ""},
		{"nobody listens", resolver.Unreachable, "check the address, that Vault runs there", func(t *testing.T, d *desk) func() {
			good := d.Address
			d.Address = "https://" + vaulttest.ClosedPort(t)
			return func() { d.Address = good }
		}, ""},
		{"a name that does not exist", resolver.Unreachable, "check the name in the address", address(func(string) string { return "https://vault.invalid:8200" }), ""},
		{"a proxy that does not run", resolver.Unreachable, "check VAULT_PROXY_ADDR on the Patch server, that the proxy runs there", settingOf("VAULT_PROXY_ADDR", "http://127.0.0.1:1", ""), ""},
		{"a balancer without nodes", resolver.BadResponse, "check the address, that Vault runs, and that the proxy or balancer in front of it reaches it", func(t *testing.T, d *desk) func() {
			good := d.Address
			d.Address, d.patience = wrongServer(t, page(502)), brief
			return func() { d.Address = good }
		}, ""},
		{"not a Vault", resolver.BadResponse, "check the address, and the proxy or balancer in front of Vault", func(t *testing.T, d *desk) func() {
			good := d.Address
			d.Address = wrongServer(t, page(200))
			return func() { d.Address = good }
		}, ""},
	})
}

// pinnedPaths sets LUUMEN_VAULT_PATHS, and corrects it. MOUNT is that of the field.
func pinnedPaths(wrong, right string) func(*testing.T, *desk) func() {
	return func(t *testing.T, d *desk) func() {
		named := func(text string) string { return strings.ReplaceAll(text, "MOUNT", d.mount()) }
		return settingOf("LUUMEN_VAULT_PATHS", named(wrong), named(right))(t, d)
	}
}

// address changes the address, and corrects it.
func address(change func(address string) string) func(*testing.T, *desk) func() {
	return func(_ *testing.T, d *desk) func() {
		good := d.Address
		d.Address = change(good)
		return func() { d.Address = good }
	}
}

// A Vault that is slow, sealed, or behind a proxy with a problem.
func TestAdviceAboutTheServer(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	raised := func(how func(d *desk) slowness, login bool) func(*testing.T, *desk) func() {
		return func(t *testing.T, d *desk) func() {
			if login {
				d.useAppRole(t, server, nil)
			}
			d.Address = slow(t, server, how(d))
			d.v["VAULT_CLIENT_TIMEOUT"] = "400ms"
			d.patience = 6 * time.Second
			return func() { d.v["VAULT_CLIENT_TIMEOUT"] = "30" }
		}
	}
	const late = 1500 * time.Millisecond
	const knob = "if Vault is only slow, raise VAULT_CLIENT_TIMEOUT on the Patch server"
	prove(t, withToken(server), []advice{
		{"slow reads", resolver.Unreachable, knob, raised(func(d *desk) slowness { return slowly(late, d.mount()) }, false), ""},
		{"everything is slow", resolver.Unreachable, knob, raised(func(*desk) slowness { return slowly(late, "") }, false), ""},
		{"everything is slow, and a login first", resolver.Unreachable, knob, raised(func(*desk) slowness { return slowly(late, "") }, true), ""},
		{"a slow login", resolver.Login, "if it is only slow, raise VAULT_CLIENT_TIMEOUT on the Patch server", raised(func(d *desk) slowness { return slowly(late, "auth/"+d.v["VAULT_APPROLE_MOUNT"]) }, true), ""},
		{"sealed", resolver.Sealed, "unseal it: vault operator unseal", func(t *testing.T, d *desk) func() {
			own := vaulttest.New(t, vaulttest.Config{})
			again := withToken(own)(t)
			*d = *again
			require.NoError(t, own.Seal())
			return func() { require.NoError(t, own.Unseal()) }
		}, ""},
		{"not initialized", resolver.Sealed, "only a new Vault needs vault operator init first", func(t *testing.T, d *desk) func() {
			own := vaulttest.NewUninitialized(t)
			d.Address = own.Address
			return func() {
				answer := own.Must(t, http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
				own.Must(t, http.MethodPut, "sys/unseal", map[string]any{"key": answer["keys"].([]any)[0]})
				require.Eventually(t, func() bool {
					status, _, err := own.Do(http.MethodGet, "sys/health", nil)
					return err == nil && status == http.StatusOK
				}, time.Minute, 20*time.Millisecond)
			}
		}, resolver.Token}, // of the other Vault
		{"a quota", resolver.RateLimited, "raise Vault's rate limit quota", func(t *testing.T, d *desk) func() {
			quota := "sys/quotas/rate-limit/" + vaulttest.Name()
			path := d.mount() + "/"
			server.Must(t, http.MethodPost, quota, map[string]any{"path": path, "rate": 1, "interval": "1h", "block_interval": "1h"})
			for status := 0; status != http.StatusTooManyRequests; {
				status, _, _ = server.Do("GET", path+"data/app", nil)
			}
			return func() { server.Must(t, http.MethodDelete, quota, nil) }
		}, ""},
		{"a proxy that drops the token of a login", resolver.Token, "that no proxy in front of Vault drops the header X-Vault-Token", func(t *testing.T, d *desk) func() {
			d.useAppRole(t, server, nil)
			good := d.Address
			d.Address = inFront(t, server, func(r *http.Request) { r.Header.Del("X-Vault-Token") })
			return func() { d.Address = good }
		}, ""},
		{"a proxy that drops the token, where the list is let through", resolver.Token, "that no proxy in front of Vault drops the header X-Vault-Token", func(t *testing.T, d *desk) func() {
			d.useAppRole(t, server, nil)
			good := d.Address
			d.Address = inFront(t, server, func(r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/mounts") {
					r.Header.Del("X-Vault-Token")
				}
			})
			return func() { d.Address = good }
		}, ""},
	})
}
