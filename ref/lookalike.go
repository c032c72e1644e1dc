package ref

import "strings"

// Warning says what makes a field look mistyped, and what to write: a literal that
// is empty, that looks like a reference without its mark or like another product's,
// or like a mask of this package; a reference whose path looks like a whole
// reference, or holds the data/ that the API of KV v2 adds. It is empty for any
// other value. Such a field is legal, and is used as it stands.
func (v Value) Warning() string {
	text, ok := v.Reveal()
	switch {
	case !v.ref.IsZero():
		return v.ref.warning()
	case !ok:
		return ""
	case text == "":
		return "is empty, and is sent as an empty credential; leave the field out, or store null, if there is none"
	case text == mask || strings.HasPrefix(text, invalidMask):
		return "is what a masked credential prints as; enter the credential again"
	}
	text = strings.TrimSpace(text)
	if unquoted := strings.Trim(text, "\"'"); unquoted != text && marked(unquoted) || strings.HasPrefix(text, "{") && strings.Contains(text, `"path"`) {
		return "looks like a reference in quotes, which is used as a literal here; " + fixReference + ", if it is meant as a reference"
	}
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

func (r Ref) warning() string {
	switch _, rest, _ := strings.Cut(r.path, "/"); {
	case marked(r.path):
		return "has a path that begins with " + mark + "; write the path of the secret alone, and the key apart"
	case strings.HasPrefix(rest, "data/"):
		return "has data/ after the mount, which is added by itself; leave it out, unless the secret's own path begins so"
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
