// Package auth connects the agent to Vault, with the settings of the UI and with
// the credentials and pins of the agent's environment.
//
//	vault := auth.New(config.Vault, auth.Options{}) // no I/O
//	usage, err := vault.Do(ctx, auth.DoOptions{}, func(ctx context.Context, client *api.Client) error {
//		… // client is logged in
//	})
//
// Each run reads the environment and its files again, logs in, and revokes the token
// of its login. Start with [New]. Package resolver reads secrets with a Vault; use
// [Vault.Do] for anything else.
package auth

import (
	"maps"
	"os"
	"sync"

	"github.com/hashicorp/vault/api"
)

// Options extend a Vault. The zero Options are the default.
type Options struct {
	// Getenv reads the environment. Nil means os.Getenv. Several goroutines call it.
	Getenv func(name string) string

	// Methods adds login methods, such as vault/api's for AWS or LDAP, by their
	// names in the settings. One can replace a built-in method. The func is called for
	// each login, and should read the credentials each time. The run revokes the tokens of
	// these logins. Errors of the func and of the method are not shown, since they may
	// quote credentials: log them there.
	Methods map[string]func() (api.AuthMethod, error)
}

// Vault is a Vault server as the settings and the environment describe it. It holds
// no connection, and several runs can use it at once. Make one with [New]. The zero Vault is
// not configured.
type Vault struct {
	// A func, because printing by reflection would show what was pasted into the
	// settings, and the credentials of login methods.
	hidden func() *vault
}

func (v *Vault) inner() *vault {
	if v.hidden == nil {
		return &vault{getenv: os.Getenv}
	}
	return v.hidden()
}

type vault struct {
	settings Settings
	getenv   func(string) string
	methods  map[string]func() (api.AuthMethod, error) // handed in

	mu        sync.Mutex // guards the rest
	pathsText string     // LUUMEN_VAULT_PATHS as ValidatePath last saw it
	paths     pathPins
	pathsErr  error // of a malformed list, which permits no path
}

// New returns a Vault with a copy of its arguments. It never fails: Validate and Do return
// what is wrong with them. Make a new Vault for each run, since settings change.
func New(settings Settings, options Options) *Vault {
	v := &vault{settings: settings.clone().masked(), getenv: options.Getenv, methods: maps.Clone(options.Methods)}
	if v.getenv == nil {
		v.getenv = os.Getenv
	}
	maps.DeleteFunc(v.methods, func(name string, m func() (api.AuthMethod, error)) bool { return name == "" || m == nil })
	return &Vault{func() *vault { return v }}
}

// Settings returns the settings, with the pinned namespace if they have none.
func (v *Vault) Settings() Settings {
	settings := v.inner().settings.clone()
	if c, err := v.inner().config(); err == nil {
		settings.Namespace = c.namespace
	}
	return settings
}

// Validate checks settings, environment and pins, without files or network. Its error has
// the kind resolver.NotConfigured, Settings, Environment or Pinned.
func (v *Vault) Validate() error {
	_, err := v.inner().config()
	return err
}

// ValidatePath checks a reference's path against LUUMEN_VAULT_PATHS. Its error has the
// kind resolver.Pinned, or Environment if the variable is malformed.
func (v *Vault) ValidatePath(path string) error {
	inner := v.inner()
	text := inner.getenv("LUUMEN_VAULT_PATHS")
	inner.mu.Lock()
	defer inner.mu.Unlock()
	if inner.pathsText != text { // a run asks for thousands of paths, and a list can be long
		e := &environment{getenv: func(string) string { return text }}
		inner.pathsText, inner.paths = text, e.pathPins()
		inner.pathsErr = e.err()
	}
	if inner.pathsErr != nil {
		return inner.pathsErr
	}
	return inner.paths.permit(path)
}
