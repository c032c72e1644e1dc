package vaulttest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/internal/vaulttest"
)

const reviewer = "system:serviceaccount:kube-system:vault-reviewer"

// Each row is what a real API server and Vault answered, and why. Vault says why only in
// its debug log, so the test looks at the API server.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	server := vaulttest.Shared(t)
	in := func(seconds int64) int64 { return time.Now().Unix() + seconds }
	apiServer := map[string]any{"aud": []string{vaulttest.APIServerAudience}}
	const runner = "default/runner"
	for _, test := range []struct {
		name   string
		setUp  func(k *vaulttest.Kubernetes, config, role map[string]any) // nil for the recipe
		token  func(k *vaulttest.Kubernetes) string                       // nil for that of the recipe
		status int
		says   string           // Vault
		review vaulttest.Review // the API server; zero for one that was not asked
	}{
		{"projected token, reviewer, CA", nil, nil, 200, "",
			vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201}},
		{"default token, role with an audience", nil,
			func(k *vaulttest.Kubernetes) string { return k.Token(t, apiServer) },
			403, "invalid audience (aud) claim: audience claim does not match any expected audience", vaulttest.Review{}},
		{"projected token is its own reviewer",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { delete(config, "token_reviewer_jwt") }, nil,
			403, "permission denied", vaulttest.Review{Status: 401, Error: "Unauthorized"}},
		{"no CA",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { delete(config, "kubernetes_ca_cert") }, nil,
			403, "permission denied", vaulttest.Review{}},
		{"CA of another cluster",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				config["kubernetes_ca_cert"] = vaulttest.NewCertificate(t, nil, vaulttest.CertificateConfig{CA: true}).PEM()
			}, nil, 403, "permission denied", vaulttest.Review{}},
		{"http in place of https",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				config["kubernetes_host"] = strings.Replace(k.Host, "https", "http", 1)
			}, nil, 403, "permission denied", vaulttest.Review{}},
		{"default token is its own reviewer, without the right to",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				delete(config, "token_reviewer_jwt")
				delete(role, "audience")
			},
			func(k *vaulttest.Kubernetes) string { return k.Token(t, apiServer) },
			403, "permission denied", vaulttest.Review{User: "system:serviceaccount:default:runner", Status: 403,
				Error: `tokenreviews.authentication.k8s.io is forbidden: User "system:serviceaccount:default:runner" cannot create resource "tokenreviews" in API group "authentication.k8s.io" at the cluster scope`}},
		{"default token is its own reviewer, with the right to",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				delete(config, "token_reviewer_jwt")
				delete(role, "audience")
				k.Delegate(runner)
			},
			func(k *vaulttest.Kubernetes) string { return k.Token(t, apiServer) },
			200, "", vaulttest.Review{User: "system:serviceaccount:default:runner", Audiences: []string{vaulttest.APIServerAudience}, Status: 201}},
		{"token of two audiences",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { role["audience"] = "nomad" },
			func(k *vaulttest.Kubernetes) string {
				return k.Token(t, map[string]any{"aud": []string{"vault", "nomad"}})
			}, 200, "", vaulttest.Review{User: reviewer, Audiences: []string{"nomad"}, Status: 201}},
		{"other account", nil,
			func(k *vaulttest.Kubernetes) string { return k.TokenOf(t, "default/other", nil) },
			403, "service account name not authorized", vaulttest.Review{}},
		{"other namespace", nil,
			func(k *vaulttest.Kubernetes) string { return k.TokenOf(t, "other/runner", nil) },
			403, "namespace not authorized", vaulttest.Review{}},
		{"expired", nil,
			func(k *vaulttest.Kubernetes) string { return k.Token(t, map[string]any{"exp": in(-200)}) },
			403, "invalid expiration time (exp) claim: token is expired", vaulttest.Review{}},
		{"expired a moment ago", nil,
			func(k *vaulttest.Kubernetes) string { return k.Token(t, map[string]any{"exp": in(-5)}) },
			200, "", vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201}},
		{"not valid yet", nil,
			func(k *vaulttest.Kubernetes) string { return k.Token(t, map[string]any{"nbf": in(200)}) },
			403, "token not yet valid", vaulttest.Review{}},
		{"account deleted",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { k.Delete(runner) },
			func(k *vaulttest.Kubernetes) string {
				return k.Token(t, map[string]any{"kubernetes.io": map[string]any{"namespace": "default",
					"serviceaccount": map[string]any{"name": "runner", "uid": vaulttest.ServiceAccountUID}}})
			}, 403, "permission denied",
			vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201, Error: `[invalid bearer token, serviceaccounts "runner" not found]`}},
		{"account recreated, token made anew",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { k.Recreate(runner) }, nil,
			200, "", vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201}},
		{"pod deleted",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { k.DeletePods() }, nil,
			403, "permission denied",
			vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201, Error: "[invalid bearer token, service account token has been invalidated]"}},
		{"refused",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { k.Refuse.Store(true) }, nil,
			403, "permission denied",
			vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201, Error: "invalid bearer token"}},
		{"reviewer expired",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				config["token_reviewer_jwt"] = k.TokenOf(t, vaulttest.Reviewer, map[string]any{"aud": []string{vaulttest.APIServerAudience}, "exp": in(-200)})
			}, nil, 403, "permission denied", vaulttest.Review{Status: 401, Error: "Unauthorized"}},
		{"reviewer of another audience",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				config["token_reviewer_jwt"] = k.TokenOf(t, vaulttest.Reviewer, nil)
			}, nil, 403, "permission denied", vaulttest.Review{Status: 401, Error: "Unauthorized"}},
		{"reviewer deleted",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { k.Delete(vaulttest.Reviewer) }, nil,
			403, "permission denied", vaulttest.Review{Status: 401, Error: "Unauthorized"}},
		{"reviewer of another cluster",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				config["token_reviewer_jwt"] = vaulttest.NewKubernetes(t).SecretToken(t, vaulttest.Reviewer)
			}, nil, 403, "permission denied", vaulttest.Review{Status: 401, Error: "Unauthorized"}},
		{"reviewer without the right to",
			func(k *vaulttest.Kubernetes, config, role map[string]any) {
				config["token_reviewer_jwt"] = k.SecretToken(t, "kube-system/other")
			}, nil, 403, "permission denied", vaulttest.Review{User: "system:serviceaccount:kube-system:other", Status: 403,
				Error: `tokenreviews.authentication.k8s.io is forbidden: User "system:serviceaccount:kube-system:other" cannot create resource "tokenreviews" in API group "authentication.k8s.io" at the cluster scope`}},
		{"truncated", nil,
			func(k *vaulttest.Kubernetes) string {
				token := k.Token(t, nil)
				return token[:strings.LastIndex(token, ".")]
			},
			403, "permission denied", vaulttest.Review{}},
		{"forged", nil,
			func(k *vaulttest.Kubernetes) string { return vaulttest.NewKubernetes(t).Token(t, nil) },
			403, "permission denied",
			vaulttest.Review{User: reviewer, Audiences: []string{"vault"}, Status: 201, Error: "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]"}},
		{"mount without config",
			func(k *vaulttest.Kubernetes, config, role map[string]any) { clear(config) }, nil,
			500, "could not load backend configuration", vaulttest.Review{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			vaulttest.Unsupported(t)
			t.Parallel()
			k := vaulttest.NewKubernetes(t)
			config := k.Config(t)
			role := map[string]any{"bound_service_account_names": "runner", "bound_service_account_namespaces": "default",
				"audience": "vault", "token_policies": "default"}
			if test.setUp != nil {
				test.setUp(k, config, role)
			}
			mount := "auth/kubernetes-" + vaulttest.Name()
			server.Must(t, "POST", "sys/"+mount, map[string]any{"type": "kubernetes"})
			if len(config) > 0 {
				server.Must(t, "POST", mount+"/config", config)
			}
			server.Must(t, "POST", mount+"/role/patch", role)
			token := ""
			if test.token != nil {
				token = test.token(k)
			} else {
				token = k.Token(t, nil)
			}

			status, answer, err := server.DoAs("", "POST", mount+"/login", map[string]any{"role": "patch", "jwt": token})
			require.NoError(t, err)
			assert.Equal(t, test.status, status)
			assertSays(t, test.says, answer)
			var reviews []vaulttest.Review
			if test.review.Status != 0 {
				reviews = append(reviews, test.review)
			}
			assert.Equal(t, reviews, k.Reviews())
		})
	}

	t.Run("recipe", func(t *testing.T) {
		t.Parallel()
		k := server.Kubernetes(t, map[string]any{"token_policies": "default"})
		login := func(mount, role, token string) (int, map[string]any) {
			status, answer, err := server.DoAs("", "POST", "auth/"+mount+"/login", map[string]any{"role": role, "jwt": token})
			require.NoError(t, err)
			return status, answer
		}
		token := k.Token(t, nil)
		status, _ := login(k.Mount, strings.ToUpper(k.Role), token)
		assert.Equal(t, 200, status, "role names ignore case")
		status, answer := login(k.Mount, "nobody", token)
		assert.Equal(t, 400, status)
		assertSays(t, `invalid role name "nobody"`, answer)
		status, answer = login("kubernetes-nowhere", k.Role, token)
		assert.Equal(t, 403, status)
		assertSays(t, "permission denied", answer)

		k.Recreate("default/runner")
		status, answer = login(k.Mount, k.Role, token)
		assert.Equal(t, 403, status)
		assertSays(t, "permission denied", answer)
		reviews := k.Reviews()
		assert.Regexp(t, `^\[invalid bearer token, service account UID \(.+\) does not match claim \(.+\)\]$`, reviews[len(reviews)-1].Error)
		status, _ = login(k.Mount, k.Role, k.Token(t, nil))
		assert.Equal(t, 200, status, "a token of the new account")
	})
}

