#!/bin/sh
# Builds the test server, once for all checkouts on this machine. The program goes
# to the user's cache folder; its name is a checksum of its sources. .vault/vault at
# the project's root is a link to it. Prints nothing if there is nothing to do.
#
#	build.sh        builds the pinned server, unless VAULT_BIN names another
#	build.sh any    also builds nothing if a vault is on PATH
set -eu
# Tests may be cross-compiled; the server always runs on this machine.
export GOOS= GOARCH= CGO_ENABLED=0 GOWORK=off

if [ -n "${VAULT_BIN:-}" ]; then
	program=$(command -v "$VAULT_BIN") && [ -f "$program" ] && exit
	echo "VAULT_BIN: $VAULT_BIN is not an executable file" >&2
	exit 1
fi
if [ "${1:-}" = any ] && command -v vault >/dev/null; then
	exit
fi

cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/luumen-patch-vault
server=$cache/vault-$({ cat go.mod go.sum main.go && go version; } | cksum | tr ' ' -)

# build compiles the server and prints its progress as plain lines, for logs.
build() {
	echo "building Vault for the tests, once on this machine; this takes 5 to 12 minutes" >&2
	echo "to use a Vault of your own instead, set VAULT_BIN=/path/to/vault" >&2
	go mod download
	stale=$(go list -deps -tags minimal -f '{{if .Stale}}x{{end}}' . | grep -c x || true)
	{
		go build -v -tags minimal -ldflags "-s -w" -o "$server.$$" . 2>&1 && echo "status 0" || echo "status 1"
	} | awk -v stale="$stale" '
		/^status [01]$/       { status = $2; next }
		/^[^ #]+$/            { if (++done % 100 == 0) print "building Vault: " done " of " stale " packages"; fflush(); next }
		                      { print }
		END                   { exit status }' >&2 || { rm -f "$server.$$"; exit 1; }
	mv -f "$server.$$" "$server"
}

if [ ! -x "$server" ]; then
	mkdir -p "$cache"
	# Two builds at once are harmless, but slow.
	if command -v flock >/dev/null; then
		exec 9>"$cache/lock"
		flock 9
	fi
	[ -x "$server" ] || build
fi

if [ "$(readlink "$root/.vault/vault" || true)" != "$server" ]; then
	mkdir -p "$root/.vault"
	ln -s "$server" "$root/.vault/vault.$$"
	mv -f "$root/.vault/vault.$$" "$root/.vault/vault"
fi
