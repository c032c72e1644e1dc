package vaulttest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Kubernetes is a role of a Kubernetes login method, and the API server of the cluster: a
// stub of the one endpoint that Vault uses, TokenReview. It checks the reviewer's token and
// the token to review as kube-apiserver 1.36 does.
//
// Every service account exists until it is deleted. Its name includes the namespace, such
// as "luumen/luumen-patch".
type Kubernetes struct {
	Mount  string // without auth/ before it
	Role   string
	Host   string // of the API server, as a URL
	CACert string // of the authority that issued its certificate, in PEM form
	// Refuse makes the API server say that it does not know the token.
	Refuse atomic.Bool
	// Hang makes the API server answer nothing until the test ends. Vault's own
	// limit is 90 s; a write to the method's config waits for its logins.
	Hang atomic.Bool

	key   *ecdsa.PrivateKey
	ended <-chan struct{} // closed when the test ends

	mu        sync.Mutex
	uids      map[string]string // of recreated accounts; "" of deleted ones
	delegates map[string]bool   // accounts with system:auth-delegator
	podGone   bool
	reviews   []Review
}

// Review is one request to the API server and its answer.
type Review struct {
	User      string   // who asked, such as system:serviceaccount:kube-system:vault-reviewer; "" if the API server does not know
	Audiences []string // spec.audiences
	Status    int      // of the answer
	Error     string   // why the token or the request was refused; "" if it was not
}

const (
	// APIServerAudience is the audience of the API server, and so of a pod's
	// default token.
	APIServerAudience = "https://kubernetes.default.svc.cluster.local"
	// Reviewer is the service account with system:auth-delegator that Vault is
	// configured with.
	Reviewer = "kube-system/vault-reviewer"
	// ServiceAccountUID is what every service account has, until it is recreated.
	ServiceAccountUID = "0f6e8a5e-7d3f-4c5b-9a1e-2b8f0c6d4e11"

	serviceAccount      = "runner"
	kubernetesNamespace = "default"
)

// Kubernetes mounts a Kubernetes login method at a random path and makes a role. The
// settings are those of auth/kubernetes/role/:name, without the pods that it accepts.
func (s *Server) Kubernetes(t testing.TB, settings map[string]any) *Kubernetes {
	t.Helper()
	k := NewKubernetes(t)
	k.Mount, k.Role = s.loginMount(t, "kubernetes"), "patch"
	s.Must(t, "POST", "auth/"+k.Mount+"/config", k.Config(t))
	role := map[string]any{
		"bound_service_account_names": serviceAccount, "bound_service_account_namespaces": kubernetesNamespace,
		"audience": jwtAudience,
	}
	maps.Copy(role, settings)
	s.Must(t, "POST", "auth/"+k.Mount+"/role/"+k.Role, role)
	return k
}

// NewKubernetes makes the API server alone, for a test that mounts the method
// itself.
func NewKubernetes(t testing.TB) *Kubernetes {
	t.Helper()
	k := &Kubernetes{
		key: newKey(t), ended: t.Context().Done(),
		uids: make(map[string]string), delegates: map[string]bool{Reviewer: true},
	}
	authority := NewCertificate(t, nil, CertificateConfig{CommonName: "kubernetes", CA: true})
	leaf := NewCertificate(t, authority, CertificateConfig{CommonName: "kube-apiserver"})
	k.CACert = authority.PEM()
	k.Host = ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, http.HandlerFunc(k.serve))
	return k
}

// Config is the body for auth/kubernetes/config: the API server's address and authority,
// and a reviewer's token. A test of a wrong configuration must write it to a new mount,
// because Vault keeps its connections to the API server when a config changes.
func (k *Kubernetes) Config(t testing.TB) map[string]any {
	t.Helper()
	return map[string]any{
		"kubernetes_host": k.Host, "kubernetes_ca_cert": k.CACert, "disable_local_ca_jwt": true,
		"token_reviewer_jwt": k.SecretToken(t, Reviewer),
	}
}

// Token makes the token that the kubelet projects into a pod of the role's service account,
// with the audience vault, valid for five minutes. The claims are added to its own or
// replace them: {"aud": []string{vaulttest.APIServerAudience}} makes the pod's default
// token.
func (k *Kubernetes) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	return k.TokenOf(t, kubernetesNamespace+"/"+serviceAccount, claims)
}

// TokenOf is Token for a pod of another service account.
func (k *Kubernetes) TokenOf(t testing.TB, account string, claims map[string]any) string {
	t.Helper()
	namespace, name := splitAccount(t, account)
	now := time.Now()
	all := map[string]any{
		"iss": APIServerAudience, "sub": "system:serviceaccount:" + namespace + ":" + name,
		"aud": []string{jwtAudience}, "jti": Name(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      namespace,
			"serviceaccount": map[string]any{"name": name, "uid": k.uid(account)},
			"pod":            map[string]any{"name": name + "-0", "uid": "4a1f7c1e-93d5-4f0b-8f53-6f0a6f5b2c90"},
		},
	}
	maps.Copy(all, claims)
	return signed(t, k.key, all)
}

