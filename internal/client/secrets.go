package client

import (
	"slices"
	"strings"
	"unicode"
)

// Learn takes down secrets that go to the server. From then on, they are cut from
// whatever text of it is kept, lest a server echo them into a log.
func (c *Client) Learn(secrets ...string) {
	for {
		before := c.secrets.Load()
		var known []string
		if before != nil {
			known = *before
		}
		all := slices.Clone(known)
		for _, secret := range secrets {
			if secret != "" && !slices.Contains(all, secret) {
				all = append(all, secret)
			}
		}
		if len(all) == len(known) || c.secrets.CompareAndSwap(before, &all) {
			return
		}
	}
}

// Mask cuts from a text of the server every secret that was sent to it.
func (c *Client) Mask(text string) string {
	known := c.secrets.Load()
	if known == nil {
		return text
	}
	// What fault.Words would leave out later could hide a secret now.
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	for _, secret := range *known {
		text = strings.ReplaceAll(text, secret, "[masked]")
	}
	return text
}

func (c *Client) masked(texts []string) []string {
	for i := range texts {
		texts[i] = c.Mask(texts[i])
	}
	return texts
}
