// Package walk reads JSON as it comes, by its tokens: what a run does for each
// of its reads, and where decoding by reflection took a tenth of the client's
// processor time.
//
//	err := walk.Object(d, func(name []byte) error {
//		switch string(name) {
//		case "password":
//			return walk.Text(d, &password)
//		}
//		return d.SkipValue()
//	})
//
// Names are compared as they are written, so that one with an escape in it is
// none that anybody knows. Start with [Object].
package walk

import (
	"errors"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errForm is an error of form alone: the JSON itself is valid.
var errForm = errors.New("not of the form that was expected")

// Object calls member for each member of the object that comes next, with its
// name; member has to read or skip the value. A null is an object without
// members; anything else is an error.
func Object(d *jsontext.Decoder, member func(name []byte) error) error {
	switch d.PeekKind() {
	case jsontext.KindNull:
		return d.SkipValue()
	case jsontext.KindBeginObject:
		d.ReadToken()
	default:
		return errForm
	}
	for d.PeekKind() == jsontext.KindString {
		name, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := member(name[1 : len(name)-1]); err != nil {
			return err
		}
	}
	_, err := d.ReadToken() // the end of the object, or what is wrong there
	return err
}

// Text reads a string, and a null as the empty one.
func Text(d *jsontext.Decoder, text *string) error {
	switch d.PeekKind() {
	case jsontext.KindNull:
		return d.SkipValue()
	case jsontext.KindString:
		token, err := d.ReadToken()
		if err == nil {
			*text = token.String()
		}
		return err
	}
	return errForm
}

// Number reads a whole number, and a null as 0.
func Number(d *jsontext.Decoder, number *int) error {
	switch d.PeekKind() {
	case jsontext.KindNull:
		return d.SkipValue()
	case jsontext.KindNumber:
		digits, err := d.ReadValue()
		if err == nil {
			*number, err = strconv.Atoi(string(digits))
		}
		return err
	}
	return errForm
}

// Bool reads a boolean, and a null as false.
func Bool(d *jsontext.Decoder, value *bool) error {
	switch kind := d.PeekKind(); kind {
	case jsontext.KindNull, jsontext.KindFalse, jsontext.KindTrue:
		*value = kind == jsontext.KindTrue
		return d.SkipValue()
	}
	return errForm
}

// Other reads what is seldom there into the value that it points to, by
// reflection; a null is skipped.
func Other(d *jsontext.Decoder, value any) error {
	if d.PeekKind() == jsontext.KindNull {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, value)
}

// Present skips a value, and reports whether it is one at all and not null.
func Present(d *jsontext.Decoder, present *bool) error {
	*present = d.PeekKind() != jsontext.KindNull
	return d.SkipValue()
}
