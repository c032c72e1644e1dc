package ref_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/luumen/patch-vault/ref"
)

func TestWarning(t *testing.T) {
	t.Parallel()
	const (
		unmarked  = "looks like a reference without vault:"
		quoted    = "looks like a reference in quotes"
		inside    = "looks like a reference after other text"
		space     = "looks like a reference with a space in or before vault:"
		invisible = "looks like a reference with a control or invisible character in or before vault:"
		wide      = "looks like a reference with a full-width character in or before vault:"
		misuse    = "begins with literal:, which is sent as part of the literal"
		product   = "looks like a reference for "
	)
	for _, test := range []struct{ name, field, want string }{
		{"no mark", "secret/a/b#key", unmarked},
		{"no mark, and a version", "secret/a/b?version=3#key", unmarked},
		{"no mark, and a version after the key", "secret/a/b#key#3", unmarked},
		{"no mark, and digits as the key", "secret/a/b#3", unmarked},
		{"no mark, and escapes", "secret/a%23b#key", unmarked},
		{"no mark, and a line feed", "secret/a/b#key\n", unmarked},
		{"no colon", "vaultsecret/a#key", unmarked},
		{"a slash for the colon", "vault/secret/a#key", unmarked},
		{"a semicolon for the colon", "vault;secret/a#key", unmarked},
		{"a semicolon and a space for the colon", "vault; secret/a#key", unmarked},
		{"a space for the colon", "vault secret/a#key", unmarked},
		{"two spaces for the colon, and a capital", "Vault  secret/a/b#key", unmarked},
		{"a tab for the colon", "vault\tsecret/a#key", unmarked},
		{"a comma and a space for the colon", "vault, secret/a#key", unmarked},
		{"a hyphen and a space for the colon", "vault- secret/a#key", unmarked},
		{"a password that begins with vault", "vault 7#x/y z", ""},
		{"a passphrase with a slash and a #", "my horse/battery #1", ""},
		{"a misspelled mark", "valut:secret/a#key", unmarked},
		{"a mark of another name", "hcv:secret/a#key", unmarked},
		{"a Cyrillic letter in the mark", "vаult:secret/a#key", unmarked},
		{"an accent in the mark", "vau\u0301lt:secret/a#key", unmarked},
		{"a Roman numeral in the mark", "vauⅼt:secret/a#key", unmarked},
		{"a digit in the mark", "vau1t:secret/a#key", unmarked},
		{"a version in the mark", "vault2:secret/a#key", unmarked},
		{"an engine in the mark", "vault+kv:secret/a#key", unmarked},
		{"a word in the mark", "Vault-ref:secret/a#key", unmarked},
		{"parentheses for the colon", "vault(secret/a/b#key)", unmarked},
		{"braces for the colon", "Vault{secret/a/b#key}", unmarked},
		{"brackets for the colon", "vault[secret/a/b#key]", unmarked},
		{"a comma for the colon", "vault,secret/a/b#key", unmarked},
		{"a pipe for the colon", "vault|secret/a/b#key", unmarked},
		{"a backslash before the colon", `vault\:secret/a#key`, unmarked},
		{"a Windows user with a #", `DOMAIN\user#1`, ""},
		{"a share of Windows", `\\server\share\a#key`, ""},

		{"a space before the colon", "vault :secret/a#key", space},
		{"a space before the colon, without a key", "Vault : secret/a", space},
		{"a no-break space before the colon", "vault\u00a0:secret/a#key", space},
		{"a full-width colon", "vault：secret/a#key", wide},
		{"a full-width colon, without a key", "vault：secret/a", wide},
		{"a full-width letter and a space", "ｖault :secret/a", wide},
		{"a small colon", "vault﹕secret/a", wide},
		{"a ratio sign", "vault∶secret/a", wide},
		{"a modifier letter colon", "vault꞉secret/a", wide},
		{"a modifier letter triangular colon", "vaultːsecret/a", wide},
		{"full-width letters", "ｖａｕｌｔ:secret/a", wide},
		{"full-width capitals", "ＶＡＵＬＴ：secret/a", wide},
		{"a NUL before the mark", "\x00vault:secret/a#key", invisible},
		{"a bell before the mark", "\avault:secret/a", invisible},
		{"an escape before the mark", " \x1bVault:secret/a", invisible},
		{"a DEL before the mark", "\x7fvault:", invisible},
		{"a C1 control before the mark", "\u009fvault:secret/a", invisible},
		{"a swapped BOM before the mark", "\ufffevault:secret/a", invisible},
		{"a private-use character before the mark", "\ue000vault:secret/a", invisible},
		{"a NUL in the mark", "va\x00ult:secret/a", invisible},
		{"a zero-width space in the mark", "vault\u200b:secret/a", invisible},
		{"a variation selector in the mark", "vault\ufe0f:secret/a", invisible},

		{"a member name before the mark", "password: vault:secret/a#key", inside},
		{"a YAML dash before the mark", "- vault:secret/a#key", inside},
		{"a Bank-Vaults mutation", ">>vault:secret/a#key#3", inside},
		{"a broken BOM before the mark", "ï»¿vault:secret/a#key", inside},
		{"a replacement character before the mark", "\ufffdvault:secret/a#key", inside},

		{"literal: before a password", "literal:hunter2", misuse},
		{"literal: twice before a password", "literal:literal:hunter2", misuse},
		{"LITERAL: before a password", "LITERAL:hunter2", misuse},
		{"a space in literal:", "literal :vault:secret/a#key", inside},
		{"a space in literal: before a mark", "literal:vault :secret/a#key", misuse},
		{"a full-width colon in literal:", "literal：vault:secret/a#key", inside},

		{"vals", "ref+vault://secret/a#/key", product + "vals"},
		{"vals for AWS", "ref+awssecrets://a/key", product + "vals"},
		{"vals in Helm", "secretref+vault://secret/a#/key", product + "vals"},
		{"Bank-Vaults", "${vault:secret/data/a#key}", product + "Bank-Vaults or Spring"},
		{"Jenkins configuration as code", "${secret/a/key}", product + "a template"},
		{"GitHub Actions", "${{ secrets.KEY }}", product + "a template"},
		{"a Jinja template", `{{ lookup("hashi_vault", "secret/a") }}`, product + "a template"},
		{"a consul-template", `{{ with secret "secret/a" }}{{ .Data.key }}{{ end }}`, product + "a template"},
		{"CloudFormation", "{{resolve:secretsmanager:a:SecretString:key}}", product + "a template"},
		{"Grafana", "$__vault{kv:secret/a:key}", product + "Grafana"},
		{"Grafana's file", "$__file{/run/secrets/a}", product + "Grafana"},
		{"Concourse", "((vault:secret/a.key))", product + "Concourse"},
		{"Argo CD", "<path:secret/data/a#key>", product + "Argo CD"},
		{"Kong", "{vault://hcv/a/key}", product + "Kong"},
		{"Ansible Vault", "$ANSIBLE_VAULT;1.1;AES256\n6130", product + "Ansible"},
		{"an Ansible tag", "!vault |\n  $ANSIBLE_VAULT;1.1;AES256", product + "Ansible"},
		{"an Ansible lookup", "lookup('community.hashi_vault.vault_kv2_get', 'a')", product + "Ansible"},
		{"Jenkins", "credentials('a')", product + "Jenkins"},
		{"AWS Secrets Manager", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf", product + "AWS"},
		{"AWS Parameter Store in China", "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/a", product + "AWS"},
		{"Azure", "@Microsoft.KeyVault(SecretUri=https://a.vault.azure.net/secrets/key)", product + "Azure"},
		{"an Azure identifier", "https://a.vault.azure.net/secrets/key", product + "Azure"},
		{"Google Cloud", "sm://project/a", product + "Google Cloud"},
		{"a Google Cloud name", "projects/1/secrets/a/versions/latest", product + "Google Cloud"},
		{"Conjur", "!var prod/a/key", product + "Conjur"},
		{"1Password", "op://vault/item/field", product + "1Password"},
		{"Keeper", "keeper://uid/field/password", product + "Keeper"},
		{"Octopus Deploy", "#{Vault.Password}", product + "a template"},
		{"Azure Pipelines", "$(vaultPassword)", product + "a template"},
		{"Azure Pipelines' tokens", "__VaultPassword__", product + "a template"},
		{"Puppet", "<%= @password %>", product + "a template"},
		{"confd", "[[ .Password ]]", product + "a template"},
		{"Vault's command", "vault kv get -field=password secret/a", product + "Vault's command line"},
		{"Vault's command for KV v1", "vault read -field=password secret/a", product + "Vault's command line"},
		{"Vault's command in a shell", "$(vault kv get -field=password secret/a)", product + "a template"},
		{"a path for Vault's command", `-mount="secret" "luumen/windev"`, product + "Vault's command line"},
		{"a path of Vault's API", "/v1/secret/data/a", product + "Vault's API"},
		{"a URL of Vault's API", "https://vault.example:8200/v1/secret/data/a", product + "Vault's API"},
		{"a URL of Vault's web pages", "https://vault.example:8200/ui/vault/secrets/secret/kv/a", product + "Vault's web pages"},
		{"Go CDK", "hashivault://a", product + "another product"},
		{"another product, with spaces around", " ((a))\n", product + "Concourse"},

		{"double quotes", `"vault:secret/a#key"`, quoted},
		{"single quotes and a capital", " 'Vault:secret/a' ", quoted},
		{"backquotes", "`vault:secret/a`", quoted},
		{"typographic quotes", "“vault:secret/a”", quoted},
		{"German quotes", "„vault:secret/a“", quoted},
		{"the object form in single quotes", `{'path': 'secret/a', 'key': 'key'}`, quoted},
		{"the object form of YAML", `{path: secret/a, key: key}`, quoted},
		{"the object form in other letters", `{"Path":"secret/a","Key":"key"}`, quoted},
		{"the object form as text", `{"path":"secret/a","key":"key"}`, quoted},

		{"an escaped literal", "literal:vault:secret/a#key", ""},
		{"an escaped literal with a space", "literal: vault:secret/a#key", ""},
		{"an escaped literal in another case", "literal:VAULT:secret/a#key", ""},
		{"an escaped escape", "literal:literal:vault:secret/a#key", ""},
		{"a passphrase", "correct horse battery staple", ""},
		{"a password with a slash and a #", "k9/&x#p", ""},
		{"a password with a #", "abc#def", ""},
		{"a password with a colon, a slash and a #", "a1:b/c d#e", ""},
		{"a password with control characters", "s3cr\x00t\a", ""},
		{"a password of full-width letters", "ｐａｓｓ：word", ""},
		{"the word vault", "vault", ""},
		{"the word vault and a number", "vault;2024", ""},
		{"the word vault and a percent sign", "vault%3A", ""},
		{"the word vault and symbols", "vault2:#1/a b", ""},
		{"a passphrase about a vault", "vault of the bank: 7", ""},
		{"a passphrase with a mark", "my vault: open", ""},
		{"a passphrase about literals", "literally: yes", ""},
		{"a path alone", "secret/a/b", ""},
		{"a path that a reference cannot have", "auth/token/lookup-self#id", ""},
		{"a Windows user", `DOMAIN\administrator`, ""},
		{"a mail address", "admin@example.com", ""},
		{"a URL", "https://vault.example/ui#key", ""},
		{"another URL", "https://api.example/v1/hosts", ""},
		{"a password in braces", "{pathfinder}", ""},
		{"the word vault and parentheses", "vault(7#x)", ""},
		{"half a form", "((a)", ""},
		{"the other half", "a))", ""},
		{"a form inside", "x{{a}}y", ""},
		{"ref+ and no URL", "ref+1", ""},
		{"an ARN of another service", "arn:aws:iam::123456789012:user/a", ""},
		{"base64", "q83vEjRWeJCrze8SNFZ4kA==", ""},
		{"a bcrypt hash", "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", ""},
		{"a Vault token", "hvs.CAESIJ", ""},
		{"a private key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n", ""},
		{"a reference", "vault:secret/a#key", ""},
		{"an invalid field", "Vault:secret/a#key", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			warning := ref.Parse(test.field).Warning()
			if test.want == "" {
				assert.Empty(t, warning)
				return
			}
			assert.Contains(t, warning, test.want)
			assert.Contains(t, warning, "vault:", "it says what to write")
			assert.NotContains(t, warning, test.field)
		})
	}
	assert.Empty(t, ref.Value{}.Warning())
}

