package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

// The UI's settings and the agent's environment describe a Vault. Validate says what is
// wrong before a run needs it.
func ExampleNew() {
	var config struct{ Vault auth.Settings }
	json.Unmarshal([]byte(`{"Vault": {"address": "https://vault.example:8200", "auth_method": "approle"}}`), &config)

	vault := auth.New(config.Vault, auth.Options{
		// Left out, the process's own environment is read.
		Getenv: func(name string) string { return map[string]string{"VAULT_SECRET_ID": "…"}[name] },
	})
	fmt.Println(vault.Validate())
	// Output:
	// the environment of the agent is wrong: neither VAULT_ROLE_ID nor VAULT_ROLE_ID_FILE is set; set one on the Patch server, or choose another auth_method in the UI
}

// The UI shows all errors in the settings before they are saved.
func ExampleSettings_Faults() {
	var settings auth.Settings
	json.Unmarshal([]byte(`{"address": "vault.example", "kv_version": 2, "namespace": "/team"}`), &settings)
	for _, fault := range settings.Faults() {
		fmt.Println(fault)
	}
	// Output:
	// kv_version: of the wrong type; choose "v1" or "v2"
	// address: neither https:// nor http://; write it like https://vault.example:8200
	// namespace: not a namespace; write it as Vault shows it, such as team/patch
}

// Programs that the agent starts get none of its secrets.
func ExampleSecretVariables() {
	isSecret := func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.ContainsFunc(auth.SecretVariables(), func(secret string) bool {
			return strings.EqualFold(secret, name) // as on Windows
		})
	}
	// Of a child: command.Env = slices.DeleteFunc(os.Environ(), isSecret)
	fmt.Println(slices.DeleteFunc([]string{"PATH=/bin", "VAULT_TOKEN=…", "VAULT_SECRET_ID_FILE=/etc/luumen/secret_id"}, isSecret))
	// Output: [PATH=/bin VAULT_SECRET_ID_FILE=/etc/luumen/secret_id]
}

// Effective says where each setting comes from, and which variables are not used.
func ExampleVault_Effective() {
	environment := map[string]string{
		"VAULT_ADDR":           "https://vault.example:8200",
		"VAULT_ROLE_ID":        "…",
		"VAULT_TOKEN":          "…",
		"VAULT_K8S_ROLE":       "patch",
		"VAULT_CLIENT_TIMEOUT": "30s",
		"VAULT_NAMESPACE":      "team",
	}
	vault := auth.New(auth.Settings{Address: "https://vault.example:8200", AuthMethod: "approle"},
		auth.Options{Getenv: func(name string) string { return environment[name] }})
	fmt.Print(vault.Effective())
	// Output:
	// enabled = true (default)
	// address = https://vault.example:8200 (UI)
	// kv_version = v2 (default)
	// auth_method = approle (UI)
	// namespace = team (VAULT_NAMESPACE)
	// mounts = as Vault lists them (default)
	// approle_mount = approle (default)
	// role_id = set (VAULT_ROLE_ID)
	// pinned_addr = https://vault.example:8200 (VAULT_ADDR)
	// pinned_namespace = team (VAULT_NAMESPACE)
	// client_timeout = 30s (VAULT_CLIENT_TIMEOUT)
	// VAULT_TOKEN is not used: it is for the login method token
	// VAULT_K8S_ROLE is not read: use VAULT_KUBERNETES_ROLE
}

// The agent signs a patch with a key that never leaves Vault.
func ExampleVault_Do() {
	server := exampleTransit()
	vault := auth.New(auth.Settings{Address: server.Address}, variables{"VAULT_TOKEN": server.Token}.options())

	var signature string
	_, err := vault.Do(context.Background(), auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
		answer, err := client.Logical().WriteWithContext(ctx, "transit/sign/release", map[string]any{"input": "cGF0Y2g="})
		if err != nil {
			return err
		}
		signature, _ = answer.Data["signature"].(string)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.HasPrefix(signature, "vault:v1:"))
	// Output: true
}

// exampleTransit starts a Vault with a key to sign with.
func exampleTransit() *vaulttest.Server {
	server := vaulttest.ForExample()
	for _, write := range []struct {
		path string
		body map[string]string
	}{
		{"sys/mounts/transit", map[string]string{"type": "transit"}},
		{"transit/keys/release", map[string]string{"type": "ed25519"}},
	} {
		if status, _, err := server.Do("POST", write.path, write.body); err != nil || status/100 != 2 {
			panic(fmt.Sprint(status, err))
		}
	}
	return server
}
