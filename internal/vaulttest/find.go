package vaulttest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNotFound means that there is no Vault to start.
var ErrNotFound = errors.New("no vault program found; run make vault, or set VAULT_BIN to the absolute path of one")

const module = "module github.com/luumen/patch-vault\n"

// Find returns the Vault program: VAULT_BIN, or .vault/vault at the root of this module,
// which make vault builds, or vault on PATH. If VAULT_BIN is set, it must be a program.
func Find() (string, error) {
	if name := os.Getenv("VAULT_BIN"); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("VAULT_BIN: %w; set it to the absolute path of a vault program", err)
		}
		return path, nil
	}
	if root, ok := moduleRoot(); ok {
		if path, err := exec.LookPath(filepath.Join(root, ".vault", "vault")); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath("vault"); err == nil {
		return path, nil
	}
	return "", ErrNotFound
}

// moduleRoot looks upwards from the working directory, which is a test's package.
func moduleRoot() (string, bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.Contains(append(text, '\n'), []byte(module)) {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}
