package deployment

import "k8s.io/apimachinery/pkg/util/validation"

// setName is <deployment>-<hash>, the deployment's name shortened where needed.
func setName(deployment, hash string) string {
	longest := validation.DNS1123SubdomainMaxLength - len("-") - len(hash)
	return deployment[:min(len(deployment), longest)] + "-" + hash
}
