package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/transfer"
)

// modalityClasses are the storage SOP classes that instances of a modality (0008,0060) usually have, the most frequent modalities
// first.
var modalityClasses = []struct {
	modality string
	classes  []dicom.UID
}{
	{"CT", []dicom.UID{dicom.CTImageStorage, dicom.EnhancedCTImageStorage}},
	{"MR", []dicom.UID{dicom.MRImageStorage, dicom.EnhancedMRImageStorage, "1.2.840.10008.5.1.4.1.1.4.3"}},
	{"DX", []dicom.UID{dicom.DigitalXRayImageStorage, "1.2.840.10008.5.1.4.1.1.1.1.1"}},
	{"CR", []dicom.UID{dicom.ComputedRadiographyImageStorage}},
	{"US", []dicom.UID{dicom.UltrasoundImageStorage, dicom.UltrasoundMultiframeImageStorage}},
	{"OT", []dicom.UID{dicom.SecondaryCaptureImageStorage, "1.2.840.10008.5.1.4.1.1.7.4", "1.2.840.10008.5.1.4.1.1.7.2"}},
	{"SR", []dicom.UID{dicom.BasicTextSRStorage, "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.67"}},
	{"PR", []dicom.UID{dicom.GrayscaleSoftcopyPresentationState}},
	{"KO", []dicom.UID{"1.2.840.10008.5.1.4.1.1.88.59"}},
	{"MG", []dicom.UID{dicom.DigitalMammographyXRayImageStorage, "1.2.840.10008.5.1.4.1.1.1.2.1", "1.2.840.10008.5.1.4.1.1.13.1.3"}},
	{"XA", []dicom.UID{dicom.XRayAngiographicImageStorage}},
	{"RF", []dicom.UID{"1.2.840.10008.5.1.4.1.1.12.2"}},
	{"NM", []dicom.UID{dicom.NuclearMedicineImageStorage}},
	{"PT", []dicom.UID{dicom.PositronEmissionTomographyImageStorage, "1.2.840.10008.5.1.4.1.1.130"}},
	{"DOC", []dicom.UID{dicom.EncapsulatedPDFStorage}},
	{"SEG", []dicom.UID{"1.2.840.10008.5.1.4.1.1.66.4"}},
	{"ECG", []dicom.UID{"1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.9.1.2"}},
	{"ES", []dicom.UID{"1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.1.1"}},
	{"XC", []dicom.UID{"1.2.840.10008.5.1.4.1.1.77.1.4"}},
	{"OP", []dicom.UID{"1.2.840.10008.5.1.4.1.1.77.1.5.1"}},
	{"OPT", []dicom.UID{"1.2.840.10008.5.1.4.1.1.77.1.5.4"}},
	{"IO", []dicom.UID{"1.2.840.10008.5.1.4.1.1.1.3"}},
	{"RTIMAGE", []dicom.UID{"1.2.840.10008.5.1.4.1.1.481.1"}},
	{"RTDOSE", []dicom.UID{"1.2.840.10008.5.1.4.1.1.481.2"}},
	{"RTSTRUCT", []dicom.UID{"1.2.840.10008.5.1.4.1.1.481.3"}},
	{"RTPLAN", []dicom.UID{"1.2.840.10008.5.1.4.1.1.481.5"}},
}

// classesOf are the SOP classes of a modality; nil if it is not known.
func classesOf(modality string) []dicom.UID {
	for _, m := range modalityClasses {
		if strings.EqualFold(m.modality, strings.TrimSpace(modality)) {
			return m.classes
		}
	}
	return nil
}

// usualSyntaxes are proposed for each SOP class, those first that a peer is most likely to store or to convert to.
var usualSyntaxes = []dicom.UID{
	dicom.ExplicitVRLittleEndian, dicom.ImplicitVRLittleEndian, dicom.JPEGLosslessSV1, dicom.JPEG2000Lossless, dicom.JPEGBaseline,
	dicom.JPEG2000, dicom.JPEGLSLossless, dicom.RLELossless, dicom.JPEGExtended, dicom.JPEGLSNearLossless, dicom.JPEGLossless,
	dicom.HTJ2KLossless, dicom.DeflatedExplicitVRLittleEndian, dicom.ExplicitVRBigEndian, dicom.MPEG4HighProfile41,
}

// storageContexts are what an association has room for beside the context of C-GET.
const storageContexts = transfer.MaxContexts - 1

// checkProposal checks the flags that say what is proposed.
func (o *getOptions) checkProposal() error {
	for _, uid := range slices.Concat(o.classes, o.syntaxes) {
		if err := dicom.UID(uid).Valid(); err != nil {
			return fmt.Errorf("%q is not a UID: %w", uid, err)
		}
	}
	if n := len(o.classes); n > storageContexts {
		return fmt.Errorf("%d SOP classes: %d are room for", n, storageContexts)
	}
	for _, m := range o.modalities {
		if classesOf(m) == nil {
			return fmt.Errorf("--modality %s: not known here; give its SOP classes by --sop-class", m)
		}
	}
	return nil
}

func (o *getOptions) transferSyntaxes() []dicom.UID {
	if len(o.syntaxes) == 0 {
		return usualSyntaxes
	}
	return uids(o.syntaxes)
}

func uids(texts []string) (list []dicom.UID) {
	for _, t := range texts {
		list = append(list, dicom.UID(t))
	}
	return list
}

