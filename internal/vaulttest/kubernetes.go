package vaulttest

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Kubernetes is a role of a Kubernetes login method whose API server is a stub
// of the one endpoint that Vault asks: TokenReview.
type Kubernetes struct {
	Mount string // without auth/ before it
	Role  string
	Host  string // of the stub, as a URL
	// Refuse makes the API server say that it knows no such token.
	Refuse atomic.Bool
	// Reviews is how often Vault has asked.
	Reviews atomic.Int64

	key *ecdsa.PrivateKey
}

const (
	serviceAccount = "runner"
	// ServiceAccountUID is what the stub says of every service account.
	ServiceAccountUID   = "0f6e8a5e-7d3f-4c5b-9a1e-2b8f0c6d4e11"
	kubernetesNamespace = "default"
)

// Kubernetes mounts a Kubernetes login method at a random path and makes a
// role. The settings are those of auth/kubernetes/role/:name; which pods it
// takes is set already.
func (s *Server) Kubernetes(t testing.TB, settings map[string]any) *Kubernetes {
	t.Helper()
	k := NewKubernetes(t)
	k.Mount, k.Role = s.loginMount(t, "kubernetes"), "patch"
	s.Must(t, "POST", "auth/"+k.Mount+"/config", map[string]any{
		"kubernetes_host": k.Host, "disable_local_ca_jwt": true,
	})
	role := map[string]any{
		"bound_service_account_names": serviceAccount, "bound_service_account_namespaces": kubernetesNamespace,
		"audience": jwtAudience,
	}
	maps.Copy(role, settings)
	s.Must(t, "POST", "auth/"+k.Mount+"/role/"+k.Role, role)
	return k
}

// NewKubernetes makes the stub alone, for a test that mounts the method itself.
func NewKubernetes(t testing.TB) *Kubernetes {
	t.Helper()
	k := &Kubernetes{key: newKey(t)}
	api := httptest.NewServer(http.HandlerFunc(k.review))
	t.Cleanup(api.Close)
	k.Host = api.URL
	return k
}

// Token makes the token of a pod's service account, good for five minutes. The
// claims are added to its own or replace them.
func (k *Kubernetes) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:" + kubernetesNamespace + ":" + serviceAccount,
		"aud": []string{jwtAudience}, "jti": Name(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      kubernetesNamespace,
			"serviceaccount": map[string]any{"name": serviceAccount, "uid": ServiceAccountUID},
		},
	}
	maps.Copy(all, claims)
	return signed(t, k.key, all)
}

// review answers as the API server does for a token that it signed.
func (k *Kubernetes) review(w http.ResponseWriter, r *http.Request) {
	k.Reviews.Add(1)
	var asked struct{ Spec struct{ Token string } }
	var claims struct {
		Subject  string   `json:"sub"`
		Audience []string `json:"aud"`
	}
	if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&asked) != nil {
		http.Error(w, "not a TokenReview", http.StatusNotFound)
		return
	}
	status := map[string]any{"authenticated": false, "error": "invalid bearer token"}
	parts := strings.Split(asked.Spec.Token, ".")
	if payload, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)]); err == nil && json.Unmarshal(payload, &claims) == nil && !k.Refuse.Load() {
		status = map[string]any{
			"authenticated": true, "audiences": claims.Audience,
			"user": map[string]any{"username": claims.Subject, "uid": ServiceAccountUID},
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(map[string]any{"status": status})
}
