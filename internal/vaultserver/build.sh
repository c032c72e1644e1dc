#!/bin/sh
# Builds the test server, once for all checkouts of this machine: the file lies in
# the user's cache folder under a name made of what goes into it, and .vault/vault
# at the project's root links to it. Silent if there is nothing to do.
#
#	build.sh        builds the pinned server, unless VAULT_BIN names another
#	build.sh any    also builds nothing where a vault is on PATH
set -eu
# The tests may be run for another system; the server is always for this one.
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

# build compiles the server and says how far it is, on lines that a log can hold.
build() {
	echo "building Vault for the tests, once for this machine: 5 to 12 minutes; with VAULT_BIN=/path/to/vault nothing is built" >&2
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
	# Two builds at once would do no harm, but take twice as long.
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
