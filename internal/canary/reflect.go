package canary

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// found returns every text that reflection can reach from a value, through pointers,
// interfaces and unexported fields, as a debugger would. It cannot reach into a func.
func found(v any) string {
	var out strings.Builder
	walk(&out, reflect.ValueOf(v), make(map[visit]bool))
	return out.String()
}

// visit is a place that has been visited.
type visit struct {
	at     uintptr
	of     reflect.Type
	length int // of a slice
}

func walk(out io.Writer, v reflect.Value, seen map[visit]bool) {
	switch v.Kind() {
	case reflect.String:
		fmt.Fprintln(out, v.String())
	case reflect.Pointer, reflect.Map, reflect.Slice:
		at := visit{at: v.Pointer(), of: v.Type()}
		if v.Kind() == reflect.Slice {
			at.length = v.Len()
		}
		if v.IsNil() || seen[at] {
			return
		}
		seen[at] = true
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		walk(out, v.Elem(), seen)
	case reflect.Struct:
		for _, field := range v.Fields() {
			walk(out, field, seen)
		}
	case reflect.Map:
		for pairs := v.MapRange(); pairs.Next(); {
			walk(out, pairs.Key(), seen)
			walk(out, pairs.Value(), seen)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(out, "%s\n", v)
			return
		}
		for i := range v.Len() {
			walk(out, v.Index(i), seen)
		}
	}
}