// What was printed or marshaled in place of a field's JSON would be sent to a host as its
// password.
func TestWarningOfAMask(t *testing.T) {
	t.Parallel()
	field := ref.Parse("hunter2")
	marshaled, err := json.Marshal(field)
	require.NoError(t, err)
	for _, text := range []string{field.String(), string(marshaled), "********", "••••••••", "●●●"} {
		assert.Contains(t, ref.Parse(text).Warning(), "is the mask of a credential, but is used as a literal; enter the credential again", text)
	}
	assert.Empty(t, ref.Parse(field.String()+"1").Warning())
	assert.Empty(t, ref.Parse("***hunter2***").Warning())
	assert.Empty(t, ref.Parse("").Warning())
}

// A whole reference in the place of its path is a path by the grammar, but hardly by intention.
func TestWarningOfAReferenceAsAPath(t *testing.T) {
	t.Parallel()
	for _, field := range []string{`{"path":"vault:secret/a#key","key":"key"}`, `{"path":"vault:secret/a","key":"key"}`, `"vault:vault:secret/a#key"`} {
		var value ref.Value
		require.NoError(t, json.Unmarshal([]byte(field), &value))
		require.NoError(t, value.Err())
		assert.Equal(t, "has vault: in its path; write the mount and the path below it, such as secret/luumen/windev", value.Warning(), field)
	}
	assert.Empty(t, ref.Parse("vault:vault/secret#key").Warning())
	assert.Equal(t, "has a colon at the beginning of its path; write the mount and the path below it, such as secret/luumen/windev", ref.Parse("vault::secret/a#key").Warning())
}

