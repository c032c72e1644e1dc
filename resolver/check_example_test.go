package resolver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/ref"
	"github.com/luumen/patch-vault/resolver"
)

// The UI backend checks a form before it is saved, without a Vault.
func Example_save() {
	type fault struct {
		Field  string `json:"field"`
		Reason string `json:"reason"`
		Fix    string `json:"fix"`
	}
	save := func(w http.ResponseWriter, r *http.Request) {
		var form struct {
			Vault       auth.Settings
			Credentials map[string]json.RawMessage // strings, or objects with the texts of input boxes
		}
		if err := json.NewDecoder(r.Body).Decode(&form); err != nil {
			http.Error(w, "the body is not JSON", http.StatusBadRequest)
			return
		}
		var faults []fault
		for _, f := range form.Vault.Faults() {
			faults = append(faults, fault{f.Setting, f.Reason, f.Fix})
		}
		for name, typed := range form.Credentials {
			var value ref.Value
			json.Unmarshal(typed, &value) // what is wrong is in value.Err
			if f, ok := errors.AsType[*ref.SyntaxError](value.Err()); ok {
				faults = append(faults, fault{name, fmt.Sprintf("%s at byte %d: %s", f.Part, f.Offset, f.Reason), f.Fix})
			} else if text := value.Warning(); text != "" {
				fmt.Println("to be confirmed:", name, text)
			}
		}
		if len(faults) == 0 {
			// Store form.Credentials, as it was typed: a ref.Value marshals a literal
			// as a mask.
			w.WriteHeader(http.StatusNoContent)
			return
		}
		slices.SortFunc(faults, func(a, b fault) int { return strings.Compare(a.Field, b.Field) })
		w.WriteHeader(http.StatusUnprocessableEntity)
		for _, f := range faults {
			fmt.Fprintf(w, "%s: %s\n    %s\n", f.Field, f.Reason, f.Fix)
		}
	}

	for _, form := range []string{
		`{"vault": {"address": "vault.example:8200", "kv_version": 2},
		  "credentials": {"user": "vault:secret//windev#user", "password": {"path": "secret/luumen/windev", "key": "", "version": 3}}}`,
		`{"vault": {"address": "https://vault.example:8200"},
		  "credentials": {"user": "root", "password": "secret/luumen/windev#password"}}`,
	} {
		w := httptest.NewRecorder()
		save(w, httptest.NewRequest("POST", "/settings", strings.NewReader(form)))
		body, _ := io.ReadAll(w.Body)
		fmt.Printf("%d\n%s", w.Code, body)
	}
	// Output:
	// 422
	// address: neither https:// nor http://
	//     write it like https://vault.example:8200
	// kv_version: of the wrong type
	//     choose "v1" or "v2"
	// password: key at byte 0: no key
	//     name the key in the secret, such as password
	// user: path at byte 13: an empty segment
	//     write one / between segments, none at the ends
	// to be confirmed: password looks like a reference without vault:, but is used as a literal; if it is meant as a reference, begin the field with vault:
	// 204
}

// The agent answers when somebody presses Test, and the UI shows the answer.
func ExampleCheck() {
	settings, options := exampleVault() // from the UI; the agent's own environment is auth.Options{}
	ctx := context.Background()
	defer logToOutput()()

	// The agent: it alone reaches Vault. What it logs is complete, what it sends is
	// for the UI.
	test := func(request []byte) []byte {
		var form struct {
			Host   string
			Fields []ref.Value
		}
		if err := json.Unmarshal(request, &form); err != nil {
			return nil
		}
		vault := auth.New(settings, options)
		verdicts := resolver.Check(ctx, vault, form.Fields, resolver.CheckOptions{Host: form.Host})
		slog.Info("checked", "verdicts", verdicts)
		answer, _ := json.Marshal(verdicts)
		return answer
	}

	// The UI backend.
	var verdicts resolver.Verdicts
	err := json.Unmarshal(test([]byte(`{"host": "win-1", "fields": [
		"vault:secret/luumen/windev#password",
		"vault:secret/luumen/windev#pasword",
		"vault:secret/luumen/windev?version=9#password",
		"vault:secret//windev#password",
		"secret/luumen/windev#password"]}`)), &verdicts)
	fmt.Println(verdicts.Connection.Kind, err)
	for i, field := range verdicts.Fields {
		text := "a run gets a credential"
		if field.Kind != resolver.OK {
			if field.Kind == verdicts.Connection.Kind {
				continue // the connection's error, which is shown already
			}
			text = field.Reason + "; " + field.Fix
		}
		fmt.Printf("%d. %-14s| %s\n", i+1, field.Kind, text)
		for _, finding := range field.Findings {
			fmt.Println("  ", finding)
		}
	}
	for _, finding := range verdicts.Connection.Findings {
		fmt.Println(finding)
	}
	// Output:
	// level=INFO msg=checked
	// ok <nil>
	// 1. ok            | a run gets a credential
	// 2. no_key        | the secret has no such key; check the key; the agent's log says whether a similar one exists
	// 3. no_version    | Vault has no such version of the secret; check the pinned version, or omit it
	// 4. bad_reference | an empty segment; write one / between segments, none at the ends
	// 5. ok            | a run gets a credential
	//    warning: this field looks like a reference without vault:, but is used as a literal; if it is meant as a reference, begin the field with vault:
	// notice: the Patch server accepts any address from these settings; to pin it, set VAULT_ADDR there to the address of this Vault
	// warning: the token is a root token, so whoever obtains it can do anything in Vault; give the agent a token whose policy grants only its references
}

func ExamplePolicy() {
	var references []ref.Ref
	for _, field := range []string{
		"vault:secret/luumen/windev#user",
		"vault:secret/luumen/windev#password",
		"vault:legacy/luumen/sap#password",
		"vault:team/kv/unix#password",
		"vault:secret/luumen/all*#password",
	} {
		references = append(references, ref.Parse(field).Ref())
	}
	// From Check, or as the administrator knows them.
	mounts := []resolver.Mount{{Path: "secret", Version: 2}, {Path: "legacy", Version: 1}}

	policy, err := resolver.Policy(references, mounts)
	fmt.Print(policy)
	fmt.Println(err)
	// Output:
	// path "legacy/luumen/sap" { capabilities = ["read"] }
	// path "secret/data/luumen/windev" { capabilities = ["read"] }
	// # Assumes that "team" is a KV v2 mount. If it is not, correct its lines below.
	// path "team/data/kv/unix" { capabilities = ["read"] }
	// vault:secret/luumen/all*#password: no policy can name this path alone, because Vault reads the * at its end as a wildcard; move the secret to another path
}
