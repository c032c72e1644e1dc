package vaulttest

import (
	"context"
	"errors"
	"os"
	"regexp"
	"time"
)

// Seal seals the server. In a cluster, only the leader can be sealed.
func (s *Server) Seal() error {
	_, err := s.call(context.Background(), "PUT", "sys/seal", nil)
	return err
}

// Unseal unseals a sealed server. The server serves a moment later; see also
// Cluster.WaitHealthy.
func (s *Server) Unseal() error {
	key, err := s.unsealKey()
	if err != nil {
		return err
	}
	_, err = s.call(context.Background(), "PUT", "sys/unseal", map[string]any{"key": key})
	return err
}

// StepDown makes the leader of a cluster step down. It may be elected again.
func (s *Server) StepDown() error {
	_, err := s.call(context.Background(), "PUT", "sys/step-down", nil)
	return err
}

var printedKey = regexp.MustCompile(`(?m)^Unseal Key: (\S+)$`)

// unsealKey returns the cluster's key, or the key that a dev-mode server prints soon after
// it answers.
func (s *Server) unsealKey() (string, error) {
	if s.cluster != nil {
		return s.cluster.key, nil
	}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(s.log)
		if err != nil {
			return "", err
		}
		if found := printedKey.FindAllSubmatch(text, -1); found != nil {
			return string(found[len(found)-1][1]), nil // of the last start
		}
	}
	return "", errors.New("vault printed no unseal key")
}