// SecretToken makes the token of a Secret of type kubernetes.io/service-account-token. It
// does not expire and is for the API server. The one of [Reviewer] may review tokens.
func (k *Kubernetes) SecretToken(t testing.TB, account string) string {
	t.Helper()
	namespace, name := splitAccount(t, account)
	return signed(t, k.key, map[string]any{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:" + namespace + ":" + name,
		"kubernetes.io/serviceaccount/namespace":            namespace,
		"kubernetes.io/serviceaccount/secret.name":          name,
		"kubernetes.io/serviceaccount/service-account.name": name,
		"kubernetes.io/serviceaccount/service-account.uid":  k.uid(account),
	})
}

// Delegate binds the cluster role system:auth-delegator to a service account.
func (k *Kubernetes) Delegate(account string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.delegates[account] = true
}

// Delete deletes a service account. Its tokens are no longer accepted.
func (k *Kubernetes) Delete(account string) { k.setUID(account, "") }

// Recreate deletes a service account and creates it again. Only tokens made afterwards are
// accepted.
func (k *Kubernetes) Recreate(account string) { k.setUID(account, "recreated-"+Name()) }

// DeletePods deletes all pods. Projected tokens are no longer accepted. Tokens of a Secret
// still are, since they belong to no pod.
func (k *Kubernetes) DeletePods() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.podGone = true
}

// Reviews are the requests to the API server, in the order of its answers.
func (k *Kubernetes) Reviews() []Review {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.reviews)
}

// Kubectl writes a program kubectl into a folder for PATH. It knows two commands, which
// print the cluster's ca.crt and the token of the Secret of [Reviewer].
func (k *Kubernetes) Kubectl(t testing.TB, folder string) {
	t.Helper()
	token := k.SecretToken(t, Reviewer)
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in
'get configmap kube-root-ca.crt -n kube-system -o jsonpath={.data.ca\.crt}')
	printf %%s '%s' ;;
'get secret vault-reviewer -n kube-system -o go-template={{base64decode .data.token}}')
	printf %%s '%s' ;;
'get secret vault-reviewer -n kube-system -o jsonpath={.data.token}')
	printf %%s '%s' ;;
*)
	echo "this kubectl does not know: kubectl $*" >&2
	exit 1 ;;
esac
`, k.CACert, token, base64.StdEncoding.EncodeToString([]byte(token)))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "kubectl"), []byte(script), 0o700))
}

func (k *Kubernetes) setUID(account, uid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.uids[account] = uid
}

// uid is the UID of a service account, or "" if it is deleted.
func (k *Kubernetes) uid(account string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	uid, changed := k.uids[account]
	if !changed {
		return ServiceAccountUID
	}
	return uid
}

func splitAccount(t testing.TB, account string) (namespace, name string) {
	t.Helper()
	namespace, name, ok := strings.Cut(account, "/")
	require.True(t, ok, "a service account is named namespace/name, not %q", account)
	return namespace, name
}

// tokenReview is the object of the API server's version authentication.k8s.io/v1.
type tokenReview struct {
	Kind       string         `json:"kind"`
	APIVersion string         `json:"apiVersion"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences,omitempty"`
	} `json:"spec"`
	Status struct {
		Authenticated bool     `json:"authenticated,omitempty"`
		User          userInfo `json:"user"`
		Audiences     []string `json:"audiences,omitempty"`
		Error         string   `json:"error,omitempty"`
	} `json:"status"`
}

