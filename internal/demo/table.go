package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/luumen/patch-vault/resolver"
)

// outcome is how a run ended for one host. It says where credentials came from,
// and never holds them.
type outcome struct {
	target target
	result string // "ready", or the kinds of error
	detail string
}

func (o *outcome) use(field string, c resolver.Credential) {
	o.detail = joined(o.detail, field+" "+c.String())
}

func (o *outcome) fail(field string, kind resolver.Kind) {
	if !slices.Contains(strings.Split(o.result, ", "), string(kind)) {
		o.result = joined(o.result, string(kind))
	}
	o.detail = joined(o.detail, field)
}

func joined(list, more string) string {
	return strings.TrimPrefix(list+", "+more, ", ")
}

// expectIn is the result that a run, counted from 0, must have for the target.
func (t target) expectIn(run int) string {
	if run < len(t.expect) {
		return t.expect[run]
	}
	if run == 2 {
		return string(resolver.Unreachable)
	}
	return "ready"
}

// printTable prints one line for all hosts that ended alike.
func printTable(out io.Writer, outcomes []outcome) {
	type line struct{ result, detail string }
	var order []line
	names := make(map[line][]string)
	for _, o := range outcomes {
		l := line{o.result, o.detail}
		if names[l] == nil {
			order = append(order, l)
		}
		names[l] = append(names[l], o.target.name)
	}
	ready := func(l line) bool { return l.result == "ready" }
	skipped := slices.DeleteFunc(slices.Clone(order), ready)
	order = append(slices.DeleteFunc(order, func(l line) bool { return !ready(l) }), skipped...)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  HOSTS\tRESULT\tFIELDS")
	for _, l := range order {
		all := names[l]
		text := strings.Join(all, ", ")
		if len(all) > 3 {
			text = fmt.Sprintf("%s and %d more", all[0], len(all)-1)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", text, l.result, l.detail)
	}
	w.Flush()
}

// printUnexpected prints the hosts that did not end as expected, and returns how
// many.
func printUnexpected(out io.Writer, outcomes []outcome, run int) (n int) {
	for _, o := range outcomes {
		if want := o.target.expectIn(run); o.result != want {
			fmt.Fprintf(out, "WRONG: %s ended as %q, expected %q\n", o.target.name, o.result, want)
			n++
		}
	}
	return n
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}
