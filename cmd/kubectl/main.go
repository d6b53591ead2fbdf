// Command kubectl is upstream's kubectl, built from its library at the version of
// the API that kubus serves. It is a program of its own because, linked into the
// server, it would cost that 40 MB and 80 ms at each start.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	// Plugins and the kuberc file are read while the command is made, before its flags are.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	util.CheckErr(cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()))
}
