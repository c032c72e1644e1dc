package auth

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/luumen/patch-vault/internal/fault"
)

// credentialIn returns the credential in the text of a variable or of its file, or why the
// text cannot be one, judging by its shape. The reason never holds the text.
func credentialIn(variable, text string) (credential, reason, fix string) {
	text = trimmed(text)
	reason, fix = misplaced(text)
	if reason == "" && isForToken(variable) { // other credentials can have any characters
		reason, fix = notToken(text)
	}
	if reason == "" && control(text) != "" {
		reason, fix = control(text), "write the credential alone"
	}
	return text, reason, fix
}

// misplaced says why a text can be neither a credential nor a name; empty if it can.
func misplaced(text string) (reason, fix string) {
	switch {
	case jsonStart.MatchString(text) && (strings.Contains(text, `":`) || json.Valid([]byte(text))):
		if strings.Contains(text, `"creation_path"`) {
			return "holds JSON, as Vault Agent writes it with wrap_ttl", "remove wrap_ttl from Agent's sink"
		}
		return "holds JSON, not the credential alone", "write the credential alone"
	case strings.Contains(text, "-----BEGIN "):
		return "holds a PEM block, not the credential", "write the credential alone"
	case assignment.MatchString(text):
		return "holds a name and = before the credential", "write the credential alone, without a name before it"
	}
	return "", ""
}

// notToken says why a text cannot be a token, apart from control characters and what
// misplaced finds; empty if it can be.
func notToken(text string) (reason, fix string) {
	switch {
	case isQuoted(text):
		return "holds quotes around the token", "write the token without quotes"
	case len(text) > 6 && strings.EqualFold(text[:7], "Bearer "):
		return "holds Bearer before the token", "write the token alone"
	case strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r > '~' && !unicode.IsControl(r) }):
		return "holds a character that no token has", "write the token alone, without spaces, non-ASCII or invisible characters"
	case isCutOff(text):
		return "holds a batch token that is cut off", "write the whole token"
	}
	return "", ""
}

func isForToken(variable string) bool { return strings.HasPrefix(variable, "VAULT_TOKEN") }

// isCutOff reports whether a token is a batch token that was cut off. Vault 1.21 and
// OpenBao 2.6 panic on one that is this short, and close the connection. Another dot in it
// begins the accessor of a namespace.
func isCutOff(token string) bool {
	body, isBatch := strings.CutPrefix(strings.TrimPrefix(token, "hv"), "b.")
	body, _, _ = strings.Cut(body, ".")
	return isBatch && strings.HasPrefix(body, "AAAA") && len(body) < 44
}

func isQuoted(text string) bool {
	return len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0]
}

// jsonStart matches the beginning of a JSON object, or of a JSON list of strings, objects or
// lists.
var jsonStart = regexp.MustCompile(`^(\{\s*("|\}$)|\[\s*["{\[])`)

// assignment matches a name that people copy along with a credential, as in a shell, an
// env file or a systemd unit. Names of variables are in upper case here: a custom
// secret id may begin with vault_ and have a = in it.
var assignment = regexp.MustCompile(`^((?i:export\s+|set\s+|\$env:|Environment=))?["']?` +
	`((LUUMEN_|ANSIBLE_HASHI_)?VAULT_[A-Z0-9_]+|LUUMEN_PATHS|BAO_[A-Z0-9_]+|SSL_CERT_(FILE|DIR)|(?i:(HTTPS?|ALL|NO)_PROXY|(client_)?token|role_id|secret_id))\s*=\s*[^\s=]`)

var jwtShape = regexp.MustCompile(`^[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*$`)

// isJWT reports whether a text has the form of a signed JWT.
func isJWT(text string) bool { return strings.HasPrefix(text, "eyJ") && jwtShape.MatchString(text) }

var (
	tokenShape = regexp.MustCompile(`\bhv[sbr]\.[A-Za-z0-9_-]{20,}|^["']?[sb]\.[A-Za-z0-9]{20,}["']?$`)
	startShape = regexp.MustCompile(`(?i)^["']?(hv[sbr]\.|[sb]\.[A-Za-z0-9_-]{20,})`)
	idShape    = regexp.MustCompile(`(?i)^["']?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}["']?$`)
)

