package reply

import (
	"cmp"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// texts are the errors or warnings of an answer. Vault sends one or two; another server
// could send a million, so only the first are kept.
type texts []string

const (
	maxTexts = 32
	maxWords = 4 << 10 // bytes of all texts; the last one may be longer, and is cut when it is masked
)

// UnmarshalJSONFrom returns an error for anything but a list of strings or null.
func (t *texts) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*t = nil
	if d.PeekKind() == 'n' {
		return d.SkipValue()
	}
	if start, err := d.ReadToken(); err != nil || start.Kind() != '[' {
		return cmp.Or(err, errors.New("not a list"))
	}
	*t = texts{}
	for left := maxWords; d.PeekKind() != ']'; {
		if left <= 0 || len(*t) == maxTexts {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		token, err := d.ReadToken()
		if err != nil || token.Kind() != '"' {
			return cmp.Or(err, errors.New("not a string"))
		}
		text := token.String()
		*t = append(*t, text)
		left -= len(text)
	}
	_, err := d.ReadToken()
	return err
}