// Vault itself rejects expired tokens and tokens with another audience, so these go to the
// API server directly.
func TestTokenReview(t *testing.T) {
	t.Parallel()
	k := vaulttest.NewKubernetes(t)
	secret := k.SecretToken(t, vaulttest.Reviewer)
	for _, test := range []struct {
		name   string
		bearer string
		spec   string
		status int
		answer string // a part
	}{
		{"other audience", secret, `{"token":"` + k.Token(t, nil) + `","audiences":["nomad"]}`, 201,
			`"status":{"user":{},"error":"[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"nomad\"]]"}`},
		{"no audience is the API server's", secret, `{"token":"` + k.Token(t, nil) + `"}`, 201,
			`"error":"[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"https://kubernetes.default.svc.cluster.local\"]]"`},
		{"one of two", secret, `{"token":"` + k.Token(t, nil) + `","audiences":["nomad","vault"]}`, 201,
			`"status":{"authenticated":true,"user":{"username":"system:serviceaccount:default:runner","uid":"` + vaulttest.ServiceAccountUID + `",` +
				`"groups":["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]},"audiences":["vault"]}`},
		{"secret token", secret, `{"token":"` + k.SecretToken(t, "luumen/other") + `"}`, 201, `"authenticated":true`},
		{"expired", secret, `{"token":"` + k.Token(t, map[string]any{"exp": time.Now().Unix() - 200}) + `","audiences":["vault"]}`, 201,
			`"status":{"user":{},"error":"[invalid bearer token, service account token has expired]"}`},
		{"not valid yet", secret, `{"token":"` + k.Token(t, map[string]any{"nbf": time.Now().Unix() + 200}) + `","audiences":["vault"]}`, 201,
			`"status":{"user":{},"error":"[invalid bearer token, service account token is not valid yet]"}`},
		{"no token at all", secret, `{"token":"nonsense"}`, 201, `"status":{"user":{},"error":"invalid bearer token"}`},
		{"nobody", "", `{"token":"x"}`, 401,
			`{"apiVersion":"v1","code":401,"kind":"Status","message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}`},
		{"no right", k.SecretToken(t, "luumen/other"), `{"token":"x"}`, 403, `"reason":"Forbidden"`},
	} {
		status, answer := post(t, k, test.bearer, `{"spec":`+test.spec+`}`)
		assert.Equal(t, test.status, status, test.name)
		assert.Contains(t, answer, test.answer, test.name)
	}
}

