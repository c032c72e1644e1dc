package auth

import "strings"

// source is where a credential comes from: the value of a variable, or the file that a
// variable names. The zero source means that there is no credential.
type source struct {
	variable string // the one that is set
	value    string
	file     string
	odd      string // what is unusual about the credential that was last read
}

func (s *source) isSet() bool { return s.variable != "" }

// misplaced says why a text cannot be the source's credential.
func (s *source) misplaced(text string) (reason, fix string) {
	if strings.HasPrefix(s.variable, "VAULT_TOKEN") {
		return misplacedToken(text)
	}
	return misplaced(text)
}

// note sets odd for a credential that is used.
func (s *source) note(text string) {
	switch {
	case strings.HasPrefix(s.variable, "VAULT_TOKEN"):
		s.odd = oddToken(text)
	case strings.HasSuffix(s.variable, "_JWT_FILE"):
		s.odd = oddJWT(s.variable, text)
	default:
		s.odd = oddID(s.variable, text)
	}
}

// oneOf returns the source of a credential that comes from a variable or from a
// file.
func (e *environment) oneOf(variable, fileVariable string) source {
	raw, _ := trimmed(e.getenv(variable))
	s := source{variable: variable, value: raw}
	if reason, fix := s.misplaced(raw); raw != "" && reason != "" && !e.isSet(fileVariable) {
		e.reject(variable, reason+"; "+fix)
		return source{}
	}
	switch value, file := e.text(variable), e.text(fileVariable); {
	case value != "" && file != "":
		e.problem(variable + " and " + fileVariable + " are both set; unset one")
	case value != "":
		s.note(value)
		return s
	case file != "":
		return source{variable: fileVariable, file: file}
	}
	return source{}
}

// required is oneOf for a required credential.
func (e *environment) required(variable, fileVariable string) source {
	s := e.oneOf(variable, fileVariable)
	if !s.isSet() && !e.isSet(variable) && !e.isSet(fileVariable) {
		e.problem("neither " + variable + " nor " + fileVariable + " is set; set one on the Patch server")
	}
	return s
}
