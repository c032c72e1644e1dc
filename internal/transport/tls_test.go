package transport_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/canary"
	"github.com/luumen/patch-vault/internal/fault"
	"github.com/luumen/patch-vault/internal/patience"
	"github.com/luumen/patch-vault/internal/transport"
	"github.com/luumen/patch-vault/internal/vaulttest"
)

type certificates = vaulttest.CertificateConfig

// likeVault answers every request like Vault, with the protocol of the request.
var likeVault = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"request_id":"1","data":{"protocol":"`+r.Proto+`"}}`)
})

// Every error about TLS names the certificate or server and Go's own reason, and says what
// to do.
func TestTLS(t *testing.T) {
	t.Parallel()
	now := time.Now()
	past, future := now.Add(-48*time.Hour), now.Add(48*time.Hour)
	date := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }
	certify := func(issuer *vaulttest.Certificate, config certificates) *vaulttest.Certificate {
		return vaulttest.NewCertificate(t, issuer, config)
	}
	serving := func(leaf *vaulttest.Certificate, chain ...*vaulttest.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{leaf.TLS(chain...)}}
	}

	root := certify(nil, certificates{CA: true, CommonName: "Root"})
	oldRoot := certify(nil, certificates{CA: true, CommonName: "Old root", NotBefore: past.Add(-time.Hour), NotAfter: past})
	middle := certify(root, certificates{CA: true, CommonName: "Middle"})
	oldMiddle := certify(root, certificates{CA: true, CommonName: "Old middle", NotBefore: past.Add(-time.Hour), NotAfter: past})
	narrow := certify(root, certificates{CA: true, CommonName: "Narrow", PermittedDNSDomains: []string{"corp.example"}, ExcludedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}})
	good := certify(root, certificates{CommonName: "Leaf"})
	below := certify(middle, certificates{CommonName: "Leaf"})
	self := certify(nil, certificates{CommonName: "Self"})
	expired := certify(root, certificates{CommonName: "Expired", NotBefore: past.Add(-time.Hour), NotAfter: past})
	early := certify(root, certificates{CommonName: "Early", NotBefore: future, NotAfter: future.Add(time.Hour)})
	client := certify(root, certificates{CommonName: "Client", Client: true, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	stranger := certify(nil, certificates{Client: true, CommonName: "Stranger"})

	demands := func(version uint16) *tls.Config {
		config := serving(good)
		config.ClientAuth, config.ClientCAs, config.MaxVersion = tls.RequireAndVerifyClientCert, root.Pool(), version
		return config
	}
	critical := &vaulttest.Certificate{Key: good.Key, Certificate: certificateLike(t, good.Key, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: past, NotAfter: future, DNSNames: good.DNSNames, IPAddresses: good.IPAddresses,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}},
	})}
	named := func(name pkix.Name) *tls.Config {
		return serving(&vaulttest.Certificate{Key: good.Key, Certificate: certificateLike(t, good.Key, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotAfter: future, DNSNames: good.DNSNames, IPAddresses: good.IPAddresses})})
	}
	old := serving(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	nameless := serving(good)
	nameless.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("unrecognized") }

	for _, server := range []struct {
		name   string
		server *tls.Config
		roots  *x509.CertPool
		client *vaulttest.Certificate
		unsent bool // in TLS 1.3 a client may speak before the server refuses it
		texts  []string
		not    string
	}{
		{"unknown CA", serving(good), x509.NewCertPool(), nil, true,
			[]string{"vault's certificate is not trusted (certificate signed by unknown authority, issued by CN=Root, sent without an intermediate certificate at ADDRESS); add the certificate of the CA that signed it to VAULT_CAPATH on the Patch server: none of the CAs there did"}, ""},
		{"unknown CA, none is named", serving(good), nil, nil, true,
			[]string{"vault's certificate is not trusted (certificate signed by unknown authority", "set VAULT_CACERT on the Patch server to the certificate of the CA that signed it"}, "those there now"},
		{"self-signed", serving(self), root.Pool(), nil, true,
			[]string{"signed by unknown authority, self-signed: CN=Self at ADDRESS", "VAULT_CAPATH"}, "intermediate"},
		{"a name without a common name", named(pkix.Name{SerialNumber: "7", Locality: []string{"Berlin"}, Province: []string{"BE"}}), root.Pool(), nil, true,
			[]string{"self-signed: SERIALNUMBER=7,L=Berlin,ST=BE at ADDRESS"}, ""},
		{"an empty name", named(pkix.Name{}), root.Pool(), nil, true,
			[]string{"self-signed: an empty name at ADDRESS"}, ""},
		{"unknown CA of a whole chain", serving(below, middle), oldRoot.Pool(), nil, true,
			[]string{"signed by unknown authority, its chain ends with a certificate issued by CN=Root at ADDRESS", "VAULT_CAPATH"}, "whole chain"},
		{"missing intermediate", serving(below), root.Pool(), nil, true,
			[]string{"issued by CN=Middle, sent without an intermediate certificate", "if that CA is an intermediate one, configure the server with its whole chain"}, ""},
		{"expired leaf", serving(expired), root.Pool(), nil, true,
			[]string{"vault's certificate is expired (CN=Expired, valid from " + date(past.Add(-time.Hour)) + " to " + date(past) + ", it is " + date(now)[:10], "renew it on the server, or set the clock of the Patch server"}, "VAULT_CACERT"},
		{"not valid yet", serving(early), root.Pool(), nil, true,
			[]string{"vault's certificate is not valid yet (CN=Early, valid from " + date(future) + " to ", "set the clock of the Patch server if that is wrong, or wait"}, "renew"},
		{"expired intermediate", serving(certify(oldMiddle, certificates{}), oldMiddle), root.Pool(), nil, true,
			[]string{"vault's CA certificate is expired (CN=Old middle, valid from ", " to " + date(past), "renew it on the server"}, "VAULT_CACERT"},
		{"expired root", serving(certify(oldRoot, certificates{})), oldRoot.Pool(), nil, true,
			[]string{"a CA certificate on the Patch server is expired (CN=Old root, valid from ", " to " + date(past), "replace it in VAULT_CAPATH on the Patch server"}, "renew it on the server"},
		{"expired root, sent by the server", serving(certify(oldRoot, certificates{}), oldRoot), oldRoot.Pool(), nil, true,
			[]string{"vault's CA certificate is expired (CN=Old root, ", "renew it on the server and in VAULT_CAPATH on the Patch server"}, ""},
		{"common name alone", serving(certify(root, certificates{CommonName: "127.0.0.1", NoSAN: true})), root.Pool(), nil, true,
			[]string{"vault's certificate has no subject alternative name (", " at ADDRESS)", "reissue it with the host name of the address as a subject alternative name: the common name is ignored"}, "VAULT_TLS_SERVER_NAME"},
		{"another name", serving(certify(root, certificates{DNSNames: []string{"a.example", "b.example", "c.example", "d.example"}})), root.Pool(), nil, true,
			[]string{"vault's certificate is for another host name (cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs, it is for a.example, b.example, c.example at ADDRESS); use a name of the certificate in the address", "VAULT_TLS_SERVER_NAME"}, "d.example"},
		{"a hundred addresses", serving(certify(root, certificates{DNSNames: []string{"a.example"}, IPAddresses: slices.Repeat([]net.IP{net.IPv4(192, 0, 2, 1)}, 100)})), root.Pool(), nil, true,
			[]string{"(certificate is valid for 100 IP SANs, but none matched 127.0.0.1, it is for a.example, 192.0.2.1, 192.0.2.1 at ADDRESS)"}, ""},
		{"another address", serving(certify(root, certificates{DNSNames: []string{"a.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}})), root.Pool(), nil, true,
			[]string{"(certificate is valid for 192.0.2.1, not 127.0.0.1 at ADDRESS)"}, "it is for"},
		{"wrong usage", serving(client), root.Pool(), nil, true,
			[]string{"vault's certificate is not meant for a server (certificate specifies an incompatible key usage at ADDRESS)", "extended key usage serverAuth"}, "VAULT_CACERT"},
		{"name constraint", serving(certify(narrow, certificates{}), narrow), root.Pool(), nil, true,
			[]string{"vault's certificate is for a name that its CA may not certify (a root or intermediate certificate is not authorized to sign for this name", "name constraints"}, "VAULT_CACERT"},
		{"weak signature", serving(certify(root, certificates{SHA1: true})), root.Pool(), nil, true,
			[]string{"vault's certificate has a weak signature (certificate signed by unknown authority", "insecure algorithm ECDSA-SHA1", " at ADDRESS); reissue it with SHA-256 or better"}, "VAULT_CACERT"},
		{"critical extension", serving(critical), critical.Pool(), nil, true,
			[]string{"vault's certificate is not trusted (unhandled critical extension at ADDRESS); reissue it without the critical extension"}, "VAULT_CACERT"},
		{"not a certificate", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{good.Raw[:len(good.Raw)/2]}, PrivateKey: good.Key}}}, root.Pool(), nil, true,
			[]string{"vault's certificate cannot be used (tls: failed to parse certificate from server: ", " at ADDRESS); reissue it"}, "TLS 1.2"},
		{"wrong order", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{middle.Raw, below.Raw}, PrivateKey: below.Key}}}, root.Pool(), nil, true,
			[]string{"vault's certificates are in the wrong order (", "the CA certificate CN=Middle is sent first at ADDRESS", "put the server's own certificate first in its chain"}, "VAULT_TLS_SERVER_NAME"},
		{"wants a client certificate", demands(tls.VersionTLS13), root.Pool(), nil, false,
			[]string{"vault refused the TLS connection (tls: certificate required at ADDRESS); set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to a client certificate that the server accepts"}, ""},
		{"wants one, TLS 1.2", demands(tls.VersionTLS12), root.Pool(), nil, true,
			[]string{"vault refused the TLS connection (tls: ", "VAULT_CLIENT_CERT"}, ""},
		{"wants another one", demands(tls.VersionTLS12), root.Pool(), stranger, true,
			[]string{"vault refused the TLS connection (tls: ", "VAULT_CLIENT_CERT"}, ""},
		{"wants one that is valid by now", demands(tls.VersionTLS13), root.Pool(), certify(root, certificates{Client: true, NotBefore: future, NotAfter: future.Add(time.Hour)}), false,
			[]string{"vault refused the TLS connection (tls: expired certificate at ADDRESS); set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY on the Patch server to a client certificate that the server accepts: by the server's clock, the present one is expired or not yet valid"}, ""},
		{"TLS 1.1 alone", old, root.Pool(), nil, true,
			[]string{"vault refused the TLS connection (tls: protocol version not supported at ADDRESS); enable TLS 1.2 or later on the server"}, "VAULT_"},
		{"refuses without a reason", nameless, root.Pool(), nil, true,
			[]string{"vault refused the TLS connection (tls: internal error at ADDRESS); use the port of Vault's API in the address, 8200 by default", "if the server demands a client certificate"}, ""},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			address := vaulttest.ServeTLS(t, server.server, likeVault)
			config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: server.roots}
			if server.client != nil {
				pair := server.client.TLS()
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			cas := ""
			if server.roots != nil {
				cas = "VAULT_CAPATH"
			}
			f := fails(t, newWire(t, transport.Config{Address: parseURL(t, address), TLS: config, CAs: cas}))
			assert.Equal(t, fault.TLS, f.Fault.Kind, f.Fault.Error())
			assert.Equal(t, patience.Never, f.Retry)
			if server.unsent {
				assert.True(t, f.Unsent)
			}
			for _, text := range server.texts {
				assert.Contains(t, f.Fault.Error(), strings.ReplaceAll(text, "ADDRESS", address))
			}
			if server.not != "" {
				assert.NotContains(t, f.Fault.Error(), server.not)
			}
			_, fix := f.Fault.ForUI()
			assert.Equal(t, strings.Contains(f.Fault.Do, "in the address"), strings.Contains(fix, "in the address"), "the address is a setting of the UI")
			assertSafe(t, f)
		})
	}

	t.Run("the cause is Go's own error", func(t *testing.T) {
		t.Parallel()
		address := vaulttest.ServeTLS(t, serving(good), likeVault)
		f := fails(t, wireTo(t, parseURL(t, address)))
		_, ok := errors.AsType[x509.UnknownAuthorityError](f.Fault)
		assert.True(t, ok)
	})
	t.Run("the cause holds no certificate", func(t *testing.T) {
		t.Parallel()
		echo := certify(root, certificates{CommonName: "Leaf", DNSNames: []string{canary.Secret + ".example"}})
		address := vaulttest.ServeTLS(t, serving(echo), likeVault)
		for _, config := range []*tls.Config{{RootCAs: root.Pool(), ServerName: "vault.example"}, {RootCAs: root.Pool()}, {}} {
			w := newWire(t, transport.Config{Address: parseURL(t, address), TLS: config})
			w.Sent.Learn(canary.Secret)
			f := fails(t, w)
			require.ErrorIs(t, f.Fault, fault.TLS)
			for sink, print := range canary.Sinks() {
				assert.Empty(t, canary.Leak(print(f.Fault)+print(f.Fault.Cause)), sink)
			}
		}
	})
	t.Run("secrets in names are masked before they are escaped", func(t *testing.T) {
		t.Parallel()
		const secret = "canary+secret,id=of<mine>"
		w := newWire(t, transport.Config{Address: parseURL(t, vaulttest.ServeTLS(t, serving(certify(nil, certificates{CommonName: secret})), likeVault)), TLS: &tls.Config{RootCAs: root.Pool()}})
		w.Sent.Learn(secret)
		text := fails(t, w).Fault.Error()
		assert.NotContains(t, text, "canary")
		assert.Contains(t, text, "self-signed: CN=[masked]")
	})
	t.Run("secrets in a certificate that cannot be parsed are masked", func(t *testing.T) {
		t.Parallel()
		names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("http://[" + canary.Secret)}}) // no URI
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &good.Key.PublicKey, good.Key)
		require.NoError(t, err)
		address := vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: good.Key}}}, likeVault)
		w := wireTo(t, parseURL(t, address))
		w.Sent.Learn(canary.Secret)
		f := fails(t, w)
		assert.ErrorContains(t, f.Fault, "[masked]")
		for sink, print := range canary.Sinks() {
			assert.Empty(t, canary.Leak(print(f.Fault)), sink)
		}
	})
	t.Run("a wrong VAULT_TLS_SERVER_NAME", func(t *testing.T) {
		t.Parallel()
		address := parseURL(t, vaulttest.ServeTLS(t, serving(good), likeVault))
		config := &tls.Config{RootCAs: root.Pool(), ServerName: "vault.example"}
		f := fails(t, newWire(t, transport.Config{Address: address, TLS: config}))
		assert.Contains(t, f.Fault.Error(), "; correct or unset VAULT_TLS_SERVER_NAME on the Patch server, which replaces the name in the address")
		for _, name := range []string{"localhost", ""} {
			config.ServerName = name
			read(t, newWire(t, transport.Config{Address: address, TLS: config}), nil)
		}
	})
	t.Run("renegotiation", func(t *testing.T) { // which no server of Go can ask for
		t.Parallel()
		w := wireTo(t, parseURL(t, "https://vault.example.com"))
		f := transport.FailureOf(w, &net.OpError{Op: "local error", Err: tls.AlertError(100)})
		assert.Equal(t, patience.Never, f.Retry)
		assert.False(t, f.Unsent)
		assert.ErrorIs(t, f.Fault, fault.TLS)
		assert.Contains(t, f.Fault.Error(), "vault asks for a second TLS handshake, which the agent does not support (tls: no renegotiation at https://vault.example.com); configure the server to ask for the client certificate in the first handshake, not per location")
	})
	for _, advice := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
	}{
		{"VAULT_CACERT", serving(good), &tls.Config{RootCAs: root.Pool()}},
		{"the whole chain", serving(below, middle), &tls.Config{RootCAs: root.Pool()}},
		{"VAULT_TLS_SERVER_NAME", serving(certify(root, certificates{DNSNames: []string{"vault.example.com"}})), &tls.Config{RootCAs: root.Pool(), ServerName: "vault.example.com"}},
		{"VAULT_CLIENT_CERT", demands(tls.VersionTLS13), &tls.Config{RootCAs: root.Pool(), Certificates: []tls.Certificate{client.TLS()}}},
	} {
		t.Run(advice.name+" helps", func(t *testing.T) {
			t.Parallel()
			address := vaulttest.ServeTLS(t, advice.server, likeVault)
			var data struct {
				Protocol string `json:"protocol"`
			}
			read(t, newWire(t, transport.Config{Address: parseURL(t, address), TLS: advice.client}), &data)
			assert.Equal(t, "HTTP/1.1", data.Protocol, "though the server offers HTTP/2")
		})
	}
}

// certificateLike makes a certificate as the template says, which vaulttest cannot.
func certificateLike(t *testing.T, key *ecdsa.PrivateKey, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return certificate
}

func TestWrongScheme(t *testing.T) {
	t.Parallel()
	t.Run("https to a port of plain HTTP", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		defer server.Close()
		f := fails(t, wireTo(t, parseURL(t, "https"+strings.TrimPrefix(server.URL, "http"))))
		assert.Equal(t, fault.TLS, f.Fault.Kind)
		assert.Equal(t, patience.Never, f.Retry)
		assert.Contains(t, f.Fault.Error(), "expects http, not https; check the port in the address, and configure Vault's listener with TLS")
		assertSafe(t, f)
	})
	t.Run("http to a port of TLS", func(t *testing.T) {
		t.Parallel()
		leaf := vaulttest.NewCertificate(t, nil, certificates{})
		address := parseURL(t, vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, likeVault))
		address.Scheme = "http"
		f := fails(t, wireTo(t, address))
		assert.Equal(t, fault.TLS, f.Fault.Kind)
		assert.Contains(t, f.Fault.Error(), "expects https; use https in the address")
		assertSafe(t, f)
	})
	for name, banner := range map[string]string{"SSH": "SSH-2.0-" + bodyWords + "\r\n", "garbage": strings.Repeat(bodyWords, 100)} {
		t.Run("https to "+name, func(t *testing.T) {
			t.Parallel()
			address := serveConnections(t, func(conn net.Conn) { io.WriteString(conn, banner); io.Copy(io.Discard, conn) })
			address.Scheme = "https"
			f := fails(t, wireTo(t, address))
			assert.Equal(t, fault.TLS, f.Fault.Kind)
			assert.True(t, f.Unsent)
			assert.Contains(t, f.Fault.Error(), "does not speak TLS; check the port in the address")
			assert.Equal(t, "check the port in the address", f.Fault.Fix)
			assertSafe(t, f)
		})
	}
}

// If a handshake is cut off, as by a balancer whose node is down, the request was not
// sent.
func TestBrokenHandshake(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		name    string
		cut     func(net.Conn)
		timeout time.Duration
		text    string
	}{
		{"closed", func(net.Conn) {}, generous, "connection "},
		{"closed after the first words", func(conn net.Conn) { io.ReadFull(conn, make([]byte, 100)) }, generous, "connection "},
		{"reset", func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, generous, "connection reset"},
		{"hangs", func(conn net.Conn) { io.Copy(io.Discard, conn) }, 300 * time.Millisecond, "no answer within 300ms"},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			address := serveConnections(t, server.cut)
			address.Scheme = "https"
			assertUnreachable(t, fails(t, newWire(t, transport.Config{Address: address, Timeout: server.timeout})), server.text)
		})
	}
	// The first connection hangs in its handshake; its place is free again when
	// the attempt has ended.
	t.Run("the place of one that hangs is free again", func(t *testing.T) {
		t.Parallel()
		leaf := vaulttest.NewCertificate(t, nil, certificates{CA: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
		behind := parseURL(t, vaulttest.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, likeVault))
		first := make(chan struct{}, 1)
		first <- struct{}{}
		address := serveConnections(t, func(conn net.Conn) {
			select {
			case <-first:
				io.Copy(io.Discard, conn)
			default:
				forward(conn, behind.Host)
			}
		})
		address.Scheme = "https"
		w := newWire(t, transport.Config{Address: address, TLS: &tls.Config{RootCAs: leaf.Pool()}, Timeout: time.Second, Connections: 1})
		fails(t, w)
		var response *http.Response
		for range 20 { // on a busy machine a timeout may repeat
			if response, _ = send(t, w); response != nil {
				break
			}
		}
		require.NotNil(t, response)
	})
}
