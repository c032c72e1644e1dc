package auth

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/luumen/patch-vault/internal/fault"
)

// cas returns the CA certificates in PEM form; nil means the system's.
func (t trust) cas(found *findings) ([]byte, error) {
	switch t.caVariable {
	case "VAULT_CACERT":
		bundle := file{t.caVariable, t.ca}
		data, err := bundle.read(found, maxCAFile)
		if err != nil {
			return nil, err
		}
		if !holdsCertificate(data) {
			return nil, bundle.bad("holds no certificate in PEM form", "name a file of certificates in PEM form (openssl x509 -inform der -in FILE -out NEW converts one in DER form)")
		}
		return data, nil
	case "VAULT_CACERT_BYTES":
		if isPEMInBase64([]byte(t.ca)) {
			return nil, fault.New(fault.Environment, t.caVariable+" is in base64", decodeIt)
		}
		if !holdsCertificate([]byte(t.ca)) {
			return nil, fault.New(fault.Environment, t.caVariable+" holds no certificate in PEM form", "set it to certificates in PEM form, with their line breaks and without quotes, or set VAULT_CACERT to the name of their file")
		}
		return []byte(t.ca), nil
	case "VAULT_CAPATH":
		return casInFolder(found, file{t.caVariable, t.ca})
	}
	return nil, nil
}

// casInFolder returns the CA certificates in the files of VAULT_CAPATH. A file that cannot
// be read is an error only if no other file has a certificate.
func casInFolder(found *findings, folder file) ([]byte, error) {
	entries, err := os.ReadDir(folder.name)
	if err != nil {
		bad := folder.unreadable(err)
		if !errors.Is(err, fs.ErrPermission) {
			bad.Do = "set VAULT_CAPATH to the folder of the CA files, or VAULT_CACERT to one file"
		}
		return nil, bad
	}
	if info, err := os.Stat(folder.name); err == nil {
		folder.warnIfExposed(found, info.Mode()&^0o004, false) // listing it does no harm
	}
	var all []byte
	var unread error
	for _, entry := range entries {
		f := file{folder.variable, filepath.Join(folder.name, entry.Name())}
		if info, err := os.Stat(f.name); err == nil && info.IsDir() {
			continue // Kubernetes has folders beside links to the files in them
		}
		data, err := f.read(found, maxCAFile)
		switch {
		case err != nil:
			unread = cmp.Or(unread, err)
		case !bytes.Contains(data, []byte("-----BEGIN ")): // no certificate
		case len(all)+len(data) > maxCAFile:
			return nil, folder.bad(fmt.Sprintf("holds more than %d MiB of certificates", maxCAFile>>20), "put only the CA of Vault there")
		default:
			all = append(append(all, data...), '\n')
		}
	}
	if !holdsCertificate(all) {
		return nil, cmp.Or[error](unread, folder.bad("holds no certificate", "put files with certificates in PEM form directly into it"))
	}
	if unread != nil {
		found.add(Finding{Code: FileUnread, Text: unread.Error()})
	}
	return all, nil
}

func (t trust) pair(found *findings) (*tls.Certificate, error) {
	certificate, err := file{"VAULT_CLIENT_CERT", t.certFile}.read(found, maxFile)
	if err != nil {
		return nil, err
	}
	keyFile := file{"VAULT_CLIENT_KEY", t.keyFile}
	key, err := keyFile.read(found, maxFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err == nil {
		return &pair, nil
	}
	// The cause is omitted: it can quote the text that could not be parsed.
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, keyFile.bad("is encrypted", "decrypt it: openssl pkey -in KEY -out NEW, and let only the agent's user read it")
	}
	return nil, t.noPair()
}

// noPair is the fault for a certificate and a key that do not belong together, or are none.
func (t trust) noPair() *fault.Error {
	f := fault.New(fault.Environment, "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not a certificate and its key in PEM form", "name the two files of one pair, the client's own certificate first in its file")
	if isSystemdsCopy(t.certFile) || isSystemdsCopy(t.keyFile) {
		f.Do = "if the pair was renewed, restart the service, since systemd copied files for LoadCredential= when it started; otherwise, " + f.Do
	}
	return f
}

// holdsCertificate reports whether PEM data holds a certificate that can be parsed.
func holdsCertificate(pem []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(pem) }
