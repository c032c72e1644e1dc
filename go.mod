module github.com/luumen/patch-vault

go 1.26.0

// As the owner asked; testify is for tests alone.
require (
	github.com/hashicorp/vault/api v1.23.0
	github.com/hashicorp/vault/api/auth/approle v0.12.0
	github.com/hashicorp/vault/api/auth/kubernetes v0.12.0
	github.com/stretchr/testify v1.12.1
)

require github.com/go-json-experiment/json v1.27.2 // encoding/json/v2 of Go 1.27: reads fleets faster, and refuses invalid text

// vault/api needs these as well.
require (
	github.com/hashicorp/go-secure-stdlib/parseutil v0.2.0 // to name the variable whose duration vault/api rejects
	golang.org/x/net v0.62.0 // the standard proxy variables, SOCKS5
	golang.org/x/time v0.16.0 // rate limits
)

// Tests alone.
require (
	github.com/hashicorp/hcl v1.0.1-vault-7 // parses policies as Vault does
	go.uber.org/goleak v1.3.0 // finds goroutines that are left behind
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/go-jose/go-jose/v4 v4.1.1 // indirect
	github.com/hashicorp/errwrap v1.1.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-multierror v1.1.1 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	github.com/hashicorp/go-rootcerts v1.0.2 // indirect
	github.com/hashicorp/go-secure-stdlib/strutil v0.1.2 // indirect
	github.com/hashicorp/go-sockaddr v1.0.7 // indirect
	github.com/mitchellh/go-homedir v1.1.0 // indirect
	github.com/mitchellh/mapstructure v1.5.0 // indirect
	github.com/ryanuber/go-glob v1.0.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)
