package resolver

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/luumen/patch-vault/auth"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// OK is the code of what a run would resolve. All other codes of a check are
// the kinds of errors, and canceled where the caller's context ended it.
const OK Kind = "ok"

// Verdicts is what a check found. It goes to the UI as JSON and decodes there
// to an equal value. It holds no secret, nor, unless the caller asked for the
// complete texts, what only the agent's log may hold.
type Verdicts struct {
	Connection Connection `json:"connection"`
	Fields     []Verdict  `json:"fields"`           // one for each field, in the order given
	Mounts     []Mount    `json:"mounts,omitempty"` // in which the references lie, for Policy
}

// Connection is what a check found about the way to Vault.
type Connection struct {
	Code      Kind           `json:"code"`               // OK, or why no reference would be resolved
	Fix       string         `json:"fix,omitempty"`      // what to do about it
	Text      string         `json:"text,omitempty"`     // complete; only where the caller asked for it
	Reachable bool           `json:"reachable"`          // Vault answered
	LoggedIn  bool           `json:"logged_in"`          // with a token that Vault takes
	Server    *auth.Health   `json:"server,omitempty"`   // nil where Vault did not tell
	Token     *TokenState    `json:"token,omitempty"`    // nil where there is none
	Settings  auth.Effective `json:"settings"`           // as they take effect
	Findings  []auth.Finding `json:"findings,omitempty"` // by the codes below and those of package auth
}

// TokenState is what a check knows of a run's token; never the token itself.
type TokenState struct {
	Given      bool      `json:"given"`               // to the agent; else it logged in for one
	Batch      bool      `json:"batch,omitempty"`     // cannot be revoked or renewed
	Known      bool      `json:"known"`               // Vault told what follows
	Expires    time.Time `json:"expires,omitzero"`    // of a given token; zero means never
	TTL        int       `json:"ttl,omitempty"`       // seconds; 0 means that it does not expire
	UsesLeft   *int      `json:"uses_left,omitempty"` // to the next run; nil means any number
	UsesNeeded int       `json:"uses_needed"`         // by a run of these references alone
}

// Verdict is what a check found about one field.
type Verdict struct {
	Code      Kind           `json:"code"`               // OK, or why the field would not be resolved
	Reference ref.Ref        `json:"reference,omitzero"` // zero if the field is none
	Part      string         `json:"part,omitempty"`     // of a malformed field; see ref.SyntaxError
	Offset    *int           `json:"offset,omitempty"`   // in bytes, of a malformed field
	Reason    string         `json:"reason,omitempty"`   // of a malformed field
	Fix       string         `json:"fix,omitempty"`      // what to do, unless OK
	Text      string         `json:"text,omitempty"`     // complete; only where the caller asked for it
	Version   int            `json:"version,omitempty"`  // of the KV v2 secret
	Created   time.Time      `json:"created,omitzero"`   // when that version was written
	Findings  []auth.Finding `json:"findings,omitempty"` // by the codes below
}

// The codes of what a check finds beside those of package auth: first about the
// connection, then about fields.
const (
	NoPin             = "no_pin"             // notice: the Patch server does not pin the address
	NoNamespaces      = "no_namespaces"      // a namespace is set, and the server has none
	ClockSkew         = "clock_skew"         // Vault's clock and the Patch server's are 30 s apart or more
	HealthUnknown     = "health_unknown"     // notice: sys/health could not be had
	MountsUnknown     = "mounts_unknown"     // the list of mounts could not be had
	MountVersion      = "mount_version"      // notice: a mount has another KV version than the settings say
	ShortOfUses       = "short_of_uses"      // the token will be used up within a run
	RootToken         = "root_token"         // the token may do anything
	PowersUnknown     = "powers_unknown"     // notice: whether the token may do more than read is not known
	CanWrite          = "can_write"          // the token may write to the reference's path, or delete there
	LimitedToHosts    = "limited_to_hosts"   // notice: the secret names its hosts, and no host was given
	TrailingNewline   = "trailing_newline"   // the value is one line with a line break at its end
	SurroundingSpace  = "surrounding_space"  // the value begins or ends with white space
	HoldsNUL          = "holds_nul"          // the value holds a NUL
	HoldsBOM          = "holds_bom"          // the value holds a byte order mark
	RoundedNumber     = "rounded_number"     // the value is a number, which KV v2 rounds
	UnmarkedReference = "unmarked_reference" // the literal looks like a reference
)

