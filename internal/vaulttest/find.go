package vaulttest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNotFound says that there is no Vault to start.
var ErrNotFound = errors.New("no vault program found; run make vault, or set VAULT_BIN to the absolute path of one")

const module = "module github.com/luumen/patch-vault\n"

// Find returns the program that will be started: VAULT_BIN, else .vault/vault
// at the root of this module, which make vault builds, else vault on PATH.
// VAULT_BIN must be a program; it is an error if it is not.
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

// moduleRoot looks upwards from the working directory, which for a test is its
// package's folder.
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
