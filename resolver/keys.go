package resolver

import "slices"

// keys are distinct keys.
type keys struct {
	all   []string
	index map[string]int // of all; nil for a few keys, which are found faster without it
}

const fewKeys = 4

// find returns the index of a key in all, or -1.
func (k *keys) find(key string) int {
	if k.index == nil {
		return slices.Index(k.all, key)
	}
	if i, ok := k.index[key]; ok {
		return i
	}
	return -1
}

// add adds a key, unless it is there already, and returns its index.
func (k *keys) add(key string) int {
	if i := k.find(key); i >= 0 {
		return i
	}
	switch {
	case k.index != nil:
		k.index[key] = len(k.all)
	case len(k.all) == fewKeys:
		k.index = map[string]int{key: fewKeys}
		for i, key := range k.all {
			k.index[key] = i
		}
	}
	k.all = append(k.all, key)
	return len(k.all) - 1
}