// storageClasses are the SOP classes to propose: those that are asked for or that the peer has told, and if it had to tell,
// those that are usual.
func (o *getOptions) storageClasses(ctx context.Context, stderr io.Writer, id *qr.Identifier) (sure, likely []dicom.UID, err error) {
	sure = uids(o.classes)
	for _, m := range o.modalities {
		sure = append(sure, classesOf(m)...)
	}
	if len(sure) > 0 {
		return sure, nil, nil
	}
	sure, err = o.enquire(ctx, id)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(stderr, "dcmgate: the peer does not tell what the studies hold (%v); common SOP classes are proposed\n", err)
	}
	for _, m := range modalityClasses {
		likely = append(likely, m.classes...)
	}
	return sure, likely, nil
}

// enquire asks by C-FIND which SOP classes, or at least which modalities, the studies have.
func (o *getOptions) enquire(ctx context.Context, id *qr.Identifier) (classes []dicom.UID, err error) {
	model := findModels[o.model]
	a, err := o.dial(ctx, []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(model), TransferSyntaxes: identifierSyntaxes}}, 1)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	studies := enquiry(id, qr.LevelStudy, "SOPClassesInStudy", "ModalitiesInStudy")
	told := true
	err = o.matches(ctx, a, model, studies, func(match *qr.Identifier) {
		found := valuesOf(match, "SOPClassesInStudy")
		classes = append(classes, uids(found)...)
		for _, m := range valuesOf(match, "ModalitiesInStudy") {
			found = append(found, m)
			classes = append(classes, classesOf(m)...)
		}
		told = told && len(found) > 0
	})
	if err == nil && !told && len(valuesOf(id, "StudyInstanceUID")) == 1 && o.model != "patient-study" {
		err = o.matches(ctx, a, model, enquiry(id, qr.LevelSeries, "Modality"), func(match *qr.Identifier) {
			for _, m := range valuesOf(match, "Modality") {
				classes = append(classes, classesOf(m)...)
			}
		})
	}
	if err == nil {
		_ = a.Release(ctx) // what was asked for has come
	}
	return classes, err
}

// enquiry is an identifier with the keys of another above a level, and attributes to be returned.
func enquiry(id *qr.Identifier, level qr.Level, wanted ...string) *qr.Identifier {
	e := &qr.Identifier{CharacterSet: id.CharacterSet}
	setKey(e, dicom.TagQueryRetrieveLevel, level.String())
	for _, tag := range []dicom.Tag{dicom.TagPatientID, dicom.TagStudyInstanceUID} {
		a := id.Find(tag)
		if a == nil {
			a = &qr.Attribute{Tag: tag, VR: dicom.TagVR(tag)}
		}
		if tag == dicom.TagStudyInstanceUID || len(a.Values) > 0 {
			e.Attributes = append(e.Attributes, *a)
		}
	}
	for _, name := range wanted {
		tag, _ := dicom.TagByKeyword(name)
		setKey(e, tag, "")
	}
	return e
}

// valuesOf are those of an attribute, without what is empty.
func valuesOf(id *qr.Identifier, keyword string) []string {
	tag, _ := dicom.TagByKeyword(keyword)
	a := id.Find(tag)
	if a == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(a.Values), func(v string) bool { return strings.TrimSpace(v) == "" })
}

// maxEnquired bounds the answers that are looked at.
const maxEnquired = 1000

// matches sends a query and gives its answers to a function.
func (o *getOptions) matches(ctx context.Context, a *dimse.Association, model dicom.UID, id *qr.Identifier, each func(*qr.Identifier)) error {
	contextID, ok := a.Accepted(model, "")
	if !ok {
		return fmt.Errorf("%w for queries", dimse.ErrNoContext)
	}
	ts := syntaxOf(a, contextID)
	data, err := id.Encode(ts)
	if err != nil {
		return err
	}
	pending, err := a.Do(ctx, contextID, dimse.Command{CommandField: dimse.CFindRQ, AffectedSOPClassUID: model}, bytes.NewReader(data))
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		r, err := pending.Next(ctx)
		switch {
		case err != nil:
			return err
		case r.Status.Ok():
			return nil
		case r.Status.Class() != dimse.ClassPending:
			return errors.New(refusalText(o.address, r))
		case n == maxEnquired:
			return fmt.Errorf("more than %d studies", maxEnquired)
		}
		if match, err := qr.ParseIdentifier(r.Data, ts, ""); err == nil {
			each(match)
		}
	}
}

// storageProposal are presentation contexts for SOP classes and transfer syntaxes: each pair has a context of its own, so that
// the peer can accept them all and send each instance as it is stored. All are proposed with the role of SCP (PS3.7 D.3.3.4).
// There is room for storageContexts: first for the SOP classes that are sure, then for those that are likely, of either for
// each in the first transfer syntax before the second.
func storageProposal(sure, likely, syntaxes []dicom.UID) (contexts []pdu.PresentationContext, roles []pdu.RoleSelection) {
	known := map[transfer.Pair]bool{}
	taking := map[dicom.UID]bool{}
	for _, classes := range [][]dicom.UID{sure, likely} {
		for i := range len(syntaxes) * len(classes) {
			pair := transfer.Pair{SOPClassUID: classes[i%len(classes)], TransferSyntaxUID: syntaxes[i/len(classes)]}
			if known[pair] || len(contexts) == storageContexts {
				continue
			}
			known[pair] = true
			contexts = append(contexts, pdu.PresentationContext{
				ID: byte(2*len(contexts) + 3), AbstractSyntax: string(pair.SOPClassUID), TransferSyntaxes: []string{string(pair.TransferSyntaxUID)},
			})
			if !taking[pair.SOPClassUID] {
				taking[pair.SOPClassUID] = true
				roles = append(roles, pdu.RoleSelection{SOPClassUID: string(pair.SOPClassUID), SCP: true})
			}
		}
	}
	return contexts, roles
}
