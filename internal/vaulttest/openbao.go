package vaulttest

import (
	"context"
	"os/exec"
	"strings"
	"sync"
)

// IsOpenBao reports whether the program that is started is OpenBao, by what it
// prints as its version.
func IsOpenBao(program string) bool {
	is, known := openBao.Load(program)
	if !known {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		text, err := exec.CommandContext(ctx, program, "version").Output()
		is = err == nil && strings.HasPrefix(string(text), "OpenBao ")
		openBao.Store(program, is)
	}
	return is.(bool)
}

var openBao sync.Map // program to bool

// allowsAudit lets OpenBao make the audit device by its API, as Vault does.
const allowsAudit = "unsafe_allow_api_audit_creation = true\n"

// auditUserAgent makes OpenBao write the User-Agent into its audit file, which
// Vault does unasked.
func (s *Server) auditUserAgent(ctx context.Context) error {
	_, err := s.call(ctx, "POST", "sys/config/auditing/request-headers/user-agent", map[string]any{"hmac": false})
	return err
}
