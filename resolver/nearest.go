package resolver

import "unicode/utf8"

// These limits bound the search for the key that was probably meant. A secret can have
// many long keys.
const (
	maxNear     = 64  // bytes of either key
	maxNames    = 256 // keys of a secret: the first in the answer, which Vault sorts
	maxSearches = 32  // searches in one secret
)

// canBeNear reports whether a key has a length for which a near match means something.
func canBeNear(key string) bool { return len(key) <= maxNear && utf8.RuneCountInString(key) >= 4 }

// nearest returns the candidate that was probably meant, at most two edits away, or "".
func nearest(key string, candidates []string) string {
	if !canBeNear(key) {
		return ""
	}
	best, distance := "", 3
	for _, name := range candidates {
		if d := edits(key, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// edits is the Levenshtein distance between two texts in characters, or 3 if it is
// larger.
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
