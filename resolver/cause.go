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
	Path    string   `json:"path,omitempty"`   // of the references, if the cause concerns all of its keys
	Fields  []string `json:"fields,omitempty"` // the names of the fields, sorted; 10 at most
	Hosts   []string `json:"hosts"`
}

// String returns one line: the error, some hosts, and how many others.
func (c Cause) String() string { return c.text() + ": " + c.who() + " skipped" }

// text is the complete error or, after decoding, what the UI may show of it.
func (c Cause) text() string {
	if c.Text != "" {
		return c.Text
	}
	if place := cmp.Or(c.Path, c.Ref.String()); place != "" {
		return quoted(place) + ": " + c.shown()
	}
	return c.shown()
}

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
	return slog.GroupValue(slog.String("kind", string(c.Kind)), slog.String("error", c.text()), slog.Int("skipped", len(c.Hosts)), slog.Any("hosts", c.Hosts))
}

// causeLine is a cause in the log of a report.
type causeLine struct {
	text    string
	Kind    Kind     `json:"kind"`
	Error   string   `json:"error"`
	Skipped int      `json:"skipped"`
	Hosts   []string `json:"hosts,omitempty"` // nil if they are many
}

func (c Cause) line() causeLine {
	line := causeLine{text: string(c.Kind) + ": " + c.String(), Kind: c.Kind, Error: c.text(), Skipped: len(c.Hosts)}
	if len(c.Hosts) <= few {
		line.Hosts = c.Hosts
	}
	return line
}

// String returns one line, for the text handler of slog.
func (c causeLine) String() string { return c.text }

const mostFields = 10

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
			c := f.shared()
			g := groups[c.Text]
			if g == nil {
				g = &group{Cause: c}
				groups[c.Text] = g
			}
			if g.Ref != c.Ref {
				g.Ref = ref.Ref{}
			}
			if at, ok := slices.BinarySearch(g.Fields, f.Field); !ok && len(g.Fields) < mostFields {
				g.Fields = slices.Insert(g.Fields, at, f.Field)
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

// shared describes the part of the error that all hosts share.
func (e *FieldError) shared() Cause {
	c := Cause{Problem: problemOf(e.err, e.Ref)}
	f, ok := e.err.(*fault.Error)
	switch {
	case !ok || f.Run: // of the run, or the caller's own context
		c.Ref = ref.Ref{}
	case f.Kind == BadReference:
		c.Text = e.Error()
	case f.Kind == NoKey || f.Kind == BadValue:
		c.Text = quoted(e.Ref.String()) + ": " + c.Text
	default:
		c.Path = e.Ref.Path()
		c.Text = quoted(c.Path) + ": " + c.Text
	}
	return c
}
