package resolver

import (
	"maps"
	"slices"
	"unicode/utf8"
)

// What bounds the search for a key that was probably meant, since the secret's
// owner decides how many keys there are and how long.
const (
	maxNear       = 64  // bytes of a key that is searched for or found
	maxCandidates = 256 // keys of a secret that are looked at
	maxSearches   = 32  // in one secret
)

// nearest returns the key that was probably meant: at most two edits away, and
// long enough that this says something.
func nearest(key string, candidates values) string {
	if len(key) > maxNear || utf8.RuneCountInString(key) < 4 {
		return ""
	}
	names := slices.Collect(maps.Keys(candidates))
	slices.Sort(names)
	best, distance := "", 3
	for _, name := range names[:min(len(names), maxCandidates)] {
		if len(name) > maxNear || utf8.RuneCountInString(name) < 4 {
			continue
		}
		if d := edits(key, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// edits is the Levenshtein distance between two texts, in characters; any
// distance above 2 may come out as 3.
func edits(a, b string) int {
	const far = 3
	if d := utf8.RuneCountInString(a) - utf8.RuneCountInString(b); d >= far || d <= -far {
		return far
	}
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = min(j, far)
	}
	for i := range x {
		// Cells further than two from the diagonal are far.
		from, to := max(0, i-far), min(len(y), i+far+1)
		diagonal := row[from]
		row[from] = far
		if from == 0 {
			row[0] = min(i+1, far)
		}
		for j := from; j < to; j++ {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1, far)
		}
	}
	return row[len(y)]
}