// Whoever follows a warning of a reference without its mark gets a reference without a
// warning.
func TestWarningOfAnUnmarkedReference(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ field, more string }{
		{"secret/luumen/windev#password", ""},
		{"/secret/luumen/windev#password", ", and write one / between segments, none at the ends"},
		{"secret/luumen/windev#password#4", ", and a version goes before the #, as in"},
		{"valut:secret/luumen/windev#password#4", ", and a version goes before the #, as in"},
		{">>vault:secret/luumen/windev#password#4", ", and a version goes before the #, as in"},
	} {
		warning := ref.Parse(test.field).Warning()
		assert.Contains(t, warning, "begin the field with vault:"+test.more, test.field)
		assert.NotContains(t, warning, "literal:", test.field)
	}
	for _, followed := range []string{"vault:secret/luumen/windev#password", "vault:secret/luumen/windev?version=4#password"} {
		assert.NoError(t, ref.Parse(followed).Err())
		assert.Empty(t, ref.Parse(followed).Warning())
	}
}

// TestFewFalseAlarms bounds the warnings for random passwords.
func TestFewFalseAlarms(t *testing.T) {
	t.Parallel()
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	const printable = alphanumeric + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for _, test := range []struct {
		name, alphabet string
		most           int // of 100,000 passwords
	}{
		{"printable ASCII", printable, 30},
		{"base64", alphanumeric + "+/=", 0},
		{"letters, digits and common symbols", alphanumeric + "!@#$%^&*-_=+?", 0},
	} {
		random := rand.New(rand.NewPCG(1, 2)) // the same passwords in every run
		warnings := 0
		for range 100_000 {
			password := make([]byte, 8+random.IntN(13))
			for i := range password {
				password[i] = test.alphabet[random.IntN(len(test.alphabet))]
			}
			if ref.Parse(string(password)).Warning() != "" {
				warnings++
			}
		}
		assert.LessOrEqual(t, warnings, test.most, test.name)
	}
}
