package reply

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Mount is a mount in Vault's list.
type Mount struct {
	Type     string            `json:"type"`
	Options  map[string]string `json:"options"`
	Accessor string            `json:"accessor"`
}

// MountList is the data of Vault's list of mounts. A server can list millions, so it holds
// only those that are wanted.
type MountList struct {
	Wants  func(path string) bool // nil means none
	Mounts map[string]Mount       // by path, which ends with a slash; nil if there is no list

	// ForToken means that a mount has an accessor. Without a token, Vault lists the mounts
	// with listing_visibility=unauth, too, but not their accessors.
	ForToken bool
}

// UnmarshalJSONFrom returns an error for anything but an object or null.
func (l *MountList) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	l.Mounts, l.ForToken = nil, false
	return EachMember(d, func(name string) error {
		if name != "secret" { // its mounts can hold secrets; those of other members are for logins
			return d.SkipValue()
		}
		if d.PeekKind() != 'n' {
			l.Mounts = make(map[string]Mount)
		}
		return EachMember(d, func(path string) error {
			var m Mount
			if err := json.UnmarshalDecode(d, &m); err != nil {
				return err
			}
			l.ForToken = l.ForToken || m.Accessor != ""
			if l.Wants != nil && l.Wants(path) {
				l.Mounts[path] = m
			}
			return nil
		})
	})
}

// EachMember calls a func for each member of an object, to decode its value. Null has none.
func EachMember(d *jsontext.Decoder, decode func(name string) error) error {
	if d.PeekKind() == 'n' {
		return d.SkipValue()
	}
	if start, err := d.ReadToken(); err != nil || start.Kind() != '{' {
		return cmp.Or(err, errors.New("not an object"))
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := decode(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// ListsForToken reports whether an answer in memory is a list of mounts that Vault sends
// only to a token that it accepts.
func ListsForToken(response *http.Response) bool {
	var list MountList
	e := envelope{Data: &list}
	return response.StatusCode == http.StatusOK && decode(inMemory(response.Body), &e) == nil && list.ForToken
}
