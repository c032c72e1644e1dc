package auth

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
)

// DoOptions are the options of [Vault.Do]. The zero DoOptions are the default.
type DoOptions struct {
	Patience    time.Duration // how long to wait without any answer; 0 means 60 s
	Connections int           // at most; 0 means 16
	RunID       string        // sent in the User-Agent, which Vault's audit log shows: its first 128 visible ASCII characters; empty means a random one
	Check       bool          // for a check: also ask for Vault's health, and end after Patience and up to two attempts
}

func (o DoOptions) withDefaults() DoOptions {
	if o.Patience <= 0 {
		o.Patience = 60 * time.Second
	}
	o.Patience = min(o.Patience, 365*24*time.Hour)
	if o.Connections <= 0 {
		o.Connections = 16
	}
	// It becomes part of a header.
	o.RunID = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, o.RunID)
	o.RunID = o.RunID[:min(len(o.RunID), 128)]
	if o.RunID == "" {
		o.RunID = rand.Text()[:12]
	}
	return o
}

// lastMoments is the time for a login under way when the context ends, and for the
// revocation.
const lastMoments = 2 * time.Second

// session is one use of Vault.
type session struct {
	config   *config
	options  DoOptions
	findings findings

	// Made by connect. The wire is nil if that failed early.
	patience *patience.Patience
	wire     *transport.Wire
	reads    *transport.Retry // below the bearer
	logins   *transport.Retry // below the door
	clients  clients

	health        *Health  // set by askHealth, for which run waits; nil if unknown
	expiryUnknown *Finding // set by examine, for warnOfUnknownExpiry; nil if there is nothing to warn of

	token atomic.Pointer[token]       // in use; nil before the first
	fatal atomic.Pointer[fault.Error] // why no token works any more; set by end

	returned atomic.Bool // use has returned, so the bearer sends nothing
	door     door

	// What replace goes by.
	login      sync.Mutex // one login at a time; guards the rest
	loginCount int        // counted by obtain
	obtainedAt time.Time  // when obtain was last called
	spare      int        // tokens that may still expire without serving a request; 0 until one served
	replaced   bool       // a token that had not expired was replaced, which happens once in a run
}

// Do logs in, calls use with a logged-in client, and revokes the token of the login. It is
// for what package resolver does not do, such as certificates and signatures. It returns
// the error of use or ctx, or one with a kind of package resolver. The Usage is complete
// even then.
//
// Revoking the token also ends its child tokens and its leases, such as those of
// certificates of a role with generate_lease=true.
//
// The client works in the namespace of the settings; LUUMEN_VAULT_PATHS does not limit its
// paths. A successful answer may have any form and up to 4 MiB; a refusal must be JSON. Each
// must end within VAULT_CLIENT_TIMEOUT. The client repeats reads until patience ends,
// and writes only if Vault certainly did not act on them. It logs in again if its token
// expires. Requests with another token, for another address, or after use has returned fail
// unsent.
//
// Methods that set the client's token, such as Logical().Unwrap and Auth().Login, make all
// later requests fail unsent. Write to sys/wrapping/unwrap or the login's path instead.
// Those that change the transport of its connections panic, as does a nil use. If Vault
// refuses a request, the client returns a *[api.ResponseError], whose text has several
// lines. If Vault does not answer, or refuses the token, the error has a kind:
// errors.AsType[resolver.Kind](err).
func (v *Vault) Do(ctx context.Context, options DoOptions, use func(ctx context.Context, client *api.Client) error) (usage Usage, err error) {
	if use == nil {
		panic("auth: Do without a func to call") // before a login
	}
	s := &session{options: options.withDefaults()}
	defer func() { usage = s.usage() }()
	if s.config, err = v.inner().config(); err != nil {
		return usage, err
	}
	return usage, s.run(transport.Steady(ctx), use)
}

