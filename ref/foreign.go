package ref

import "strings"

// foreignForms lists how other products write a reference to a secret. A form begins
// with words and punctuation that nobody chooses as a password, or fixes at least
// three punctuation characters at the ends of the text, which fewer than one in
// 500,000 random passwords match.
var foreignForms = []struct{ prefix, inside, suffix, product string }{
	{"ref+", "://", "", "vals"}, // ref+vault://, ref+awssecrets://
	{"secretref+", "://", "", "vals"},
	{"${vault:", "", "}", "Bank-Vaults or Spring"},
	{"${", "", "}", "a template"},  // Jenkins, Spring, Terraform, GitHub Actions
	{"{{", "", "}}", "a template"}, // Ansible, consul-template, External Secrets, CloudFormation
	{"((", "", "))", "Concourse"},
	{"#{", "", "}", "a template"},  // Octopus Deploy
	{"$(", "", ")", "a template"},  // Azure Pipelines, a shell
	{"<%", "", "%>", "a template"}, // Puppet, Chef
	{"[[", "", "]]", "a template"},
	{"__", "", "__", "a template"}, // Azure Pipelines
	{"vault kv get ", "", "", "Vault's command line"},
	{"vault read ", "", "", "Vault's command line"},
	{"-mount=", "", "", "Vault's command line"}, // as Vault's web pages show a path
	{"/v1/", "/", "", "Vault's API"},            // likewise
	{"http", "/v1/secret/", "", "Vault's API"},
	{"http", "/ui/vault/secrets/", "", "Vault's web pages"},
	{"$__", "{", "}", "Grafana"}, // $__vault{, $__file{
	{"<path:", "", ">", "Argo CD"},
	{"{vault://", "", "}", "Kong"},
	{"$ANSIBLE_VAULT;", "", "", "Ansible"},
	{"!vault ", "", "", "Ansible"},
	{"lookup(", "", ")", "Ansible"},
	{"credentials(", "", ")", "Jenkins"},
	{"arn:aws", ":secretsmanager:", "", "AWS"}, // arn:aws:, arn:aws-cn:, arn:aws-us-gov:
	{"arn:aws", ":ssm:", "", "AWS"},
	{"@Microsoft.KeyVault(", "", ")", "Azure"},
	{"https://", ".vault.azure.net/", "", "Azure"},
	{"sm://", "", "", "Google Cloud"},
	{"projects/", "/secrets/", "", "Google Cloud"},
	{"!var ", "/", "", "Conjur"},
	{"op://", "", "", "1Password"},
	{"keeper://", "", "", "Keeper"},
	{"hashivault://", "", "", "another product"},
}

// foreignProduct returns the product whose form text matches, or "".
func foreignProduct(text string) string {
	for _, form := range foreignForms {
		rest, ok := strings.CutPrefix(text, form.prefix)
		if ok && strings.Contains(rest, form.inside) && strings.HasSuffix(rest, form.suffix) {
			return form.product
		}
	}
	return ""
}
