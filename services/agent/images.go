package agent

import "kubus.dev/services/agent/internal/control"

// Image is an image of a node.
type Image = control.Image

// Images commands the images of a node of this machine through its agent, which must run.
func Images(runDir string) *control.Client { return control.NewClient(control.Socket(runDir)) }
