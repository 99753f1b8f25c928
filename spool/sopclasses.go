package spool

import (
	"encoding/binary"
	"slices"

	"dcmgate/dicom"
)

// maxSOPClasses bounds the SOP classes that the record of a study lists. A study of one patient has a handful.
const maxSOPClasses = 64

// sopClassCount is how many stored instances of a study a SOP class has.
type sopClassCount struct {
	uid dicom.UID
	n   uint64
}

// sopClassCounts are those of a study: counted, so that a class is gone when its last instance is.
type sopClassCounts []sopClassCount

func (c sopClassCounts) index(uid dicom.UID) int {
	return slices.IndexFunc(c, func(have sopClassCount) bool { return have.uid == uid })
}

// add counts n instances. Classes beyond the bound are not listed.
func (c *sopClassCounts) add(uid dicom.UID, n uint64) {
	if i := c.index(uid); i >= 0 {
		(*c)[i].n += n
	} else if uid != "" && len(*c) < maxSOPClasses {
		*c = append(*c, sopClassCount{uid, n})
	}
}

// remove takes an instance out.
func (c *sopClassCounts) remove(uid dicom.UID) {
	i := c.index(uid)
	if i < 0 {
		return
	}
	if (*c)[i].n = dec((*c)[i].n); (*c)[i].n == 0 {
		*c = slices.Delete(*c, i, i+1)
	}
}

// uids lists the classes in the order of their UIDs.
func (c sopClassCounts) uids() []dicom.UID {
	uids := make([]dicom.UID, 0, len(c))
	for _, have := range c {
		uids = append(uids, have.uid)
	}
	slices.Sort(uids)
	return uids
}

// append encodes: uvarint classes, each s UID and uvarint instances.
func (c sopClassCounts) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(c)))
	for _, have := range c {
		b = binary.AppendUvarint(appendString(b, have.uid), have.n)
	}
	return b
}

// sopClasses takes the counts that end the record of a study; formats before 3 had none.
func (d *decoder) sopClasses() (c sopClassCounts) {
	if len(d.b) == 0 {
		return nil
	}
	for range d.count(2) {
		c = append(c, sopClassCount{uid: dicom.UID(d.str()), n: d.uvarint()})
	}
	return c
}
