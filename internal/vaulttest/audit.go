package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is a request in Vault's audit file. Vault writes it before it answers, so a
// client with an answer finds its request there. These are never in the file: sys/health,
// sys/seal-status, sys/init, sys/leader, requests to a sealed server, and requests that a
// rate limit refused.
type Request struct {
	ID         string
	Time       time.Time
	Operation  string         // read, update, list, delete, …
	Path       string         // without /v1/; a query is in Data
	Data       map[string]any // the body or the query; values are hashed, see Config.RawAudit
	Namespace  string         // its path; "" is the root
	UserAgent  string
	RemoteAddr string // without the port
	Accessor   string // of the token sent, if it is alive and has one
	Error      string // why Vault refused; "" for a plain 404, too
}

// Requests returns the requests whose User-Agent contains the text, in order; "" means all.
// The helpers of this package have the User-Agent "vaulttest".
func (s *Server) Requests(userAgentPart string) ([]Request, error) {
	if s.AuditFile == "" {
		return nil, errors.New("the server was started without an audit file")
	}
	text, err := s.audit.upToNow(s.AuditFile)
	if err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(userAgentPart)
	if err != nil {
		return nil, err
	}
	part := quoted[1 : len(quoted)-1]

	var requests []Request
	places := make(map[string]int)
	for entry := range bytes.Lines(text) {
		// Decoding is slow. Most lines of a shared server belong to other tests, and most
		// responses add nothing.
		if !bytes.Contains(entry, part) || bytes.Contains(entry, []byte(`"type":"response"`)) && !bytes.Contains(entry, []byte(`"error":`)) {
			continue
		}
		var line auditLine
		if err := json.Unmarshal(entry, &line); err != nil {
			return nil, fmt.Errorf("audit file: %w", err)
		}
		if line.Type == "response" {
			if i, ok := places[line.Request.ID]; ok {
				requests[i].Error = line.Error
			}
			continue
		}
		request := line.request()
		if strings.Contains(request.UserAgent, userAgentPart) {
			places[request.ID] = len(requests)
			requests = append(requests, request)
		}
	}
	return requests, nil
}

// auditText is the part of an audit file that was read so far. Vault appends to it,
// and tests ask for it often.
type auditText struct {
	mu   sync.Mutex
	text []byte
}

// upToNow returns the lines in the file so far. Callers must not change them.
func (a *auditText) upToNow(name string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(int64(len(a.text)), io.SeekStart); err != nil {
		return nil, err
	}
	more, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	a.text = append(a.text, more...)
	return a.text[:bytes.LastIndexByte(a.text, '\n')+1], nil // the last may be half written
}

type auditLine struct {
	Type  string
	Time  time.Time
	Error string
	Auth  struct {
		Accessor string
	}
	Request struct {
		ID            string
		Operation     string
		Path          string
		Data          map[string]any
		Namespace     struct{ Path string }
		RemoteAddress string              `json:"remote_address"`
		Headers       map[string][]string // names in lower case
	}
}

func (l auditLine) request() Request {
	r := l.Request
	return Request{
		ID:         r.ID,
		Time:       l.Time,
		Operation:  r.Operation,
		Path:       r.Path,
		Data:       r.Data,
		Namespace:  r.Namespace.Path,
		UserAgent:  strings.Join(r.Headers["user-agent"], " "),
		RemoteAddr: r.RemoteAddress,
		Accessor:   l.Auth.Accessor,
		Error:      l.Error,
	}
}

func (s *Server) enableAudit() error {
	if s.AuditFile == "" {
		return nil
	}
	if err := s.auditUserAgent(); err != nil {
		return err
	}
	_, err := s.call(context.Background(), "PUT", "sys/audit/file", map[string]any{
		"type": "file",
		"options": map[string]string{
			"file_path":     s.AuditFile,
			"log_raw":       strconv.FormatBool(s.config.RawAudit),
			"hmac_accessor": "false", // an accessor opens nothing, and joins requests
		},
	})
	return err
}
