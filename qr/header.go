package qr

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// Bounds of looking into stored instances.
const (
	maxHeaders          = 20_000   // of one query
	headerBlock         = 64 << 10 // bytes; the header of most instances is shorter
	maxHeaderAttributes = 4096     // of what is wanted of a header, items' included
)

// stored returns an attribute that the index does not hold, from the data set of the instance itself; nil if it is not
// there. The elements that a query wants are read together, once for an entity.
func (e *entity) stored(tag dicom.Tag) *Attribute {
	if !e.looked {
		e.looked = true
		e.header = wanted(e.search.readHeader(e.in), e.search.look)
	}
	i := slices.IndexFunc(e.header, func(a Attribute) bool { return a.Tag == tag })
	if i < 0 {
		return nil
	}
	return &e.header[i]
}

// readHeader reads what of a stored data set is in front of its pixel data. An instance that is gone meanwhile, damaged or not
// to be understood has nothing.
func (s *search) readHeader(in *spool.Instance) []dicom.DataElement {
	if s.err != nil {
		return nil
	}
	if s.headers >= s.maxHeaders && s.answering {
		s.short = true
		return nil
	}
	if s.headers++; s.headers > s.maxHeaders {
		s.err = &refusal{status: dimse.StatusOutOfResources, comment: fmt.Sprintf("looks into more than %d instances; narrow the query", s.maxHeaders)}
		return nil
	}
	r, err := s.index.Open(in.ID)
	switch {
	case errors.Is(err, spool.ErrNotFound), errors.Is(err, spool.ErrEvicted), errors.Is(err, spool.ErrDamaged):
		return nil
	case err != nil:
		s.err = err
		return nil
	}
	defer r.Close()
	var elements []dicom.DataElement
	for _, limit := range [...]int64{headerBlock, dicom.MaxHeader} {
		data, rerr := io.ReadAll(io.NewSectionReader(r.DataSet(), 0, limit))
		if rerr != nil {
			return nil
		}
		if elements, err = dicom.ParseElements(data, in.TransferSyntaxUID); err == nil || int64(len(data)) < limit {
			break
		}
	}
	return elements
}

// wanted reads the elements of these tags; what is not within the bounds of an identifier is left out.
func wanted(elements []dicom.DataElement, tags []dicom.Tag) (out []Attribute) {
	r := identifierReader{left: maxHeaderAttributes}
	var charset []dicom.DataElement
	for i := range elements {
		switch e := elements[i]; {
		case e.Tag == dicom.TagSpecificCharacterSet:
			charset = elements[i : i+1]
		case slices.Contains(tags, e.Tag):
			if as, err := r.attributes(append(slices.Clip(charset), e), ""); err == nil {
				out = append(out, as...)
			}
		}
	}
	return out
}
