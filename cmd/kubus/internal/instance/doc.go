// Package instance is one cluster on this machine: its data directory, the
// choices made when it was first started, and the names derived from them.
//
//	DATA/version           layout version of the directory
//	DATA/instance.json     the choices (Instance)
//	DATA/lock              held by the process that serves from the directory
//	DATA/admin.kubeconfig  the operator's way in
//	DATA/pki/              keys and certificates (package pki)
//	DATA/store/            the state log
//	DATA/agent/            the node's pods, images and logs
//	DATA/config/           configuration of the services that run as processes
//	DATA/run/              the keeper's records; DATA/log/ what the processes print
//
// Everything under DATA is readable by its owner alone.
package instance