type userInfo struct {
	Username string   `json:"username,omitempty"`
	UID      string   `json:"uid,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

func (k *Kubernetes) serve(w http.ResponseWriter, r *http.Request) {
	if k.Hang.Load() {
		select {
		case <-k.ended:
		case <-r.Context().Done():
		}
		return
	}
	// Authentication comes before anything else.
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	asking, err := k.authenticate(bearer, []string{APIServerAudience})
	switch {
	case err != nil:
		k.fail(w, Review{}, http.StatusUnauthorized, "Unauthorized", "Unauthorized", nil)
	case r.Method != "POST" || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews":
		k.fail(w, Review{User: asking.info.Username}, http.StatusNotFound, "NotFound", "the server could not find the requested resource", map[string]any{})
	case !k.mayReview(asking):
		k.fail(w, Review{User: asking.info.Username}, http.StatusForbidden, "Forbidden",
			fmt.Sprintf(`tokenreviews.authentication.k8s.io is forbidden: User %q cannot create resource "tokenreviews" in API group "authentication.k8s.io" at the cluster scope`, asking.info.Username),
			map[string]any{"group": "authentication.k8s.io", "kind": "tokenreviews"})
	default:
		k.review(w, r, asking)
	}
}

func (k *Kubernetes) review(w http.ResponseWriter, r *http.Request, asking *account) {
	var review tokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Spec.Token == "" {
		k.fail(w, Review{User: asking.info.Username}, http.StatusBadRequest, "BadRequest", "token is required for TokenReview in authentication", nil)
		return
	}
	audiences := review.Spec.Audiences
	if len(audiences) == 0 {
		audiences = []string{APIServerAudience}
	}
	reviewed, err := k.authenticate(review.Spec.Token, audiences)
	if err == nil && k.Refuse.Load() {
		err = errInvalidToken
	}
	if err != nil {
		review.Status.Error = err.Error()
	} else {
		review.Status.Authenticated = true
		review.Status.User, review.Status.Audiences = reviewed.info, reviewed.audiences
	}
	review.Kind, review.APIVersion, review.Metadata = "TokenReview", "authentication.k8s.io/v1", map[string]any{}
	k.answer(w, Review{
		User: asking.info.Username, Audiences: review.Spec.Audiences,
		Status: http.StatusCreated, Error: review.Status.Error,
	}, review)
}

func (k *Kubernetes) fail(w http.ResponseWriter, review Review, status int, reason, message string, details map[string]any) {
	failure := map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{},
		"status": "Failure", "message": message, "reason": reason, "code": status,
	}
	if details != nil {
		failure["details"] = details
	}
	review.Status, review.Error = status, message
	k.answer(w, review, failure)
}

func (k *Kubernetes) answer(w http.ResponseWriter, review Review, body any) {
	k.mu.Lock()
	k.reviews = append(k.reviews, review)
	k.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(review.Status)
	json.NewEncoder(w).Encode(body)
}

// account is the owner of an accepted token, with the matching audiences.
type account struct {
	name      string // namespace/name
	info      userInfo
	audiences []string
}

func (k *Kubernetes) mayReview(a *account) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.delegates[a.name]
}

var errInvalidToken = errors.New("invalid bearer token")

// refused is the API server's text for a valid token that it does not accept.
func refused(format string, args ...any) error {
	return fmt.Errorf("[%w, %s]", errInvalidToken, fmt.Sprintf(format, args...))
}

// serviceAccountClaims are the claims of a projected token, and those of a Secret's token.
type serviceAccountClaims struct {
	Audience   audience `json:"aud"`
	Expiry     int64    `json:"exp"`
	NotBefore  int64    `json:"nbf"`
	Kubernetes struct {
		Namespace      string    `json:"namespace"`
		ServiceAccount reference `json:"serviceaccount"`
		Pod            reference `json:"pod"`
	} `json:"kubernetes.io"`
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
	Name      string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

type reference struct{ Name, UID string }

// audience is a string or a list of strings, as in JWTs.
type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// leeway is the tolerance of the API server and Vault for a token's times, in seconds.
const leeway = 60

// authenticate checks a token in the order in which the API server does.
func (k *Kubernetes) authenticate(token string, audiences []string) (*account, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errInvalidToken
	}
	var claims serviceAccountClaims
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return nil, errInvalidToken
	}
	if !k.signed(parts[0]+"."+parts[1], parts[2]) {
		return nil, refused("go-jose/go-jose: error in cryptographic primitive")
	}
	// A Secret's token names no audience: it is for the API server.
	own := claims.Audience
	if len(own) == 0 {
		own = audience{APIServerAudience}
	}
	good := slices.DeleteFunc(slices.Clone(own), func(a string) bool { return !slices.Contains(audiences, a) })
	if len(good) == 0 {
		return nil, refused("token audiences %q is invalid for the target audiences %q", []string(own), audiences)
	}
	now := time.Now().Unix()
	if claims.Expiry != 0 && now-leeway > claims.Expiry {
		return nil, refused("service account token has expired")
	}
	if now+leeway < claims.NotBefore {
		return nil, refused("service account token is not valid yet")
	}
	namespace := cmp.Or(claims.Kubernetes.Namespace, claims.Namespace)
	name := cmp.Or(claims.Kubernetes.ServiceAccount.Name, claims.Name)
	uid := cmp.Or(claims.Kubernetes.ServiceAccount.UID, claims.UID)
	switch exists := k.uid(namespace + "/" + name); exists {
	case "":
		return nil, refused("serviceaccounts %q not found", name)
	case uid:
	default:
		return nil, refused("service account UID (%s) does not match claim (%s)", exists, uid)
	}
	if k.hasNoPod(claims.Kubernetes.Pod) {
		return nil, refused("service account token has been invalidated")
	}
	return &account{
		name: namespace + "/" + name,
		info: userInfo{
			Username: "system:serviceaccount:" + namespace + ":" + name,
			UID:      uid,
			Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		},
		audiences: good,
	}, nil
}

func (k *Kubernetes) hasNoPod(pod reference) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.podGone && pod.Name != ""
}

// signed checks the signature of an ES256 token.
func (k *Kubernetes) signed(text, signature string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || len(raw) != 64 {
		return false
	}
	hash := sha256.Sum256([]byte(text))
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	return ecdsa.Verify(&k.key.PublicKey, hash[:], r, s)
}
