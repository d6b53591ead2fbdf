package command

import (
	"k8s.io/client-go/tools/clientcmd"

	"kubus.dev/cmd/kubus/internal/instance"
)

// ofCluster is how the cluster is reached that a command asks about: by the kubeconfig that was
// named, or else as the cluster in dataDir, or else as the user's own kubeconfig says. own is the
// cluster in dataDir where it is that one, else nil.
func ofCluster(kubeconfig, dataDir string) (client clientcmd.ClientConfig, own *instance.Instance, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	dir, err := absolute(dataDir)
	if err != nil {
		return nil, nil, err
	}
	switch i, err := instance.Load(dir); {
	case kubeconfig != "":
		rules.ExplicitPath = kubeconfig
	case err == nil && i != nil:
		rules.ExplicitPath, own = i.AdminConfig(), i
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}), own, nil
}
