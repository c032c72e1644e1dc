package auth

import "strings"

// source is where a credential comes from: the value of a variable, or the file that a
// variable names. The zero source means that there is no credential.
type source struct {
	variable string // the one that is set
	value    string // the credential; empty until its file is loaded
	file     string
}

// renewal says how to replace the source's token.
func (s source) renewal() string {
	switch {
	case isSystemdsCopy(s.file):
		return "write a new one to the file that LoadCredential= names for VAULT_TOKEN_FILE, and restart the service: " + s.file + " is systemd's copy"
	case s.file != "":
		return "write a new one to " + shownFile(s.file) + " (VAULT_TOKEN_FILE)"
	}
	return "set VAULT_TOKEN to a new one on the Patch server, and restart the agent"
}

// isSystemdsCopy reports whether systemd wrote a file when the service started, for
// LoadCredential=.
func isSystemdsCopy(file string) bool { return strings.HasPrefix(file, "/run/credentials/") }

// restart says what a change of the credentials needs to take effect; empty if nothing.
func (c credentials) restart() string {
	var inVariables, copied []string
	for _, s := range []source{c.credential, c.secretID} {
		switch {
		case isSystemdsCopy(s.file):
			copied = append(copied, s.variable)
		case s.variable != "" && s.file == "":
			inVariables = append(inVariables, s.variable)
		}
	}
	switch {
	case copied != nil:
		return "restart the service after a change of the file that LoadCredential= names for " + strings.Join(copied, " or ") + ", which systemd copied when the service started"
	case inVariables != nil:
		return "restart the agent after a change of " + strings.Join(inVariables, " or ")
	}
	return ""
}

// source returns the source of a credential: a variable, such as VAULT_TOKEN, or the file
// that a second one names, such as VAULT_TOKEN_FILE.
func (e *environment) source(variable string) source {
	fileVariable := variable + "_FILE"
	if e.isSet(variable) && e.isSet(fileVariable) {
		e.problem(variable + " and " + fileVariable + " are both set; unset one")
		return source{}
	}
	if file := e.text(fileVariable); file != "" {
		return source{variable: fileVariable, file: file}
	}
	value, reason, fix := credentialIn(variable, e.getenv(variable))
	switch {
	case reason != "":
		e.reject(variable, reason+"; "+fix)
	case value != "":
		return source{variable: variable, value: value}
	}
	return source{}
}
