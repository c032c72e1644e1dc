#!/bin/sh
# Builds the test server, once for all checkouts of this machine: the file lies
# in the user's cache folder under a name made of what goes into it, and
# .vault/vault at the project's root links to it. Silent when nothing is to do.
# With VAULT_BIN set, that server is used and nothing is built.
set -eu
# The tests may be run for another system; the server is always for this one.
export GOOS= GOARCH= CGO_ENABLED=0 GOWORK=off

if [ -n "${VAULT_BIN:-}" ]; then
	program=$(command -v "$VAULT_BIN") && [ -f "$program" ] && exit
	echo "VAULT_BIN: $VAULT_BIN is not an executable file" >&2
	exit 1
fi

cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/luumen-patch-vault
server=$cache/vault-$({ cat go.mod go.sum main.go && go version; } | cksum | tr ' ' -)

if [ ! -x "$server" ]; then
	mkdir -p "$cache"
	# Two builds at once would do no harm, but take twice as long.
	if command -v flock >/dev/null; then
		exec 9>"$cache/lock"
		flock 9
	fi
	if [ ! -x "$server" ]; then
		echo "building Vault for the tests: 5 to 10 minutes on a machine that never did, for it compiles some 1,900 packages" >&2
		go build -tags minimal -ldflags "-s -w" -o "$server.$$" . || { rm -f "$server.$$"; exit 1; }
		mv -f "$server.$$" "$server"
	fi
fi

if [ "$(readlink "$root/.vault/vault" || true)" != "$server" ]; then
	mkdir -p "$root/.vault"
	ln -s "$server" "$root/.vault/vault.$$"
	mv -f "$root/.vault/vault.$$" "$root/.vault/vault"
fi
