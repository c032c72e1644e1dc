package client

import "strings"

// Vault's own words, where nothing better tells two answers apart. Seen on
// Vault 1.21.1 where no other release is named.
const (
	sealed           = "Vault is sealed"
	invalidToken     = "invalid token" // since Vault 1.17
	permissionDenied = "permission denied"
	missingIndex     = "required index state" // Enterprise; from its source
	upgrading        = "Upgrading from non-versioned to versioned data"
	plainHTTP        = "Client sent an HTTP request to an HTTPS server" // Go's net/http

	// A KV v2 mount read as v1 answers 404 with this warning.
	VersionedMount = "Invalid path for a versioned K/V secrets engine"
)

// What a node says that knows of no leader; the last two are from the source.
var notActive = []string{
	"local node not active but active cluster node not found",
	"no active Vault instance found",
	"node is not active",
}

// says reports whether an error of the answer holds one of the texts.
func (a *Answer) says(texts ...string) bool { return holds(a.Errors, texts...) }

// Warns reports whether a warning of the answer holds the text.
func (a *Answer) Warns(text string) bool { return holds(a.Warnings, text) }

func holds(lines []string, texts ...string) bool {
	for _, line := range lines {
		for _, text := range texts {
			if strings.Contains(line, text) {
				return true
			}
		}
	}
	return false
}
