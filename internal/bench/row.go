package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// row is one figure.
type row struct {
	Work     string    `json:"work"`
	Figure   string    `json:"figure"`
	Beside   string    `json:"beside,omitempty"` // the absolute figures behind it
	Measured float64   `json:"measured"`
	Unit     string    `json:"unit"`
	Promised *float64  `json:"promised,omitempty"` // nil if nothing is
	AtLeast  bool      `json:"at_least,omitempty"` // Promised is a minimum, not a maximum
	Verdict  string    `json:"verdict,omitempty"`
	Rounds   []float64 `json:"rounds,omitempty"`
}

const (
	met    = "ok"
	missed = "MISSED"
)

func (r row) verdict() string {
	switch {
	case r.Promised == nil:
		return ""
	case r.AtLeast && r.Measured >= *r.Promised, !r.AtLeast && r.Measured <= *r.Promised:
		return met
	}
	return missed
}

func (r row) promise() string {
	switch {
	case r.Promised == nil:
		return "nothing promised"
	case r.AtLeast:
		return "at least " + number(*r.Promised, "")
	}
	return "at most " + number(*r.Promised, "")
}

// String is the row as one line.
func (r row) String() string {
	line := fmt.Sprintf("%-6s  %s: %s: %s (%s)", r.verdict(), r.Work, r.Figure, number(r.Measured, r.Unit), r.promise())
	if r.Beside != "" {
		line += "; " + r.Beside
	}
	return line
}

func number(n float64, unit string) string {
	text := fmt.Sprintf("%.2f", n)
	if n == float64(int(n)) {
		text = fmt.Sprintf("%.0f", n)
	}
	if unit != "" {
		text += " " + unit
	}
	return text
}

func median[T cmp.Ordered](of []T) T { return medianBy(of, cmp.Compare[T]) }

// medianBy returns the lower of the two in the middle for an even number.
func medianBy[T any](of []T, compare func(a, b T) int) T {
	sorted := slices.SortedFunc(slices.Values(of), compare)
	return sorted[(len(sorted)-1)/2]
}

func ratios(a, b []time.Duration) []float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = float64(a[i]) / float64(b[i])
	}
	return all
}

func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Nanosecond).String()
}