// String is the check for a person: the connection, a line for each field, by
// its number, and what was found about them. Fields that share the error of the
// connection are only counted.
func (v Verdicts) String() string {
	var b strings.Builder
	b.WriteString(v.Connection.String())
	failed, alike := 0, 0
	for i, field := range v.Fields {
		if field.Code != OK {
			failed++
			if field.Code == v.Connection.Code {
				alike++
				continue
			}
		}
		fmt.Fprintf(&b, "%d. %s\n", i+1, field)
		for _, finding := range field.Findings {
			fmt.Fprintf(&b, "   %s\n", finding)
		}
	}
	if failed > 0 {
		fmt.Fprintf(&b, "%d of %d fields would not be resolved", failed, len(v.Fields))
		if alike > 0 {
			fmt.Fprintf(&b, ", %d of them because of the connection", alike)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// String is the connection for a person, in a few lines.
func (c Connection) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "vault at %s: %s", address(c.Settings), outcome(c.Code, c.Fix, c.Text))
	if s := c.Server; s != nil {
		fmt.Fprintf(&b, "\nserver: %s", serverLine(s))
	}
	if c.Token != nil {
		fmt.Fprintf(&b, "\ntoken: %s", c.Token)
	}
	b.WriteByte('\n')
	for _, finding := range c.Findings {
		fmt.Fprintln(&b, finding)
	}
	return b.String()
}

func address(settings auth.Effective) string {
	for _, s := range settings.Settings {
		if s.Name == "address" {
			return s.Value
		}
	}
	return "none"
}

func serverLine(s *auth.Health) string {
	words := []string{"vault " + s.Version}
	if s.Version == "" {
		words[0] = "version hidden"
	}
	switch {
	case !s.Initialized:
		words = append(words, "not initialised")
	case s.Sealed:
		words = append(words, "sealed")
	case s.Standby:
		words = append(words, "a standby")
	default:
		words = append(words, "active")
	}
	return strings.Join(words, ", ")
}

// String is one line.
func (t *TokenState) String() string {
	words := []string{"by login"}
	if t.Given {
		words[0] = "given"
	}
	if !t.Known {
		return words[0] + ", may not look at itself"
	}
	if t.Batch {
		words = append(words, "of type batch")
	}
	ttl := fault.Duration(time.Duration(t.TTL) * time.Second)
	switch {
	case t.TTL == 0:
		words = append(words, "does not expire")
	case t.Expires.IsZero():
		words = append(words, "lives for "+ttl)
	default:
		words = append(words, "expires at "+fault.Time(t.Expires)+", in "+ttl)
	}
	if t.UsesLeft != nil {
		words = append(words, fmt.Sprintf("uses left: %d (a run needs %d)", *t.UsesLeft, t.UsesNeeded))
	}
	return strings.Join(words, ", ")
}

// String is one line.
func (v Verdict) String() string {
	what := v.Reference.String()
	switch {
	case v.Part != "":
		return fmt.Sprintf("%s: %s at byte %d: %s; %s", v.Code, v.Part, *v.Offset, v.Reason, v.Fix)
	case what == "":
		what = "[no reference]"
	case v.Version != 0:
		what += fmt.Sprintf(" (version %d, written %s)", v.Version, fault.Time(v.Created))
	}
	return what + ": " + outcome(v.Code, v.Fix, v.Text)
}

func outcome(code Kind, fix, text string) string {
	switch {
	case text != "":
		return string(code) + ": " + text
	case fix != "":
		return string(code) + ": " + fix
	}
	return string(code)
}

// LogValue logs how the connection is, how many fields have which code, and
// what was found about the connection.
func (v Verdicts) LogValue() slog.Value {
	counts := make(map[string]int)
	for _, field := range v.Fields {
		counts[string(field.Code)]++
	}
	attrs := []slog.Attr{
		slog.Any("connection", v.Connection.Code),
		slog.Int("fields", len(v.Fields)),
		slog.Any("codes", counts),
	}
	if s := v.Connection.Server; s != nil {
		attrs = append(attrs, slog.String("version", s.Version))
	}
	if len(v.Connection.Findings) > 0 {
		texts := make([]string, len(v.Connection.Findings))
		for i, finding := range v.Connection.Findings {
			texts[i] = finding.String()
		}
		attrs = append(attrs, slog.Any("findings", texts))
	}
	return slog.GroupValue(attrs...)
}
