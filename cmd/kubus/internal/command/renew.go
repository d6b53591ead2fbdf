package command

import (
	"bytes"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/kubeconfig"
	"kubus.dev/cmd/kubus/internal/pki"
)

// renew renews the administrator's certificate when half of its life is over, in the
// instance and in the kubeconfig files that still name the cluster. What a user took out
// of a file stays out.
func renew(i *instance.Instance, now time.Time) error {
	renewed, err := pki.RenewAdmin(i.Path("pki"), now)
	if err != nil || !renewed {
		return err
	}
	own, err := entry(i, "kubus")
	if err != nil {
		return err
	}
	if _, err := kubeconfig.Merge(i.AdminConfig(), own, -1, -1); err != nil {
		return err
	}
	own.Name = i.Context
	for _, file := range i.Kubeconfigs {
		_, ca, err := kubeconfig.Server(file, i.Context)
		if err != nil || !bytes.Equal(ca, own.CA) {
			continue // it is the user's: one that is gone or another's is none of ours
		}
		if _, err := kubeconfig.Merge(file, own, -1, -1); err != nil {
			return err
		}
	}
	return nil
}
