package volume

// Annotations of claims and volumes, upstream's.
const (
	// BindCompleted on a claim: its binding is done; what is missing afterwards is lost.
	BindCompleted = "pv.kubernetes.io/bind-completed"
	// BoundByController on either: not the user chose the other side.
	BoundByController = "pv.kubernetes.io/bound-by-controller"
	// SelectedNode on a claim: the scheduler put its first consumer there; provision for it.
	SelectedNode = "volume.kubernetes.io/selected-node"
	// ProvisionedBy on a volume names who made it, and so who removes it.
	ProvisionedBy = "pv.kubernetes.io/provisioned-by"
	// StorageProvisioner and its older form on a claim name who is to make a volume for it.
	StorageProvisioner     = "volume.kubernetes.io/storage-provisioner"
	BetaStorageProvisioner = "volume.beta.kubernetes.io/storage-provisioner"
	// StorageResizer on a claim names who is to make its volume larger.
	StorageResizer = "volume.kubernetes.io/storage-resizer"
)

// Finalizers, upstream's. Admission sets the first two on creation.
const (
	ClaimProtection   = "kubernetes.io/pvc-protection"
	VolumeProtection  = "kubernetes.io/pv-protection"
	ClassProtection   = "kubernetes.io/vac-protection"
	RemovalProtection = "kubernetes.io/pv-controller" // what the volume stands for is to be removed first
)

// NoProvisioner is the provisioner of classes whose volumes people make.
const NoProvisioner = "kubernetes.io/no-provisioner"

// The class that is there from the start, and its provisioner: a folder on the node of
// the first consumer, made and removed by the node's agent (message.VolumeRequest).
const (
	LocalClass       = "local"
	LocalProvisioner = "kubus.dev/local"
)
