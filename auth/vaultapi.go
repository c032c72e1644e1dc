package auth

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
)

// vault/api parses variables of the process whenever a client is made, and fails if
// one is malformed, even though none has an effect on our client. Its error quotes
// values, so the malformed variable is found here.
//
// parsed are the variables that vault/api may reject.
var parsed = []struct {
	name  string
	isBad func(value string) bool
	fix   string
}{
	{api.EnvVaultMaxRetries, func(v string) bool { _, err := strconv.ParseUint(v, 10, 32); return err != nil }, "set it to a whole number"},
	{api.EnvRateLimit, isBadRate, "set it to a rate such as 100, or rate:burst such as 100:20"},
	{api.EnvVaultClientTimeout, func(v string) bool { _, err := parseutil.ParseDurationSecond(v); return err != nil }, "set it to seconds such as 10, or 10s"},
	{api.EnvVaultSkipVerify, isBadBool, "set it to true or false"},
	{api.EnvVaultSRVLookup, isBadBool, "set it to true or false"},
	{api.EnvVaultDisableRedirects, isBadBool, "set it to true or false"},
	{api.EnvHTTPProxy, isBadURL, "set it to a URL"},
	{api.EnvVaultProxyAddr, isBadURL, "set it to a URL"},
	{api.EnvVaultHeaders, isBadHeaders, "set it to a JSON object of strings, none of them named X-Vault-…"},
}

func isBadBool(value string) bool { _, err := strconv.ParseBool(value); return err != nil }
func isBadURL(value string) bool  { _, err := url.Parse(value); return err != nil }

func isBadRate(value string) bool {
	var rate float64
	var burst int
	_, err := fmt.Sscanf(value, "%f:%d", &rate, &burst) // as vault/api does, with anything after it
	if err != nil {
		_, err = strconv.ParseFloat(value, 64)
	}
	return err != nil
}

func isBadHeaders(value string) bool {
	var headers map[string]string
	if json.Unmarshal([]byte(value), &headers) != nil {
		return true
	}
	for name := range headers {
		if strings.HasPrefix(name, "X-Vault-") {
			return true
		}
	}
	return false
}

// checkForAPI reads the TLS files that the process's variables name before vault/api
// does: a FIFO would block it.
func checkForAPI() error {
	found := &findings{} // dropped: these warnings are given where the files are used
	for _, variable := range []string{api.EnvVaultCACert, api.EnvVaultClientCert, api.EnvVaultClientKey} {
		if name := os.Getenv(variable); name != "" {
			if _, err := (file{variable, name}).read(found, maxCAFile); err != nil {
				return err
			}
		}
	}
	folder := os.Getenv(api.EnvVaultCAPath)
	if folder == "" || os.Getenv(api.EnvVaultCACert) != "" || os.Getenv(api.EnvVaultCACertBytes) != "" {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return file{api.EnvVaultCAPath, folder}.unreadable(err)
		}
		if entry.IsDir() {
			return nil
		}
		_, err = file{api.EnvVaultCAPath, path}.read(found, maxCAFile)
		if bad, ok := err.(*fault.Error); ok {
			f := *bad
			f.Do = "use VAULT_CACERT instead: vault/api accepts only a folder of certificates in PEM form" // so not one that Kubernetes mounts
			return &f
		}
		return err
	})
}

// rejectedByAPI is the fault for a variable that vault/api rejects. It names the
// variable, never its value.
func rejectedByAPI() error {
	for _, v := range parsed {
		if value := os.Getenv(v.name); value != "" && v.isBad(value) {
			return fault.New(fault.Environment, v.name+" is malformed, so vault/api rejects it", v.fix+", or unset it")
		}
	}
	ca, pem := "", []byte(os.Getenv(api.EnvVaultCACertBytes))
	if len(pem) > 0 {
		ca = api.EnvVaultCACertBytes
	} else if file := os.Getenv(api.EnvVaultCACert); file != "" {
		ca = api.EnvVaultCACert
		pem, _ = os.ReadFile(file) // an unreadable one holds no certificate either
	}
	if ca != "" && !holdsCertificate(pem) {
		return fault.New(fault.Environment, ca+" is not accepted by vault/api", "set it to certificates in PEM form, saved without a byte order mark")
	}
	if ca == "" && os.Getenv(api.EnvVaultCAPath) != "" && os.Getenv(api.EnvVaultClientCert)+os.Getenv(api.EnvVaultClientKey) == "" {
		return fault.New(fault.Environment, "VAULT_CAPATH holds a file that is not a certificate in PEM form, which vault/api does not accept", "use VAULT_CACERT instead")
	}
	return fault.New(fault.Environment, "VAULT_CLIENT_CERT and VAULT_CLIENT_KEY are not accepted by vault/api", "name the two files of one pair, in PEM form and without a byte order mark")
}
