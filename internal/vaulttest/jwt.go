package vaulttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// JWT is a role of a JWT login method that trusts its own key.
type JWT struct {
	Mount string // without auth/ before it
	Role  string

	key *ecdsa.PrivateKey
}

// jwtAudience is the audience of a token of [JWT.Token].
const jwtAudience = "vault"

// JWT mounts a JWT login method at a random path and makes a role. The settings are those
// of auth/jwt/role/:name, without what accepts the tokens.
func (s *Server) JWT(t testing.TB, settings map[string]any) *JWT {
	t.Helper()
	j := NewJWT(t)
	j.Mount, j.Role = s.loginMount(t, "jwt"), "patch"
	s.Must(t, "POST", "auth/"+j.Mount+"/config", map[string]any{
		"jwt_validation_pubkeys": []string{j.PublicKey(t)},
	})
	role := map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{jwtAudience}}
	maps.Copy(role, settings)
	s.Must(t, "POST", "auth/"+j.Mount+"/role/"+j.Role, role)
	return j
}

// NewJWT makes the key alone, for a test that mounts the method itself.
func NewJWT(t testing.TB) *JWT {
	t.Helper()
	return &JWT{key: newKey(t)}
}

// PublicKey is the key that the method must trust, in PEM form.
func (j *JWT) PublicKey(t testing.TB) string {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(&j.key.PublicKey)
	require.NoError(t, err)
	return inPEM("PUBLIC KEY", public)
}

// Token makes a token that the role accepts, valid for five minutes. The claims are added
// to its own or replace them, such as {"exp": …}.
func (j *JWT) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{
		"iss": "vaulttest", "sub": "agent", "aud": []string{jwtAudience}, "jti": Name(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(all, claims)
	return signed(t, j.key, all)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// signed makes an ES256 token.
func signed(t testing.TB, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	text := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(payload)
	hash := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	require.NoError(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature)
}
