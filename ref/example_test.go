package ref_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/luumen/patch-vault/ref"
)

func ExampleParse() {
	for _, field := range []string{
		"vault:secret/luumen/windev?version=3#password",
		"hunter2",
		"Vault:secret/luumen/windev#password",
	} {
		v := ref.Parse(field)
		if err := v.Err(); err != nil {
			fmt.Println("invalid:", err)
		} else if text, ok := v.Reveal(); ok {
			fmt.Println("literal:", len(text), "bytes")
		} else {
			fmt.Println("reference:", v.Ref().Path(), v.Ref().Version(), v.Ref().Key())
		}
	}
	// Output:
	// reference: secret/luumen/windev 3 password
	// literal: 7 bytes
	// invalid: field at byte 0: vault: is not in lower case; begin the field with vault:, or write literal: before the whole field to use it as a literal
}

func ExampleNew() {
	// The text of two input boxes: # and ? need no escapes.
	r, err := ref.New("kv/a#b", "c?d", 0)
	fmt.Println(r, err)

	_, err = ref.New("sys/health", "sealed", 0)
	fmt.Println(err)
	// Output:
	// vault:kv/a%23b#c%3Fd <nil>
	// path at byte 0: a path of Vault itself, not of a secret; name a secret in a KV mount
}

func ExampleEscape() {
	fmt.Println(ref.Escape("hunter2"))
	fmt.Println(ref.Escape("vault:is my password"))
	text, _ := ref.Parse("literal:vault:is my password").Reveal()
	fmt.Println(text)
	// Output:
	// hunter2
	// literal:vault:is my password
	// vault:is my password
}

// A malformed field does not affect the fields around it.
func ExampleValue() {
	var host struct {
		Name       string
		User       ref.Value
		Password   ref.Value
		PrivateKey ref.Value `json:"private_key"`
		Passphrase ref.Value
	}
	err := json.Unmarshal([]byte(`{
		"name": "windev",
		"user": "admin",
		"password": {"path": "secret/luumen/windev", "key": "password"},
		"private_key": "vault:secret/luumen#"
	}`), &host)
	fmt.Println(err)
	fmt.Println(host.User)
	fmt.Println(host.Password)
	fmt.Println(host.PrivateKey.Err())
	fmt.Println(host.Passphrase.IsZero())
	// Output:
	// <nil>
	// [masked]
	// vault:secret/luumen/windev#password
	// key at byte 20: no key; name the key in the secret, such as password
	// true
}

// The JSON of a Value is for logs. To store a field, keep the JSON that was typed:
// a stored mask is an error and never a password.
func ExampleValue_MarshalJSON() {
	typed := []byte(`{"user": "vault:secret/luumen/windev#user", "password": "hunter2"}`)
	var credentials map[string]ref.Value
	json.Unmarshal(typed, &credentials)
	masked, _ := json.Marshal(credentials)
	fmt.Println(string(masked))

	json.Unmarshal(masked, &credentials)
	fmt.Println(credentials["user"])
	fmt.Println(credentials["password"].Err())
	// Output:
	// {"password":{"masked":"literal"},"user":"vault:secret/luumen/windev#user"}
	// vault:secret/luumen/windev#user
	// field at byte 0: a mask in place of the credential; enter the credential again; this is only its mask
}

// A save handler of the UI checks one field.
func ExampleSyntaxError() {
	save := func(body string) {
		var field ref.Value
		if err := json.Unmarshal([]byte(body), &field); err != nil {
			fmt.Println("400: the body is not JSON")
			return
		}
		if err, ok := errors.AsType[*ref.SyntaxError](field.Err()); ok {
			fmt.Printf("422: %s, byte %d: %s\n     %s\n", err.Part, err.Offset, err.Reason, err.Fix)
			return
		}
		if warning := field.Warning(); warning != "" {
			fmt.Println("200:", warning)
			return
		}
		fmt.Println("200")
	}
	save(`"vault:secret/luumen/windev#password"`)
	save(`"vault:secret//windev#password"`)
	save(`"secret/luumen/windev#password"`)
	// Output:
	// 200
	// 422: path, byte 13: an empty segment
	//      write one / between segments, none at the ends
	// 200: looks like a reference without vault:, but is used as a literal; if it is meant as a reference, begin the field with vault:
}
