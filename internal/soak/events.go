package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

// The roles by which runs log in.
const (
	lasting  = "lasting"
	expiring = "expiring" // tokens live shorter than a run takes
)

// A run replaces a token that expires as often as that happens. With expiring
// tokens, it takes several times as long as one of them lives.
const (
	expiry       = 2 * time.Second
	expiringPace = secrets / 6 // a second
	usualPace    = secrets / 2
)

// event is what happens during the runs of a round.
type event struct {
	name      string
	role      string
	pace      int  // requests a second
	breaksOff bool // the callers leave their loops early

	// happen is called when all runs are under way; nil does nothing. The cluster
	// is repaired afterwards. giveUp ends the callers' context.
	happen func(s *soak, giveUp func()) error
}

var quiet = event{name: "nothing happens", role: lasting, pace: usualPace}

var events = []event{
	quiet,
	{name: "the leader steps down", role: lasting, pace: usualPace, happen: func(s *soak, _ func()) error {
		leader := s.cluster.Leader()
		if err := leader.StepDown(); err != nil {
			return err
		}
		for end := time.Now().Add(time.Minute); s.cluster.Leader() == leader; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				return errors.New("the leader did not step down")
			}
		}
		return s.waitHealthy()
	}},
	{name: "the leader is killed", role: lasting, pace: usualPace, happen: func(s *soak, _ func()) error {
		s.cluster.Leader().Kill()
		return s.waitHealthy()
	}},
	{name: "a standby is killed", role: lasting, pace: usualPace, happen: func(s *soak, _ func()) error {
		s.standby().Kill()
		return nil
	}},
	{name: "a standby is restarted and stays sealed", role: lasting, pace: usualPace, happen: func(s *soak, _ func()) error {
		standby := s.standby()
		standby.Kill()
		return standby.Restart()
	}},
	{name: "tokens are revoked", role: lasting, pace: usualPace, happen: func(s *soak, _ func()) error {
		return s.revokeLogins()
	}},
	{name: "tokens expire", role: expiring, pace: expiringPace},
	{name: "callers leave their loops early", role: lasting, pace: usualPace, breaksOff: true},
	{name: "callers cancel their contexts", role: lasting, pace: usualPace, happen: func(_ *soak, giveUp func()) error {
		giveUp()
		return nil
	}},
}

func (s *soak) standby() *vaulttest.Server {
	leader := s.cluster.Leader()
	return s.cluster.Nodes[slices.IndexFunc(s.cluster.Nodes, func(node *vaulttest.Server) bool { return node != leader })]
}

// revokeLogins revokes the tokens of the current runs.
func (s *soak) revokeLogins() error {
	accessors, err := s.accessors()
	if err != nil {
		return err
	}
	leader, revoked := s.cluster.Leader(), 0
	for _, accessor := range accessors {
		body := map[string]string{"accessor": accessor}
		answer, err := ask(leader, "POST", "auth/token/lookup-accessor", body)
		if err != nil || vaulttest.Text(answer, "data", "path") != "auth/approle/login" {
			continue // it has ended, or is the root token
		}
		if _, err := ask(leader, "POST", "auth/token/revoke-accessor", body); err != nil {
			return err
		}
		revoked++
	}
	if revoked < runsAtOnce {
		return fmt.Errorf("%d tokens for %d runs", revoked, runsAtOnce)
	}
	return nil
}
