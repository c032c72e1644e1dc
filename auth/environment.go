package auth

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
)

const defaultTimeout = 10 * time.Second

// environment reads variables and collects what is wrong, so that an operator sees
// everything at once.
type environment struct {
	getenv    func(string) string
	problems  []string
	malformed []string // variables whose values are never shown
}

func (e *environment) problem(text string) {
	if !slices.Contains(e.problems, text) {
		e.problems = append(e.problems, text)
	}
}

// reject adds the problem of a malformed variable, whose value is then never shown: it
// may be a pasted secret.
func (e *environment) reject(name, reason string) {
	e.malformed = append(e.malformed, name)
	e.problem(name + " " + reason)
}

// err returns the fault for all problems, or nil.
func (e *environment) err() error {
	if len(e.problems) == 0 {
		return nil
	}
	return fault.New(fault.Environment, "the environment of the agent is wrong: "+strings.Join(e.problems, "; also, "), "")
}

// text returns a variable that is not a token or an id, without the white space and BOM
// that editors leave around it. An empty variable counts as unset.
func (e *environment) text(name string) string {
	text := trimmed(e.getenv(name))
	switch {
	case isFileVariable(name) && strings.Contains(text, "-----BEGIN "):
		e.reject(name, "holds a PEM block in place of a file's name; write it to a file and name that, or use VAULT_CACERT_BYTES for a CA")
	case control(text) != "":
		e.reject(name, control(text)+"; write the value alone")
	case isQuoted(text): // docker keeps the quotes of an env file
		e.reject(name, "holds quotes; remove them")
	default:
		return text
	}
	return ""
}

// name is text for a name. It rejects what looks like a credential: errors show names.
func (e *environment) name(variable string) string {
	text := e.text(variable)
	switch {
	case jsonStart.MatchString(text):
		e.reject(variable, "holds JSON; write the value alone, without brackets and quotes")
	case isCredential(text):
		e.reject(variable, "holds what looks like a credential; set it to what it is meant for")
	default:
		return text
	}
	return ""
}

// trimmed removes white space and a BOM around a text.
func trimmed(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
}

// control says which control characters a trimmed text holds, or returns "". A line break in
// a token would break the HTTP header.
func control(text string) string {
	switch {
	case strings.ContainsAny(text, "\r\n"):
		return "holds several lines"
	case strings.ContainsFunc(text, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}

// isSet reports whether a variable holds more than white space, malformed or not.
func (e *environment) isSet(name string) bool { return trimmed(e.getenv(name)) != "" }

// orOtherMethod ends the problem of a method that nothing is set for: somebody may have
// forgotten to choose the right one.
const orOtherMethod = ", or choose another auth_method in the UI"

// require adds a problem if none of a method's variables is set.
func (e *environment) require(names ...string) {
	switch {
	case slices.ContainsFunc(names, e.isSet):
	case len(names) == 1:
		e.problem(names[0] + " is not set; set it on the Patch server" + orOtherMethod)
	default:
		e.problem("neither " + strings.Join(names, " nor ") + " is set; set one on the Patch server" + orOtherMethod)
	}
}

// mount returns where a login method is mounted.
func (e *environment) mount(v variable) string {
	given := cmp.Or(e.name(v.name), v.otherwise)
	mount := strings.TrimSuffix(given, "/")
	if !isPlainPath(given) || isWithin(mount, "auth") || strings.HasSuffix("/"+mount, "/"+v.otherwise+"/login") || isID(mount) || hasUser(mount) {
		e.reject(v.name, "is not the path of a login mount; write it without auth/ and /login, such as "+v.otherwise)
	}
	return mount
}

func (e *environment) timeout() time.Duration {
	text := e.text("VAULT_CLIENT_TIMEOUT")
	if text == "" {
		return defaultTimeout
	}
	d, err := parseutil.ParseDurationSecond(text) // as vault/api does
	if err != nil || d < time.Millisecond {
		e.reject("VAULT_CLIENT_TIMEOUT", "is not a duration of a millisecond or more; write seconds such as 10, or 10s")
		return defaultTimeout
	}
	return min(d, 24*time.Hour)
}

func (e *environment) rateLimit() patience.Limits {
	text := e.text("VAULT_RATE_LIMIT")
	if text == "" {
		return patience.Limits{}
	}
	first, second, both := strings.Cut(text, ":")
	perSecond, err := strconv.ParseFloat(first, 64)
	burst := max(int(min(perSecond, 1e6)), 1)
	if both && err == nil {
		burst, err = strconv.Atoi(second)
	}
	if err != nil || !(perSecond >= 0.001 && perSecond < 1e9) || burst <= 0 {
		e.reject("VAULT_RATE_LIMIT", "is not a usable rate; write requests a second such as 100, or rate:burst such as 100:20")
		return patience.Limits{}
	}
	return patience.Limits{PerSecond: perSecond, Burst: burst}
}

func (e *environment) boolean(name string) bool {
	text := e.text(name)
	if text == "" {
		return false
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		e.reject(name, "is not a boolean; write true or false")
	}
	return b
}