// isCredential reports whether a text looks like a token, a JWT, or what misplaced finds,
// and not like a name.
func isCredential(text string) bool {
	reason, _ := misplaced(text)
	token := tokenShape.FindString(text)
	return reason != "" || isJWT(text) || strings.ToLower(token) != token // names are in lower case
}

// isID reports whether a text looks like a role id or secret id that Vault made.
func isID(text string) bool { return idShape.MatchString(text) }

// isSecretLike reports whether a text may be a credential, the start of one, an id, or a URL
// with user info. It may also be a name, so it is hidden, not rejected.
func isSecretLike(text string) bool {
	return isCredential(text) || isID(text) || startShape.MatchString(text) || hasUser(text) || isEncoded(text)
}

// isEncoded reports whether a text is a credential in base64, as the YAML of a Kubernetes
// Secret has it. Encoded twice, it reaches the agent like this.
func isEncoded(text string) bool {
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	decoded := trimmed(string(plain))
	return err == nil && (isCredential(decoded) || isID(decoded) || startShape.MatchString(decoded))
}

// oddShape matches a text with what credentials seldom have: a sign of a placeholder, of quotes
// or of brackets at an end, or anything but visible ASCII; or a word that programs such as jq
// write if there is no credential.
var oddShape = regexp.MustCompile(`^[$%<{["']|[%>}\]"',;]$|\\[nr]$|[^!-~]|^(?i:null|nil|none|undefined)$`)

// encrypted matches what ConvertFrom-SecureString of PowerShell writes, and Vault's transit.
var encrypted = regexp.MustCompile(`^(01000000d08c9ddf[0-9a-f]+|vault:v[0-9]+:.+)$`)

// accessorShape matches the accessor of a token, with or without that of a namespace. The
// tokens of Vault 1.10 and later begin with hvs. or hvb.
var accessorShape = regexp.MustCompile(`^[A-Za-z0-9]{24}(\.[A-Za-z0-9]{5,6})?$`)

// oddity says what is unusual about a text as the credential of a variable, to explain why
// Vault refused it; empty if nothing is. It is no reason not to send the text: operators can
// choose any as an id, and Vault Enterprise can take a JWT as a token.
func oddity(variable, text string) string {
	if strings.HasSuffix(variable, "_JWT_FILE") && !isEncoded(text) {
		if isJWT(text) {
			return ""
		}
		return variable + " does not hold a JWT alone: write it without anything before or after it"
	}
	shape := ""
	switch {
	case oddShape.MatchString(text):
		shape = `holds a quote, a bracket, a comma, a semicolon, \n, white space, or a non-ASCII or invisible character, or is a placeholder: write the credential itself, alone`
	case isEncoded(text):
		shape = "is in base64: " + decodeIt
	case encrypted.MatchString(text):
		shape = "is encrypted: decrypt it"
	case isJWT(text):
		shape = "is a JWT: to log in with one, choose the method jwt, or kubernetes for that of a pod"
	case isFileName(text):
		shape = "looks like the name of a file: set " + strings.TrimSuffix(variable, "_FILE") + "_FILE to it"
	case isForToken(variable) && isID(text):
		shape = "looks like an id, such as a secret id: to log in with one, choose the method approle"
	case isForToken(variable) && accessorShape.MatchString(text):
		shape = "looks like the accessor of a token: write the token itself"
	case !isForToken(variable) && startShape.MatchString(text):
		shape = "looks like a token: response-wrapped secret ids are not supported, so write the secret id itself, or use the token file of Vault Agent"
	default:
		return ""
	}
	return "the credential in " + variable + " " + shape
}

// decodeIt says what to do about a text in base64.
const decodeIt = "write it decoded (a Kubernetes Secret has it in base64 under data, and as it is under stringData)"

func isFileName(text string) bool {
	text = strings.TrimPrefix(text, "@")
	for _, start := range []string{"/", "~/", "./", "../", "file:"} {
		if strings.HasPrefix(text, start) {
			return true
		}
	}
	return filepath.IsAbs(text)
}

// withOddity returns the fault for a refused credential with what is unusual about the
// credential, which is the likeliest cause.
func withOddity(f *fault.Error, odd string) *fault.Error {
	if odd == "" {
		return f
	}
	explained := *f
	explained.Do = odd + "; otherwise, " + f.Do
	return &explained
}
