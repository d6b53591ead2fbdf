// Package folder makes and removes the folders that persistent volumes of class local
// are, when the volume binder asks for it over the bus.
//
// Start with Store and Serve. A volume NAME is DIR/NAME, with its size in the file size
// and what pods see in the folder data:
//
//	Make: (nothing) ──▶ size written ──▶ data made        again: grows, or nothing
//	Remove: data and size ──▶ DIR/NAME gone               again: nothing
//
// Promises: both may be asked for again and end the same; nothing outside DIR is ever
// made or removed, no link is followed and nothing that is mounted is entered; a volume is refused when the
// file system could not hold what was promised, or has not so much free. Sizes are
// promises, not quotas: the kernel does not hold a folder to them.
package folder
