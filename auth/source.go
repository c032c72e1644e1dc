package auth

import "strings"

// source is where a credential comes from: the value of a variable, or the file that a
// variable names. The zero source means that there is no credential.
type source struct {
	variable string // the one that is set
	value    string
	file     string
}

func (s source) isSet() bool { return s.variable != "" }

// misplaced says why a text cannot be the source's credential.
func (s source) misplaced(text string) (reason, fix string) {
	if strings.HasPrefix(s.variable, "VAULT_TOKEN") {
		return misplacedToken(text)
	}
	return misplaced(text)
}

// oddity says what is unusual about a text as the source's credential, to explain why
// Vault refused it; empty if nothing is.
func (s source) oddity(text string) string {
	switch {
	case strings.HasPrefix(s.variable, "VAULT_TOKEN"):
		return oddToken(text)
	case strings.HasSuffix(s.variable, "_JWT_FILE"):
		return oddJWT(s.variable, text)
	}
	return oddID(s.variable, text)
}

// systemdCredentials is where systemd copies the files of LoadCredential= when the
// service starts.
const systemdCredentials = "/run/credentials/"

// renewal says how to replace the source's token.
func (s source) renewal() string {
	switch {
	case strings.HasPrefix(s.file, systemdCredentials):
		return "write a new one to the file that LoadCredential= names for VAULT_TOKEN_FILE, and restart the service: " + s.file + " is systemd's copy"
	case s.file != "":
		return "write a new one to " + shownFile(s.file) + " (VAULT_TOKEN_FILE)"
	}
	return "set VAULT_TOKEN to a new one on the Patch server, and restart the agent"
}

// source returns the source of a credential: a variable, such as VAULT_TOKEN, or the file
// that a second one names, such as VAULT_TOKEN_FILE.
func (e *environment) source(variable string) source {
	fileVariable := variable + "_FILE"
	raw, _ := trimmed(e.getenv(variable))
	if reason, fix := (source{variable: variable}).misplaced(raw); raw != "" && reason != "" && !e.isSet(fileVariable) {
		e.reject(variable, reason+"; "+fix)
		return source{}
	}
	switch value, file := e.text(variable), e.text(fileVariable); {
	case value != "" && file != "":
		e.problem(variable + " and " + fileVariable + " are both set; unset one")
	case value != "":
		return source{variable: variable, value: value}
	case file != "":
		return source{variable: fileVariable, file: file}
	}
	return source{}
}

func (e *environment) requiredSource(variable string) source {
	s, fileVariable := e.source(variable), variable+"_FILE"
	if !s.isSet() && !e.isSet(variable) && !e.isSet(fileVariable) {
		e.problem("neither " + variable + " nor " + fileVariable + " is set; set one on the Patch server")
	}
	return s
}
