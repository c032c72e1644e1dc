package auth

import (
	"context"
	"slices"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/transport"
)

// VersionIn returns the library's version in a build.
var VersionIn = versionIn

// ParseHealth parses the answer of sys/health.
var ParseHealth = parseHealth

// WithDefaults returns the options that a use has.
func WithDefaults(options DoOptions) DoOptions { return options.withDefaults() }

// Renewal returns what errors say about replacing a dead given token.
func Renewal(v *Vault) string {
	c, err := v.inner().config()
	if err != nil {
		return err.Error()
	}
	return c.credentials.credential.renewal()
}

// Restart returns what errors of a login say about a change of its credentials.
func Restart(v *Vault) string {
	c, err := v.inner().config()
	if err != nil {
		return err.Error()
	}
	return c.credentials.restart()
}

// NoPair returns the error for a certificate and a key that do not belong together.
func NoPair(certificate, key string) error {
	return trust{certFile: certificate, keyFile: key}.noPair()
}

// NotRead are the variables without effect.
var NotRead = notRead

// MethodNames returns the names of the built-in methods.
func MethodNames() []string { return methodNames() }

// PlainVariables returns the variables of a method whose values are shown.
func PlainVariables(name string) []string {
	var names []string
	variables := slices.Clone(general)
	for _, m := range methods {
		if m.name == name {
			variables = append(variables, m.allVariables()...)
		}
	}
	for _, v := range variables {
		if v.plain {
			names = append(names, v.name)
		}
	}
	return names
}

// ContextAbout is the context of a request about a token itself.
func ContextAbout(ctx context.Context, client *api.Client, secret string) context.Context {
	s := &session{config: &config{}, clients: clients{self: client}}
	ctx, _ = s.about(ctx, &token{secret: secret}, &transport.Retry{})
	return ctx
}
