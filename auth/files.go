package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/session"
)

const (
	maxFile   = 64 << 10 // of one credential
	maxCAFile = 4 << 20  // of a bundle of certificates

	bom = "\ufeff"
)

// files reads what variables point to, afresh each time, and notes what others
// may read.
type files struct{ found func(session.Finding) }

// credential reads the source: its value, or its file as it is now.
func (f files) credential(s source) (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	data, err := f.read(s.variable, s.file, maxFile)
	if err != nil {
		return "", err
	}
	f.warnIfExposed(s)
	text, ok := trimmed(string(data))
	switch {
	case !ok:
		return "", badFile(s.variable, s.file, "holds a control character", "write the credential alone into it", nil)
	case text == "":
		return "", badFile(s.variable, s.file, "is empty", "write the credential into it", nil)
	}
	return text, nil
}

// read returns the content of a regular file (links are followed), so that no
// FIFO or device blocks a run.
func (f files) read(variable, name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		do := "create it, or set " + variable + " to the right one"
		if !filepath.IsAbs(name) {
			do = "write its full path: what is there now is not shown, for it may be a secret"
		}
		return nil, badFile(variable, name, "does not exist", do, nil)
	case err != nil:
		return nil, unreadable(variable, name, err)
	case !info.Mode().IsRegular():
		return nil, badFile(variable, name, "is not a regular file", "name one", nil)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, unreadable(variable, name, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, unreadable(variable, name, err)
	}
	if int64(len(data)) > most {
		return nil, badFile(variable, name, fmt.Sprintf("is larger than %d KiB", most>>10), "name the right one", nil)
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		// Windows PowerShell 5 writes so what is redirected to a file.
		return nil, badFile(variable, name, "is UTF-16", "save it as UTF-8", nil)
	}
	return bytes.TrimPrefix(data, []byte(bom)), nil
}

// warnIfExposed notes a credential that every user of the machine may read.
func (f files) warnIfExposed(s source) {
	// The kubelet writes the pod's own token so, and nobody can change it.
	if runtime.GOOS == "windows" || s.file == podTokenFile {
		return
	}
	if info, err := os.Stat(s.file); err == nil && info.Mode().Perm()&0o004 != 0 {
		f.found(session.Finding{Code: session.FileExposed, Text: fmt.Sprintf("%s: every user of the Patch server may read %s; chmod o-r it", s.variable, s.file)})
	}
}

func unreadable(variable, name string, err error) *fault.Error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // without the name; see shownFile
	}
	f := badFile(variable, name, "cannot be read", "let the agent's user read it", err)
	f.Detail = err.Error()
	return f
}

func badFile(variable, name, reason, do string, cause error) *fault.Error {
	f := fault.New(fault.Environment, fmt.Sprintf("%s: %s %s", variable, shownFile(name), reason), do)
	f.Cause = cause
	return f
}

// shownFile is a file's name for a message, if it surely is one: now and then a
// credential itself is put into the variable that should name its file.
func shownFile(name string) string {
	if !filepath.IsAbs(name) {
		return "the file"
	}
	return name
}
