// Vaultserver is HashiCorp Vault's own command line with the Kubernetes login
// method added, for the tests and the demo of the module above it.
//
// Built with the tag "minimal", Vault leaves out most of its plugins, and with
// them hundreds of packages: approle, cert, jwt, oidc, userpass, kv, pki, ssh,
// transit and database stay. Kubernetes is the one of those left out that the
// tests need. The import of the server is not supported by HashiCorp and its
// version cannot be raised freely: go.mod says which releases build.
//
// build.sh builds it.
package main

import (
	"os"

	"github.com/hashicorp/cli"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/builtin/plugin"
	"github.com/hashicorp/vault/command"
	"github.com/hashicorp/vault/physical/raft"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
)

func main() {
	// Vault makes its server command with backends that cannot be added to from
	// outside, so this one is made here; all other commands are Vault's own.
	if len(os.Args) < 2 || os.Args[1] != "server" {
		os.Exit(command.Run(os.Args[1:]))
	}
	server := &command.ServerCommand{
		BaseCommand: &command.BaseCommand{
			UI: &cli.BasicUi{Writer: os.Stdout, ErrorWriter: os.Stderr},
		},
		AuditBackends: map[string]audit.Factory{"file": audit.NewFileBackend},
		CredentialBackends: map[string]logical.Factory{
			"plugin":     plugin.Factory,
			"kubernetes": kubernetes.Factory,
		},
		LogicalBackends: map[string]logical.Factory{
			"plugin":   plugin.Factory,
			"kv":       kv.Factory,
			"database": database.Factory,
		},
		PhysicalBackends: map[string]physical.Factory{
			"inmem":               inmem.NewInmem,
			"inmem_transactional": inmem.NewTransactionalInmem,
			"raft":                raft.NewRaftBackend,
		},
		ShutdownCh: command.MakeShutdownCh(),
		SighupCh:   command.MakeSighupCh(),
		SigUSR2Ch:  command.MakeSigUSR2Ch(),
	}
	os.Exit(server.Run(os.Args[2:]))
}