func TestKubernetesHangs(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	k := server.Kubernetes(t, map[string]any{"token_policies": "default"})
	k.Hang.Store(true)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	body := strings.NewReader(`{"role":"` + k.Role + `","jwt":"` + k.Token(t, nil) + `"}`)
	request, err := http.NewRequestWithContext(ctx, "POST", server.Address+"/v1/auth/"+k.Mount+"/login", body)
	require.NoError(t, err)
	_, err = http.DefaultClient.Do(request)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	status, _, err := server.Do("GET", "sys/health", nil)
	require.NoError(t, err)
	assert.Equal(t, 200, status, "Vault itself is well")

	k.Hang.Store(false)
	server.Must(t, "POST", "auth/"+k.Mount+"/login", map[string]any{"role": k.Role, "jwt": k.Token(t, nil)})
}

func TestKubectl(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t, vaulttest.Config{})
	k := vaulttest.NewKubernetes(t)
	folder := t.TempDir()
	program, err := vaulttest.Find()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(program, filepath.Join(folder, "vault")))
	k.Kubectl(t, folder)
	run := func(script string) (string, error) {
		shell := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
		shell.Dir = folder
		shell.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH"), "HOME=" + folder,
			"VAULT_ADDR=" + server.Address, "VAULT_TOKEN=" + server.Token, "KUBERNETES_API=" + k.Host}
		output, err := shell.CombinedOutput()
		return string(output), err
	}
	output, err := run(`
vault auth enable kubernetes
kubectl get configmap kube-root-ca.crt -n kube-system -o 'jsonpath={.data.ca\.crt}' > ca.crt
kubectl get secret vault-reviewer -n kube-system -o 'go-template={{base64decode .data.token}}' |
  vault write auth/kubernetes/config kubernetes_host="$KUBERNETES_API" kubernetes_ca_cert=@ca.crt disable_local_ca_jwt=true token_reviewer_jwt=-
vault write auth/kubernetes/role/luumen-patch token_policies=default bound_service_account_names=luumen-patch bound_service_account_namespaces=luumen audience=vault`)
	require.NoError(t, err, output)
	server.Must(t, "POST", "auth/kubernetes/login", map[string]any{"role": "luumen-patch", "jwt": k.TokenOf(t, "luumen/luumen-patch", nil)})

	for _, other := range []string{"get secret vault-reviewer -n default -o 'go-template={{base64decode .data.token}}'", "apply -f x", ""} {
		output, err := run("kubectl " + other)
		require.Error(t, err, other)
		assert.Contains(t, output, "does not know", other)
	}
}

func assertSays(t *testing.T, want string, answer map[string]any) {
	t.Helper()
	if want == "" {
		assert.NotEmpty(t, vaulttest.Text(answer, "auth", "client_token"))
		return
	}
	errors, _ := answer["errors"].([]any)
	if assert.Len(t, errors, 1) {
		assert.Contains(t, errors[0], want)
	}
}

func post(t *testing.T, k *vaulttest.Kubernetes, bearer, body string) (status int, answer string) {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(k.CACert)))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	request, err := http.NewRequestWithContext(t.Context(), "POST", k.Host+"/apis/authentication.k8s.io/v1/tokenreviews", strings.NewReader(body))
	require.NoError(t, err)
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}
