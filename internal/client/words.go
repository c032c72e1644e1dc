package client

import (
	"bytes"
	"strings"
)

// Vault's own words, where nothing better tells two answers apart. Seen on
// Vault 1.21.1 where no other release is named. What a refused login says stands
// with the login methods, in package auth.
const (
	sealed           = "Vault is sealed"
	invalidToken     = "invalid token" // since Vault 1.17
	PermissionDenied = "permission denied"
	missingIndex     = "required index state" // Enterprise; from its source
	upgrading        = "Upgrading from non-versioned to versioned data"
	plainHTTP        = "Client sent an HTTP request to an HTTPS server" // Go's net/http, as a server
	idleClosed       = "server closed"                                  // Go's net/http, as a client: an error without a name
	NoMount          = "no handler for route"
	readAsV1         = "Invalid path for a versioned K/V secrets engine" // a warning, and 404
)

// What a node says that knows of no leader; the last two are from the source.
var notActive = []string{
	"local node not active but active cluster node not found",
	"no active Vault instance found",
	"node is not active",
}

// says reports whether an error of the answer holds one of the texts.
func (a *Answer) says(texts ...string) bool { return holds(a.Errors, texts...) }

// NoMount reports whether no engine is mounted where Vault was asked.
func (a *Answer) NoMount() bool { return a.says(NoMount) }

// expectsHTTPS reports whether the body is the answer of Go's HTTPS server to a
// request in plain HTTP.
func expectsHTTPS(body []byte) bool { return bytes.HasPrefix(body, []byte(plainHTTP)) }

// ReadAsV1 reports whether a mount of KV v2 was read as one of v1.
func (a *Answer) ReadAsV1() bool { return holds(a.Warnings, readAsV1) }

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
