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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/luumen/patch-vault/internal/fault"
)

const (
	maxFile   = 64 << 10 // of one credential
	maxCAFile = 4 << 20  // of a bundle of certificates

	bom = "\ufeff"
)

// file is a file or folder that a variable names.
type file struct{ variable, name string }

// credential returns the credential in the file.
func (f file) credential(found *findings) (string, error) {
	data, err := f.read(found, maxFile)
	if err != nil {
		return "", err
	}
	credential, reason, fix := credentialIn(f.variable, string(data))
	switch {
	case reason != "":
		return "", f.bad(reason, fix)
	case credential == "":
		return "", f.bad("is empty", "write the credential into it")
	}
	return credential, nil
}

// read returns the content of a regular file. It follows links, and warns of a file that
// every user can read or write.
func (f file) read(found *findings, most int64) ([]byte, error) {
	opened, err := openFile(f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		do := "create it, or set " + f.variable + " to the right one"
		if !filepath.IsAbs(f.name) {
			do = "write its full path: what " + f.variable + " holds now is not shown, as it may be a secret"
		}
		return nil, f.bad("does not exist", do)
	case err != nil:
		return nil, f.unreadable(err)
	}
	defer opened.Close()
	// Stat the open file, not its name, which may name another file by now.
	info, err := opened.Stat()
	switch {
	case err != nil:
		return nil, f.unreadable(err)
	case info.IsDir(): // as a mounted Secret or ConfigMap is
		return nil, f.bad("is a folder", "name a file in it")
	case !info.Mode().IsRegular():
		return nil, f.bad("is not a regular file", "name a regular file")
	}
	opened.SetReadDeadline(time.Now().Add(time.Second)) // some files of /proc can block; others ignore the deadline
	data, err := io.ReadAll(io.LimitReader(opened, most+1))
	if err != nil {
		return nil, f.unreadable(err)
	}
	if int64(len(data)) > most {
		return nil, f.bad(fmt.Sprintf("is larger than %d KiB", most>>10), "name the right one")
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		// Windows PowerShell 5 writes UTF-16 when output is redirected to a file.
		return nil, f.bad("is UTF-16", "save it as UTF-8")
	}
	if isPEMInBase64(data) {
		return nil, f.bad("is in base64", decodeIt)
	}
	f.warnIfExposed(found, info.Mode(), bytes.Contains(data, []byte("PRIVATE KEY-----")))
	return bytes.TrimPrefix(data, []byte(bom)), nil
}

// isPEMInBase64 reports whether data in PEM form was encoded once more.
func isPEMInBase64(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(data), []byte("LS0tLS1CRUdJTi")) // -----BEGIN
}

// warnIfExposed warns of a file that every user of the machine can write, or can read
// although it is not public.
func (f file) warnIfExposed(found *findings, mode fs.FileMode, holdsKey bool) {
	if runtime.GOOS == "windows" || isProjected(f.name) {
		return
	}
	public := slices.Contains([]string{"VAULT_CACERT", "VAULT_CAPATH", "VAULT_CLIENT_CERT"}, f.variable) && !holdsKey
	canRead, canWrite := mode.Perm()&0o004 != 0 && !public, mode.Perm()&0o002 != 0
	can, right := "read", "r"
	switch {
	case canRead && canWrite:
		can, right = "read and write", "rw"
	case canWrite:
		can, right = "write", "w"
	case !canRead:
		return
	}
	found.add(Finding{Code: FileExposed, Text: fmt.Sprintf("%s: every user of the Patch server can %s %s; chmod o-%s it, or set its mode where it is mounted from, such as defaultMode in Kubernetes", f.variable, can, shownFile(f.name), right)})
}

// isProjected reports whether the kubelet writes the file and so decides its mode. Links
// to such a file go through the folder ..data, which the kubelet replaces as a whole.
func isProjected(name string) bool {
	const mostLinks = 10
	for range mostLinks {
		if name == podTokenFile || slices.Contains(strings.Split(filepath.ToSlash(name), "/"), "..data") {
			return true
		}
		target, err := os.Readlink(name)
		if err != nil {
			return false
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		name = target
	}
	return false
}

func (f file) unreadable(err error) *fault.Error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // without the name; see shownFile
	}
	do := "give the agent's user the right to read it"
	if !errors.Is(err, fs.ErrPermission) {
		do = "set " + f.variable + " to one that can be read"
	}
	bad := f.bad("cannot be read", do)
	bad.Detail, bad.Cause = err.Error(), err
	return bad
}

// bad is the fault for the file.
func (f file) bad(reason, do string) *fault.Error {
	return fault.New(fault.Environment, fmt.Sprintf("%s: %s %s", f.variable, shownFile(f.name), reason), do)
}

// shownFile returns a file's name for a message. A relative one is not shown, since it
// may be a credential that was put in place of the name of its file.
func shownFile(name string) string {
	switch {
	case !filepath.IsAbs(name):
		return "the file"
	case strings.ContainsFunc(name, isUnprintable):
		return strconv.Quote(name)
	}
	return name
}

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) }
