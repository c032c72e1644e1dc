package resolver

import (
	"maps"
	"slices"
	"strings"
)

// nearest returns the key that was probably meant: at most two edits away, and
// long enough that this says something.
func nearest(key string, candidates values) string {
	best, distance := "", 3
	for _, v := range candidates {
		if len(v.key) < 4 || len(key) < 4 {
			continue
		}
		if d := edits(key, v.key); d < distance {
			best, distance = v.key, d
		}
	}
	return best
}

// almostHosts returns a name that was probably meant as luumen_hosts: with it
// misspelt, the secret is given to every host.
func almostHosts(custom map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		if edits(strings.ToLower(name), hostsMetadata) <= 2 {
			return name
		}
	}
	return ""
}

// edits is the Levenshtein distance between two texts, in characters; any
// distance above 2 may come out as 3.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}
