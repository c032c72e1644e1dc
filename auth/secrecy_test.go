package auth_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/auth"
)

const canary = "Kq7canaryZ9"

// leaks reports whether the text holds the canary, in clear or as bytes, or a
// part of it where a dump breaks lines.
func leaks(text string) bool {
	lower := strings.ToLower(text)
	for _, part := range []string{canary[:6], canary[5:]} {
		var numbers []string
		for _, b := range []byte(part) {
			numbers = append(numbers, fmt.Sprint(b))
		}
		for _, form := range []string{part, hex.EncodeToString([]byte(part)), fmt.Sprintf("% x", part), strings.Join(numbers, " "), strings.Join(numbers, ",")} {
			if strings.Contains(lower, strings.ToLower(form)) {
				return true
			}
		}
	}
	return false
}

// recorder is a test that fails and keeps what it was told.
type recorder struct{ strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// dump writes a value in every way that a program could.
func dump(v any) string {
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q", "%p"} {
		fmt.Fprintf(&out, verb+"\n", v)
		fmt.Fprintf(&out, verb+"\n", []any{v})
		fmt.Fprintf(&out, verb+"\n", struct{ v any }{v})
	}
	text, err := json.Marshal(v)
	fmt.Fprintln(&out, string(text), err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
	out.WriteString(log.String())
	// The diff of an assertion is drawn by spew, which follows pointers and
	// reads unexported fields.
	var r recorder
	assert.Equal(&r, nil, v)
	assert.Equal(&r, []any{"other"}, []any{v})
	assert.Contains(&r, []any{v}, "other")
	out.WriteString(r.String())
	return out.String()
}

// TestDumpSeesWhatIsNotMasked keeps the tests below from proving nothing.
func TestDumpSeesWhatIsNotMasked(t *testing.T) {
	t.Parallel()
	type inner struct{ token string }
	for name, v := range map[string]any{
		"string":    canary,
		"far away":  &struct{ in *inner }{&inner{canary}},
		"header":    &struct{ h http.Header }{http.Header{"X": {canary}}},
		"bytes":     &struct{ b []byte }{[]byte("aaaaaaaaaaaa" + canary)},
		"map":       map[string]any{"a": &inner{canary}},
		"in a JSON": struct{ Token string }{canary},
	} {
		assert.True(t, leaks(dump(v)), name)
	}
}

// Nothing that a caller can get hold of shows a credential: not the Vault, not
// the Session while it is under way, not what is left of it, not the errors.
func TestNothingShowsACredential(t *testing.T) {
	t.Parallel()
	for _, test := range canaryCases(t) {
		for _, answers := range []string{"well", "refuses", "echoes", "echoes the login", "nothing"} {
			t.Run(test.name+" "+answers, func(t *testing.T) {
				t.Parallel()
				if test.method == "cert" && answers == "echoes the login" {
					t.Skip("a certificate's login sends nothing to echo")
				}
				server := newStandIn(t, func(w http.ResponseWriter, r *http.Request) bool {
					path := r.URL.Path
					switch {
					case (answers == "well" || answers == "echoes") && (strings.HasSuffix(path, "/login") || strings.Contains(path, "/login/")):
						say(w, 200, `{"request_id":"1","auth":{"client_token":"`+canary+`","accessor":"a","token_type":"service","lease_duration":3600}}`)
					case answers == "refuses":
						say(w, 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`)
					case answers == "echoes" && strings.HasSuffix(path, "-self") && !strings.HasSuffix(path, "lookup-self"):
						say(w, 400, `{"errors":["no `+canary+`"]}`)
					case answers == "echoes the login" && (strings.Contains(path, "/login") || strings.HasSuffix(path, "/lookup-self")):
						status := http.StatusBadRequest
						if test.name == "JWT" {
							status = http.StatusInternalServerError
						}
						say(w, status, `{"errors":["no `+canary+`"]}`)
					case answers == "nothing":
						w.Write([]byte("<html>" + canary))
					default:
						return false
					}
					return true
				})
				v := test.v.and(nil)
				settings := auth.Settings{Address: server.address, AuthMethod: test.method}
				if v["VAULT_PROXY_ADDR"] != "" {
					v["VAULT_PROXY_ADDR"] = strings.Replace(server.address, "//", "//user:"+canary+"@", 1)
					settings.Address = "http://vault.invalid"
				}
				vault := auth.New(settings, v.options())
				if test.method == "userpass" {
					vault = withMethod(settings.Address, userpass{"userpass", "agent", canary}, v)
				}
				shown := map[string]string{}
				summary, err := vault.Do(t.Context(), auth.RunOptions{}, func(ctx context.Context, session *auth.Session) error {
					answer, err := session.Get(ctx, "secret/app", "")
					if err != nil {
						return err
					}
					shown["answer"] = dump(answer)
					shown["session"] = dump(session)
					shown["token"] = dump(session.Token())
					return nil
				})
				shown["vault"] = dump(vault)
				shown["effective"] = dump(vault.Effective()) + vault.Effective().String()
				shown["summary"] = dump(summary)
				if err != nil {
					shown["error"] = dump(err) + err.Error()
				}
				for what, text := range shown {
					assert.False(t, leaks(text), "the %s shows it", what)
				}
				if key := test.v["VAULT_CLIENT_KEY"]; key != "" {
					assert.NotContains(t, shown["session"], "PrivateKey")
				}
			})
		}
	}
}

// Somebody puts a password into the address, or pastes a token into a box.
func TestSettingsShowNoUser(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"https://user:" + canary + "@vault.example", "https://" + canary + "@vault.example", "user:" + canary + "@vault.example",
		"https://user:" + canary + "/x@vault.example", "https://" + canary + "@@vault.example", "//" + canary + "@vault.example/%zz",
	} {
		text, err := json.Marshal(map[string]string{"address": address})
		require.NoError(t, err)
		decoded := decode(t, string(text))
		given := auth.Settings{Address: address}
		for name, shown := range map[string]string{
			"the decoded settings":   dump(decoded),
			"their faults":           dump(decoded.Faults()),
			"given settings":         fmt.Sprintf("%v %+v %#v %s %q %d %x", given, given, given, given, given, given, given),
			"a Vault of them":        dump(auth.New(given, variables{}.options())),
			"the effective settings": dump(auth.New(given, variables{"VAULT_ADDR": address}.options()).Effective()),
			"the error":              dump(auth.New(given, variables{"VAULT_TOKEN": "t"}.options()).Validate()),
		} {
			assert.False(t, leaks(shown), "%s: %s", address, name)
		}
		again, err := json.Marshal(given)
		require.NoError(t, err)
		assert.False(t, leaks(string(again)))
		assert.NotEmpty(t, decoded.Faults())
	}
	for _, text := range []string{
		`{"address":"https://vault.example?token=` + canary + `"}`, `{"address":"` + canary + `"}`, `{"namespace":"/` + canary + `"}`,
		`{"auth_method":"` + canary + `"}`, `{"kv_version":"` + canary + `"}`, `{"mounts":["/` + canary + `"]}`,
	} {
		settings := decode(t, text)
		vault := auth.New(settings, variables{"VAULT_TOKEN": "t"}.options())
		assert.False(t, leaks(dump(vault.Effective())), text)
		assert.False(t, leaks(fmt.Sprintf("%v %+v %#v %s %q %d %x", settings, settings, settings, settings, settings, settings, settings)), text)
		assert.Contains(t, settings.String(), " not valid")
	}
}
