package statelog

import "github.com/klauspost/compress/s2"

const (
	// worthPacking is how large an object is to be packed, at least.
	worthPacking = 128
	// mostPoor is how many objects that are not like the model there may be until one of
	// them is the model: they follow what is there, and models are few.
	mostPoor = 256
)

// packer packs the objects of a collection by one of them, which the others are like:
// most of a pod stands in the next one word for word. Not safe for concurrent use.
type packer struct {
	encode  *s2.Dict
	decode  *s2.Dict // the same without what only the encoder needs
	poor    int
	scratch []byte
}

// pack makes the entry small, before anybody else sees it. What comes of it is the same.
func (p *packer) pack(e *Entry) {
	if e.model != nil || len(e.data) < worthPacking {
		return
	}
	if p.encode == nil || p.poor > mostPoor {
		model := append([]byte(nil), e.data[:min(len(e.data), s2.MaxDictSize)]...)
		p.encode, p.decode, p.poor = s2.MakeDict(model, nil), s2.MakeDict(model, nil), 0
		if p.encode == nil {
			return
		}
	}
	if most := s2.MaxEncodedLen(len(e.data)); cap(p.scratch) < most && most <= s2.MaxDictSize {
		p.scratch = make([]byte, most)
	}
	packed := p.encode.Encode(p.scratch[:cap(p.scratch)], e.data)
	if 2*len(packed) > len(e.data) {
		p.poor++
	}
	if len(packed) < len(e.data)/4*3 {
		e.model, e.length, e.data = p.decode, int32(len(e.data)), append(make([]byte, 0, len(packed)), packed...)
	}
}

// unpacked is the object's JSON without resourceVersion: the entry's own, or a copy.
func (e *Entry) unpacked() []byte {
	if e.model == nil {
		return e.data
	}
	data, err := e.model.Decode(make([]byte, 0, e.length), e.data)
	if err != nil {
		panic("statelog: " + e.key.String() + " was packed and is not to be unpacked: " + err.Error())
	}
	return data
}

// len is how long the object's JSON is.
func (e *Entry) len() int {
	if e.model == nil {
		return len(e.data)
	}
	return int(e.length)
}
