package chain

import (
	"strings"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// BusUser is the user that a name on the bus stands for, with the groups that
// the name implies in Kubernetes.
func BusUser(name string) user.Info {
	groups := []string{user.AllAuthenticated}
	if namespace, _, err := serviceaccount.SplitUsername(name); err == nil {
		groups = append(serviceaccount.MakeGroupNames(namespace), user.AllAuthenticated)
	} else if strings.HasPrefix(name, "system:node:") {
		groups = []string{user.NodesGroup, user.AllAuthenticated}
	} else if name == AdminUser {
		groups = []string{user.SystemPrivilegedGroup, user.AllAuthenticated}
	}
	return &user.DefaultInfo{Name: name, Groups: groups}
}

// AdminUser is the gateway itself and the operator's command inside its process;
// no credential of the bus may speak as it.
const AdminUser = "system:apiserver"
