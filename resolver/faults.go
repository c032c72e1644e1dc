package resolver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/mask"
	"github.com/luumen/patch-vault/internal/reply"
	"github.com/luumen/patch-vault/ref"
)

// unread is the fault for a path that Vault answered without a secret.
func unread(answer *reply.Answer, r *read) *fault.Error {
	var f *fault.Error
	switch path := quoted(r.mount.api(r.path)); {
	case answer.Status < 400:
		return reply.NotVault(fmt.Sprintf("status %d to a read", answer.Status))
	case answer.Status == 403:
		f = forbidden(answer, r)
	case answer.Status == 404 && r.version != 0 && !answer.NoMount():
		f = fault.New(fault.NoVersion, fmt.Sprintf("vault has no version %d of %s, or no such secret", r.version, path),
			withAPIHint(r, "check the pinned version, or omit it")+orOtherVersion(r.mount))
	case answer.Status == 404:
		f = notFound(answer, r)
	default:
		f = &fault.Error{
			Kind: fault.ServerError, What: "vault refuses to read " + path,
			Detail: fmt.Sprintf("%d %s", answer.Status, answer.Words()), Do: "check the path",
			Reason: "Vault refuses this path", Fix: "check the path",
		}
	}
	f.Cause = answer.ResponseError()
	return forUI(f, r)
}

// forbidden is the fault for a path that Vault refuses to read.
func forbidden(answer *reply.Answer, r *read) *fault.Error {
	m := r.mount
	do := granting(r, "it has wrapping or parameter conditions (min_wrapping_ttl, required_parameters), or ") + orOtherVersion(m)
	f := denied("the agent's token may not read "+quoted(m.api(r.path)), do, r)
	if why := answer.DenialWords(); why != "" {
		f.Detail = strings.TrimPrefix(f.Detail+"; vault says: "+why, "; ")
	}
	return f
}

// notFound is the fault for a path where Vault has nothing.
func notFound(answer *reply.Answer, r *read) *fault.Error {
	m, path := r.mount, quoted(r.mount.api(r.path))
	f := fault.New(fault.NotFound, "vault has no secret at "+path, "check the path")
	if answer.NoMount() {
		f.What = "vault has no mount for " + path
	}
	switch {
	case m.listed:
	case answer.NoMount():
		f.Do += "; if its mount is not " + quoted(m.Path) + ", name the mount in the settings"
		f.Reason, f.Fix = "Vault has no mount for this path", "check the path; if its mount has several segments, such as team/kv, name the mount in the settings"
	default:
		f.Do += fmt.Sprintf(", and that the mount %s is KV v%d", quoted(m.Path), m.Version)
	}
	f.Do = withAPIHint(r, f.Do)
	return f
}

// deleted is the fault for a version that was deleted or destroyed.
func deleted(answer *reply.Answer, meta metadata, r *read) *fault.Error {
	f := &fault.Error{Kind: fault.Deleted, Do: "write the secret again", Cause: answer.ResponseError()}
	if r.version != 0 {
		f.Do = "omit the version, or pin another one"
	}
	if meta.Destroyed {
		f.What, f.Fix = fmt.Sprintf("version %d of %s is destroyed", meta.Version, quoted(r.path)), f.Do
		return f
	}
	if r.version != 0 {
		f.Fix = f.Do + ", or restore this one"
	}
	f.What = fmt.Sprintf("version %d of %s was deleted%s", meta.Version, quoted(r.path), at(meta.Deleted))
	f.Do += ", or restore it with vault kv undelete; if nobody deleted it, check delete_version_after of the secret and of the mount"
	return f
}

// withAPIHint returns the advice, after a hint if the path holds the namespace, or was copied
// from Vault's API.
func withAPIHint(r *read, do string) string {
	m, below := r.mount, r.mount.below(r.path)
	switch {
	case !m.listed && m.table.inSettings != "" && strings.HasPrefix(r.path, m.table.inSettings+"/"):
		return "omit " + quoted(m.table.inSettings+"/") + " from the path, since the namespace is in the settings; or " + do
	case m.Version == 1:
	case strings.HasPrefix(below, "data/"):
		return "omit data/ from the path, since it is added automatically; or " + do
	case strings.HasPrefix(below, "metadata/"): // Vault's command line shows it, too
		return "omit metadata/ from the path; or " + do
	}
	return do
}

// forUI gives the fix for the UI the same hint, for the person who typed the path. A fault
// with a fix of its own has no hint.
func forUI(f *fault.Error, r *read) *fault.Error {
	if f.Fix == "" {
		_, fix := f.ForUI()
		f.Fix = withAPIHint(r, fix)
	}
	return f
}

// invisible is the fault for a path in no mount that the token can see, so that it can read
// nothing there.
func invisible(r *read) *fault.Error {
	const (
		check   = "check the path, and that its mount exists"
		command = " (vault secrets list -detailed)"
	)
	m, table, path := r.mount, r.mount.table, quoted(r.path)
	var f *fault.Error
	switch {
	case table.forToken && slices.Contains(table.token.Policies, "root"): // it sees every mount
		f = fault.New(fault.Denied, "vault has no mount for "+path, withAPIHint(r, check+command))
		f.Reason, f.Fix = "Vault has no mount for this path", withAPIHint(r, check)
	case namesTokens(r.path): // no line, since it could grant a token
		f = denied("the agent's token can see no mount for "+path,
			check+" and is KV"+command+"; then grant the token read on "+quoted(m.granted(r.path))+" by hand", r)
	default:
		do := check + command + "; then " + granting(r, "")
		if !table.forToken {
			do += "; or let the proxy in front of Vault pass the header X-Vault-Token"
		}
		f = forUI(denied("the agent's token can see no mount for "+path, do, r), r)
	}
	return f
}

