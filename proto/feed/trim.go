package feed

import "kubus.dev/proto/skim"

// withoutManagedFields leaves out of an object what only the API itself reads, often a
// third of it. A writer that sends none changes none.
func withoutManagedFields(data []byte) []byte {
	const key = `"managedFields":`
	value := skim.Lookup(data, "metadata", "managedFields")
	if value == nil {
		return data
	}
	end := cap(data) - cap(value) + len(value) // value is a part of data
	begin := end - len(value) - len(key)
	if begin < 1 || end >= len(data) || string(data[begin:begin+len(key)]) != key {
		return data
	}
	switch {
	case data[begin-1] == ',':
		begin--
	case data[end] == ',':
		end++
	}
	out := make([]byte, 0, len(data)-(end-begin))
	return append(append(out, data[:begin]...), data[end:]...)
}
