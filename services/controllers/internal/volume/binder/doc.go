// Package binder finds or makes a persistent volume for each claim, and reclaims volumes
// whose claims are gone.
//
// A claim:
//
//	              a volume refers to it or fits
//	 Pending ─────────────────────────────────────▶ Bound ──▶ Lost: the volume is gone,
//	  │  ▲                                                    or has another claim
//	  │  └─ the volume is there; or provisioning failed, and the scheduler chooses again
//	  ▼
//	provisioned: its class has a provisioner and, where it waits for its first consumer,
//	the scheduler has selected a node
//
// A volume:
//
//	           claim                     the claim is gone            Retain: stays
//	Available ───────▶ Bound ─────────────────────────▶ Released ────▶ Delete: removed, then gone
//	    ▲ claim bound elsewhere │                          │ cannot be removed
//	    └───────────────────────┘                          ▼
//	                                                     Failed, tried again
//
// Semantics, annotations, events and their words are those of upstream's
// PersistentVolumeController. Volumes of class local are made and removed by the
// agents of their nodes, asked over the bus (package local); all other provisioners are
// external: their claims are only marked for them. Recycling is refused.
package binder