func (s *session) run(ctx context.Context, use func(context.Context, *api.Client) error) error {
	caller := ctx
	ctx, end := context.WithCancel(ctx)
	defer end()
	last, endLast := context.WithCancel(context.WithoutCancel(ctx))
	defer endLast()
	var canceled atomic.Pointer[time.Time]
	defer context.AfterFunc(ctx, func() {
		canceled.Store(new(time.Now()))
		time.AfterFunc(lastMoments, endLast)
	})()
	s.config.warn(&s.findings)
	if err := s.connect(ctx, last); err != nil {
		return err
	}
	var asking sync.WaitGroup
	if s.options.Check {
		asking.Go(func() { s.askHealth(ctx) })
	}
	defer func() { // even if use panics
		s.warnOfUnknownExpiry()
		s.warnOfSilence(caller, canceled.Load()) // before anything else is waited for
		asking.Wait()
		s.finish(end) // from here on, no token is made
		s.revoke(caller)
		s.wire.Close()
	}()
	t, err := s.obtain(ctx)
	if err == nil && t.facts.Given {
		err = s.examine(ctx, t)
	}
	if err != nil {
		return err
	}
	return use(context.WithValue(ctx, tokenKey{}, func() *session { return s }), s.clients.use)
}

// finish ends requests that use or a login method left behind, and waits for a login under
// way, so that no token is made after the others are revoked.
func (s *session) finish(end func()) {
	s.returned.Store(true)
	end()
	s.login.Lock()
	defer s.login.Unlock()
	s.door.requests.Lock()
	defer s.door.requests.Unlock()
}

// connect prepares the connection. It reads the TLS files.
func (s *session) connect(ctx, last context.Context) error {
	proxy := s.config.proxy
	tls, proxyTLS, err := s.config.trust.configs(&s.findings, proxy != nil && proxy.URL.Scheme == "https")
	if err != nil {
		return err
	}
	limits := s.config.limits
	limits.UnderWay = s.options.Connections
	s.patience = patience.New(s.options.Patience, limits)
	s.wire = transport.NewWire(transport.Config{
		Address: s.config.address, TLS: tls, CAs: s.config.trust.caVariable, ProxyTLS: proxyTLS, Proxy: proxy,
		Connections: s.options.Connections, Timeout: s.config.timeout,
		UserAgent: "luumen-patch-vault/" + version() + " run/" + s.options.RunID,
	})
	for _, namespace := range []string{s.config.namespace, s.config.loginNamespace} {
		if isSecretLike(namespace) { // errors name it, and Vault echoes it
			s.wire.Sent.Learn(namespace)
		}
	}
	var until time.Time
	if s.options.Check {
		// Patience and two attempts, less the time for the revocation, but at least one attempt.
		until = time.Now().Add(max(s.options.Patience+2*s.config.timeout-lastMoments, s.config.timeout))
	}
	s.reads = &transport.Retry{Patience: s.patience, Wire: s.wire, Run: ctx, Until: until}
	s.logins = &transport.Retry{Patience: s.patience, Wire: s.wire, Run: ctx, Last: last, Until: until, Unclear: s.warnOfUnclearLogin}
	s.door.session = s
	s.clients, err = s.newClients()
	return err
}

// warnOfSilence warns if Vault was not answering when the caller ended the run. The hosts
// then have the caller's own error, so without the warning a deadline shorter than patience
// would always hide that Vault is down. canceled is when ctx ended, or nil if it has only
// just ended.
func (s *session) warnOfSilence(ctx context.Context, canceled *time.Time) {
	if ctx.Err() == nil || s.patience.Over() != nil || s.fatal.Load() != nil {
		return
	}
	silence, last := s.patience.Silence()
	if canceled != nil {
		silence -= time.Since(*canceled) // a login is waited for
	}
	if silence < time.Second {
		return
	}
	use, needs := "run", s.options.Patience
	if s.options.Check {
		use, needs = "check", needs+2*s.config.timeout
	}
	f := Finding{Code: NoAnswer, Text: fmt.Sprintf("vault had not answered for %s when the %s was canceled; check Vault, or give %[2]ss a deadline of more than %[3]s", fault.Duration(silence), use, fault.Duration(needs))}
	if last != nil {
		f.Detail = last.Error()
	}
	s.findings.add(f)
}
