package web

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// archive serves the stored instances of a study in one ZIP archive, which is made as it is sent: nothing is compressed or
// held, and sizes beyond 4 GB are in the form of ZIP64 (APPNOTE 4.5.3). Each instance is compared with its checksum on the
// way; if one is wrong, or the index fails, the archive ends without its directory, which no reader takes for complete.
func (x *exchange) archive(of *spool.Instance) {
	h := x.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="study.zip"`)
	h.Set("Accept-Ranges", "none")
	if x.r.Method == http.MethodHead {
		return
	}
	out := zip.NewWriter(x.w)
	for in, err := range x.o.Index.Latest(x.r.Context(), of.StudyInstanceUID, "") {
		if err == nil {
			err = x.add(out, &in)
		}
		if err != nil {
			x.w.err = err
			return
		}
		x.count++
	}
	if err := out.Close(); err != nil {
		x.w.err = err
	}
}

// add sends one instance.
func (x *exchange) add(out *zip.Writer, in *spool.Instance) error {
	r, err := x.o.Index.Open(in.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	entry, err := out.CreateHeader(&zip.FileHeader{
		Name: fileName(in.SeriesInstanceUID) + "/" + fileName(in.SOPInstanceUID) + ".dcm", Method: zip.Store, Modified: in.Received,
	})
	if err != nil {
		return err
	}
	header := io.NewSectionReader(r, 0, r.HeaderLength())
	_, err = io.CopyBuffer(struct{ io.Writer }{entry}, io.MultiReader(header, r.Checked()), make([]byte, 128<<10))
	return err
}

// fileName is a UID, or a hash of one that is not as PS3.5 9.1 wants it: it comes from the network.
func fileName(uid dicom.UID) string {
	if uid.Valid() == nil {
		return string(uid)
	}
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:16])
}
