package reply

import "strings"

// Vault has no error codes, only texts. This file, state.go and login.go hold all texts that this
// library compares, each with the servers that were seen to send it. Other servers were not
// tried, or send other texts, for which the general rules hold.
//
//	1.14  Vault 1.14.10
//	1.21  Vault 1.21.1
//	bao   OpenBao 2.6.2
//	src   read in Vault's source: Enterprise, or hard to provoke

// phrase is part of a text from a server.
type phrase struct{ words, seen string }

var (
	permissionDenied = phrase{"permission denied", "1.14 1.21 bao"}
	invalidToken     = phrase{"invalid token", "1.21"} // since Vault 1.17
	noMount          = phrase{"no handler for route", "1.14 1.21 bao"}
	internalError    = phrase{"internal error", "1.14 1.21 bao"}
	readAsV1         = phrase{"Invalid path for a versioned ", "1.14 1.21 bao"} // a warning beside a 404
)

// expectsHTTPS is what HTTPS servers answer to plain HTTP.
var expectsHTTPS = []phrase{
	{"Client sent an HTTP request to an HTTPS server", "1.14 1.21 bao"}, // Go's own
	{"The plain HTTP request was sent to HTTPS port", "nginx 1.22"},
	{"You're speaking plain HTTP to an SSL-enabled server", "Apache"},
}

// wantsCertificate is what proxies that require a client certificate answer.
var wantsCertificate = []phrase{
	{"No required SSL certificate was sent", "nginx 1.22"},
	{"The SSL certificate error", "nginx"},
}

// noPage is what Go's own servers answer to a path that they do not have. Vault without web
// pages answers it to every path outside of its API and, in recovery mode, in it.
var noPage = phrase{"404 page not found", "1.21"}

// says reports whether a line contains one of the phrases.
func says(lines []string, phrases ...phrase) bool {
	for _, line := range lines {
		for _, p := range phrases {
			if strings.Contains(line, p.words) {
				return true
			}
		}
	}
	return false
}
