package session

import (
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// Config says where Vault is, how to log in there, and what is to be read. It
// holds no credential: its funcs read them when they are needed, from files as
// they are then, and hand what they find odd to found.
type Config struct {
	Address        *url.URL
	Namespace      string                                         // of the reads
	LoginNamespace string                                         // of the login, and of requests about the token itself
	TLS            func(found func(Finding)) (*tls.Config, error) // how the two sides prove who they are
	Proxy          func(*http.Request) (*url.URL, error)          // nil means none
	Timeout        time.Duration                                  // of one attempt, body included
	PerSecond      float64                                        // requests at most; 0 means any number
	Burst          int                                            // of them at once
	Method         Method
	Findings       []Finding // about the configuration itself

	KVVersion int                     // of mounts of which Vault does not tell it: 1 or 2
	Mounts    []string                // that are known without Vault's list of them
	Permits   func(path string) error // holds a path against the Patch server's pins; its error is of kind pinned
}

// Method is how to get a token. One of Token, Login and HandedIn is set.
type Method struct {
	Name     string
	Mount    string                                    // of Login, below auth/
	Token    func(found func(Finding)) (string, error) // the token that the agent was given
	Login    func(found func(Finding)) (Login, error)  // the login's request
	HandedIn func() api.AuthMethod                     // a method of the caller's; a func, for it holds credentials
	Renew    string                                    // what to do about a given token that is dead
	Hints    []Hint                                    // in the order of precedence
}

// Login is the request of a login.
type Login struct {
	Path    string // below the mount
	Members map[string]string
	Secrets []string // those of the members' values that are
	Refused string   // what a refusal means whatever Vault says; empty where its words are all there is
}

// Hint is what a refused login means, where Vault's words allow to tell.
type Hint struct{ Says, Do string }

// Options shape one use of Vault. The zero Options are the default.
type Options struct {
	Patience    time.Duration // without any answer of Vault; 0 means 60 s
	Connections int           // at most; 0 means 16
	RunID       string        // printed into Vault's audit log; empty means a random one
	Health      bool          // ask for Vault's health before the login; see Summary.Health
}

func (o Options) withDefaults() Options {
	if o.Patience <= 0 {
		o.Patience = 60 * time.Second
	}
	if o.Connections <= 0 {
		o.Connections = 16
	}
	if o.RunID == "" {
		o.RunID = rand.Text()[:12]
	}
	// It becomes part of a header.
	o.RunID = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, o.RunID)
	o.RunID = o.RunID[:min(len(o.RunID), 128)]
	return o
}
