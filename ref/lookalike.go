package ref

import "strings"

// Warning says what makes a literal look like a reference that somebody forgot
// to mark, or like another product's, and what to write; it is empty for any
// other value. Such a literal is legal, and is used as it stands.
func (v Value) Warning() string {
	text, ok := v.Reveal()
	if !ok {
		return ""
	}
	text = strings.TrimSpace(text)
	for _, form := range foreignForms {
		if strings.HasPrefix(text, form.prefix) && strings.HasSuffix(text, form.suffix) {
			return "looks like a reference of " + form.product + ", which is used as a literal here; " + fixReference + ", if it is meant as a reference"
		}
	}
	if looksLikeReference(text) {
		return "looks like a reference without its mark; write vault: before it, if it is meant as one"
	}
	return ""
}

// foreignForms are the ways in which other products write a reference to Vault
// or to a vault of their own.
var foreignForms = []struct{ prefix, suffix, product string }{
	{"ref+vault://", "", "vals"},
	{"${vault:", "}", "Bank-Vaults or Spring"},
	{"$__vault{", "}", "Grafana"},
	{"((", "))", "Concourse"},
	{"<path:", ">", "Argo CD"},
	{"{{", "}}", "a template"},
	{"{vault://", "}", "Kong"},
	{"op://", "", "1Password"},
}

// looksLikeReference is narrower than what a reference may be, so that few
// passwords with a slash and a # are suspected.
func looksLikeReference(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-?=#%"
	if strings.Trim(text, letters) != "" {
		return false
	}
	_, err := parseReference(mark + text)
	return err == nil
}
