package resolver

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/ref"
)

// Cause is one reason why hosts were skipped. A host can have several.
type Cause struct {
	Problem          // its reference is zero if the hosts have different ones
	Hosts   []string `json:"hosts"`
}

// String returns one line: the error, some hosts, and how many others.
func (c Cause) String() string { return c.Text + ": " + c.who() + " skipped" }

// few is how many hosts a line names; the rest are counted.
const few = 3

func (c Cause) who() string {
	names := make([]string, 0, few)
	for _, name := range c.Hosts[:min(len(c.Hosts), few)] {
		names = append(names, quoted(name))
	}
	who := strings.Join(names, ", ")
	if more := len(c.Hosts) - few; more > 0 {
		who += fmt.Sprintf(" and %d more", more)
	}
	return who
}

// LogValue returns the kind, the error and all hosts, as a group.
func (c Cause) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kind", string(c.Kind)), slog.String("reason", c.Text), slog.Int("skipped", len(c.Hosts)), slog.Any("hosts", c.Hosts))
}

// causeLine is a cause in the log of a report.
type causeLine struct {
	text    string
	Kind    Kind     `json:"kind"`
	Reason  string   `json:"reason"`
	Skipped int      `json:"skipped"`
	Hosts   []string `json:"hosts,omitempty"` // nil if they are many
}

func (c Cause) line() causeLine {
	line := causeLine{text: string(c.Kind) + ": " + c.String(), Kind: c.Kind, Reason: c.Text, Skipped: len(c.Hosts)}
	if len(c.Hosts) <= few {
		line.Hosts = c.Hosts
	}
	return line
}

// String returns one line, for the text handler of slog.
func (c causeLine) String() string { return c.text }

// causesOf groups the errors of skipped hosts by their shared text, sorted by the
// number of hosts.
func causesOf(skipped []*HostError) []Cause {
	type group struct {
		Cause
		last *HostError // names may repeat, so they do not tell hosts apart
	}
	groups := make(map[string]*group, len(skipped)) // each host can have a cause of its own, with a long text
	for _, host := range skipped {
		for _, f := range host.Fields {
			p := f.shared()
			g := groups[p.Text]
			if g == nil {
				g = &group{Cause: Cause{Problem: p}}
				groups[p.Text] = g
			}
			if g.Reference != p.Reference {
				g.Reference = ref.Ref{}
			}
			if g.last != host {
				g.last = host
				g.Hosts = append(g.Hosts, host.Host)
			}
		}
	}
	causes := make([]Cause, 0, len(groups))
	for _, g := range slices.SortedFunc(maps.Values(groups), func(a, b *group) int {
		return cmp.Or(len(b.Hosts)-len(a.Hosts), strings.Compare(a.Text, b.Text))
	}) {
		causes = append(causes, g.Cause)
	}
	return causes
}

// ofField are the kinds that concern one field. Others concern its path, or the run.
var ofField = []Kind{NotForHost, NoKey, BadValue, BadReference}

// shared describes the part of the error that all hosts share.
func (e *FieldError) shared() Problem {
	p := problemOf(e.err, e.Ref)
	f, ok := e.err.(*fault.Error)
	switch {
	case !ok || f.Run: // of the run, or the caller's own context
		p.Reference = ref.Ref{}
	case slices.Contains(ofField, f.Kind):
		p.Text = e.Error()
	default:
		p.Text = quoted(e.Ref.Path()) + ": " + p.Text
	}
	return p
}
