// Package launch turns a pod's spec into what the runtime is asked to run: the
// sandbox, and for each container its environment, mounts, user, resources.
//
// Start with Sandbox and Environment.Container. Everything here is a function
// of its arguments, except that Environment asks for ConfigMaps, Secrets and
// Services. Errors carry kubelet's words, since users read them in the status
// of a container (CreateContainerConfigError).
package launch
