package controllers

import "time"

func volumes() []*Sequence {
	volume := func(name, spec string) Action {
		return Create("persistentvolumes", "{apiVersion: v1, kind: PersistentVolume, metadata: {name: SELF-"+name+"}, spec: {storageClassName: SELF-c, accessModes: [ReadWriteOnce], hostPath: {path: /nowhere}, "+spec+"}}")
	}
	class := func(rest string) Action {
		return Create("storageclasses", "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: SELF-c}, provisioner: kubernetes.io/no-provisioner"+rest+"}")
	}
	pod := Create("pods", `
apiVersion: v1
kind: Pod
metadata: {name: user}
spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: x}], volumes: [{name: v, persistentVolumeClaim: {claimName: a}}]}
`)
	all := []*Sequence{
		story("volume", "volbind", do("a claim without a volume", class(""), Create("persistentvolumeclaims", claim("a", "SELF-c", "2Gi"))), do("too small", volume("v1", "capacity: {storage: 1Gi}")),
			do("larger than needed", volume("v2", "capacity: {storage: 10Gi}")), do("another claim", Create("persistentvolumeclaims", claim("b", "SELF-c", "1Gi"))),
			do("the claim goes", Delete("persistentvolumeclaims", "a", "")), do("the volume is freed", Patch("persistentvolumes", "SELF-v2", "spec: {claimRef: null}")),
			do("the volume goes", Delete("persistentvolumes", "SELF-v2", ""))),
		story("volume", "volnamed", do("for a claim by name", volume("v1", "capacity: {storage: 1Gi}, claimRef: {namespace: SELF, name: a}")), do("another claim", Create("persistentvolumeclaims", claim("b", "SELF-c", "1Gi"))),
			do("the claim", Create("persistentvolumeclaims", claim("a", "SELF-c", "1Gi"))), do("the volume goes first", Delete("persistentvolumes", "SELF-v1", ""))),
		story("volume", "volclaimnames", do("a claim names a volume", Create("persistentvolumeclaims", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a}, spec: {volumeName: SELF-v1, storageClassName: SELF-c, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}")),
			do("the volume", volume("v1", "capacity: {storage: 2Gi}")), do("the volume is for another", Patch("persistentvolumes", "SELF-v1", "spec: {claimRef: {name: x, namespace: SELF, uid: null}}"))),
		story("volume", "volwait", nodes(1), do("first consumer", class(", volumeBindingMode: WaitForFirstConsumer"), volume("v1", "capacity: {storage: 2Gi}"), Create("persistentvolumeclaims", claim("a", "SELF-c", "1Gi")))),
		story("volume", "volprotect", nodes(1), do("bound", volume("v1", "capacity: {storage: 2Gi}"), Create("persistentvolumeclaims", claim("a", "SELF-c", "1Gi"))), do("used", pod),
			do("deleted while used", Delete("persistentvolumeclaims", "a", "")), do("the user goes", Delete("pods", "user", ""))),
		story("volume", "volreclaim", do("delete", volume("v1", "capacity: {storage: 1Gi}, persistentVolumeReclaimPolicy: Delete"), Create("persistentvolumeclaims", claim("a", "SELF-c", "1Gi"))), do("released", Delete("persistentvolumeclaims", "a", "")),
			do("retain", Patch("persistentvolumes", "SELF-v1", "spec: {persistentVolumeReclaimPolicy: Retain}"))),
		story("volume", "volnone", do("no class", Create("persistentvolumeclaims", claim("a", `""`, "1Gi"))), do("no such class", Create("persistentvolumeclaims", claim("b", "SELF-none", "1Gi"))),
			do("a lost volume", Create("persistentvolumeclaims", claim("c", "SELF-c", "1Gi")), volume("v1", "capacity: {storage: 1Gi}")),
			do("lost", Delete("persistentvolumes", "SELF-v1", ""), Patch("persistentvolumes", "SELF-v1", "metadata: {finalizers: null}"))),
		story("volume", "volexpand", do("a class that grows", class(", allowVolumeExpansion: true"), volume("v1", "capacity: {storage: 1Gi}")), do("a claim", Create("persistentvolumeclaims", claim("a", "SELF-c", "1Gi"))),
			do("larger", Patch("persistentvolumeclaims", "a", "spec: {resources: {requests: {storage: 2Gi}}}"))),
		story("volume", "volprovision", do("a provisioner elsewhere", Create("storageclasses", "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: SELF-c}, provisioner: example.com/x}"), Create("persistentvolumeclaims", claim("a", "SELF-c", "1Gi"))),
			do("deleted", Delete("persistentvolumeclaims", "a", ""))),
		story("volume", "volephemeral", nodes(1), do("a pod with a claim of its own", Create("pods", `
apiVersion: v1
kind: Pod
metadata: {name: user}
spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: x}], volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {storageClassName: SELF-c, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}
`)), do("it goes", Delete("pods", "user", ""))),
	}
	for _, s := range all {
		for i := range s.Steps { // upstream looks every 15 s
			s.Steps[i].Patience = 20 * time.Second
		}
	}
	return all
}