// granting says how to grant the token read on a path. For a token that has the grant, it
// gives the other reasons, and then a policy that denies the path.
func granting(r *read, other string) string {
	m := r.mount
	return withAPIHint(r, "add to its policy: "+grant(m.granted(r.path))) + ifGuessed(m) + "; if a policy already has this line, " + other + "one of the token's policies denies the path"
}

// ifGuessed is a hint for a mount that neither Vault nor the settings name.
func ifGuessed(m *mount) string {
	if !m.Guessed {
		return ""
	}
	return fmt.Sprintf("; the mount %s of KV v%d is a guess: if it is wrong, name the mount in the settings", quoted(m.Path), m.Version)
}

// denied is the fault for a path that the token may not read. do says what to do, unless no
// policy can grant the path, or the settings name a namespace where the token is unknown.
func denied(what, do string, r *read) *fault.Error {
	table := r.mount.table
	if table.namespace != "" && !table.token.Located { // perhaps Vault ignores it
		do += "; if this Vault has no namespaces, omit " + quoted(table.namespace+"/") + " from the line"
	}
	f := fault.New(fault.Denied, what, do)
	if len(table.token.Policies) > 0 {
		f.Detail = "its policies: " + mask.Line(strings.Join(table.token.Policies, ", "))
	}
	if table.isOutside {
		f.Do = "the token belongs to the namespace " + quoted(table.token.Namespace) + ": enter that one, or one below it, as the namespace in the settings"
		f.Fix = "enter the namespace of the agent's token, or one below it, in the settings"
	} else if why := ungrantable(r.mount.granted(r.path)); why != "" {
		f.Do, f.Fix = why, why
	}
	return f
}

// notKV is the fault for a path in a mount that is not KV.
func notKV(m *mount, why, do string) *fault.Error {
	return fault.New(fault.NotKV, "the mount "+quoted(m.Path)+" "+why, do)
}

// mayNotBeKV is the fault for a path of which Vault does not show whether it leads to a secret.
// What to do is for the UI, too: the path may be right.
func mayNotBeKV(what, do string) *fault.Error {
	return &fault.Error{Kind: fault.NotKV, What: what, Do: do, Reason: "Vault does not show whether the path is in a KV mount", Fix: do}
}

// What to do about a mount that is not KV, or whose type is unknown.
const (
	nameKV   = "name a secret in a KV mount"
	passList = "let every proxy and rate limit pass " + listPath
)

// orOtherVersion is a hint for a mount whose KV version Vault does not show.
func orOtherVersion(m *mount) string {
	if m.listed {
		return ""
	}
	return fmt.Sprintf("; if %s is not KV v%d, correct kv_version in the settings", quoted(m.Path), m.Version)
}

func otherVersion(m *mount, version int) *fault.Error {
	return fault.New(fault.KVVersion, fmt.Sprintf("the mount %s is KV v%d, not v%d as in the settings", quoted(m.Path), version, m.Version), "correct kv_version in the settings, or "+passList)
}

// otherPin is the fault for an answer with a different version than the pinned one.
func otherPin(r *read, version int) *fault.Error {
	return fault.New(fault.BadResponse, fmt.Sprintf("the answer at %s is version %d, not the pinned %d", quoted(r.mount.api(r.path)), version, r.version), "check the proxy in front of Vault: it drops the query of requests, or ignores it when it caches answers")
}

func noSecret(r *read) *fault.Error {
	return fault.New(fault.BadResponse, "the answer at "+quoted(r.mount.api(r.path))+" is not a KV secret", "check the proxy in front of Vault")
}

func notForHost() *fault.Error {
	return fault.New(fault.NotForHost, "the secret is meant for other hosts", "use another secret, or add a glob for the host to "+hostsMetadata+" in its custom metadata, where commas separate globs")
}

// noKey is the fault for a missing key. It names the candidate that was probably
// meant.
func noKey(key string, version int, candidates []string) *fault.Error {
	f := fault.New(fault.NoKey, "no key "+shownKey(key)+atVersion(version), "check the key in Vault")
	near := nearest(key, candidates)
	if near == "" {
		return f
	}
	shown := strconv.Quote(near)
	if strings.ContainsFunc(near+key, func(r rune) bool { return r > '~' }) {
		// Escapes tell apart letters that look alike. Both keys are short here.
		shown = strconv.QuoteToASCII(near)
		f.What = "no key " + strconv.QuoteToASCII(key) + atVersion(version)
	}
	f.Do = "did you mean " + shown + "?"
	if _, err := ref.New("mount/path", near, 0); err != nil {
		f.Do = "did you mean " + shown + "? no reference can name it: rename the key in Vault"
	}
	return f
}

func badValue(key string, version int, is string) *fault.Error {
	return fault.New(fault.BadValue, fmt.Sprintf("the value of key %s%s is %s", shownKey(key), atVersion(version), is), "store a non-empty string, a number or a boolean")
}

// atVersion names the version, if there is one.
func atVersion(version int) string {
	if version == 0 {
		return ""
	}
	return " at version " + strconv.Itoa(version)
}

func badReference(err error) error {
	syntax := err.(*ref.SyntaxError)
	return &fault.Error{Kind: fault.BadReference, What: syntax.Error(), Fix: syntax.Fix, Cause: syntax}
}
