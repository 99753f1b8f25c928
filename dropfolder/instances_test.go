package dropfolder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// intake is a spool that may fail.
type intake struct {
	*spool.Spool
	level spool.Level
	begin error
}

func (s *intake) Pressure() spool.Level { return s.level }

func (s *intake) Begin(in spool.Incoming) (*spool.Writer, error) {
	if s.begin != nil {
		return nil, s.begin
	}
	return s.Spool.Begin(in)
}

// instanceBench is a folder whose files go to a spool.
type instanceBench struct {
	*bench
	spool    *intake
	receipts []spool.Receipt
}

func newInstanceBench(t *testing.T) *instanceBench {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	b := &instanceBench{bench: newBench(t, Options{Codes: InstanceCodes}), spool: &intake{Spool: s}}
	take := NewInstances(InstanceOptions{
		Store: b.spool, Folder: "ct", CallingAETitle: "CT1", CalledAETitle: "GATE", Patience: 10 * time.Minute,
		Accepts: func(class, ts dicom.UID) bool { return dicom.IsStorageSOPClass(class) && ts != "1.2.3.4" },
		Jobs:    func() []spool.JobSpec { return []spool.JobSpec{{Destination: "cloud"}} },
		Stored:  func(r spool.Receipt) { b.receipts = append(b.receipts, r) },
	}).Take
	b.answer = func(f *File) Verdict { return take(t.Context(), f) }
	return b
}

// stored reads back what the spool has of an instance.
func (b *instanceBench) stored(uid string) [][]byte {
	b.t.Helper()
	must(b.t, b.spool.Flush(b.t.Context()))
	instances, err := b.spool.LookupSOP(dicom.UID(uid))
	must(b.t, err)
	var list [][]byte
	for _, in := range instances {
		r, err := b.spool.Open(in.ID)
		must(b.t, err)
		content, err := io.ReadAll(io.NewSectionReader(r, in.HeaderLength, in.Size))
		must(b.t, err)
		must(b.t, r.Close())
		list = append(list, content)
	}
	return list
}

var template = synth.NewTemplate(20_000, 1)

func TestInstancesAreTaken(t *testing.T) {
	b := newInstanceBench(t)
	o := template.Object(1, 1, 1)
	b.write("IMAGES/IM0001", string(o.Part10()))
	bare := template.Object(1, 1, 2)
	b.write("bare", string(bare.Data))
	b.settle()
	b.has()
	for _, want := range []synth.Object{o, bare} {
		got := b.stored(want.SOPInstanceUID)
		if len(got) != 1 || !bytes.Equal(got[0], want.Data) {
			t.Errorf("%d instances of %s, or other bytes", len(got), want.SOPInstanceUID)
		}
	}
	if len(b.receipts) != 2 {
		t.Fatalf("%d receipts", len(b.receipts))
	}
	in := b.receipts[0].Instance
	if in.CallingAETitle != "CT1" || in.CalledAETitle != "GATE" || in.RemoteAddress != "folder ct" {
		t.Errorf("instance %+v", in)
	}
	if n := b.spool.Counts()["cloud"].Pending; n != 2 {
		t.Errorf("%d jobs", n)
	}
	// The same again is a duplicate, other content a version of its own.
	b.write("again", string(o.Part10()))
	b.settle()
	o.Data[len(o.Data)-1]++
	b.write("other", string(o.Part10()))
	b.settle()
	b.has()
	if b.receipts[2].Outcome != spool.Duplicate || b.receipts[3].Outcome != spool.NewVersion || len(b.stored(o.SOPInstanceUID)) != 2 {
		t.Errorf("outcomes %v %v", b.receipts[2].Outcome, b.receipts[3].Outcome)
	}
}

func TestFilesThatAreNoInstances(t *testing.T) {
	o := template.Object(1, 1, 1)
	part10 := func(m dicom.FileMeta, data []byte) string { return string(append(m.Append(nil), data...)) }
	meta := dicom.FileMeta{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: synth.ExplicitVRLittleEndian}
	with := func(change func(m *dicom.FileMeta)) dicom.FileMeta {
		m := meta
		change(&m)
		return m
	}
	for _, tc := range []struct {
		name, file, content, code string
		patience                  bool
	}{
		{"text", "readme.txt", "Dear radiologist,\n", CodeNotDICOM, false},
		{"one byte", "x", "x", CodeNotDICOM, false},
		{"zeros", "x", strings.Repeat("\x00", 100_000), CodeNotDICOM, false},
		{"JPEG", "x.jpg", "\xff\xd8\xff\xe0\x00\x10JFIF\x00" + strings.Repeat("x", 1000), CodeNotDICOM, false},
		{"ZIP", "x.zip", "PK\x03\x04" + strings.Repeat("x", 1000), CodeNotDICOM, false},
		{"DICOMDIR", "DICOMDIR", part10(with(func(m *dicom.FileMeta) { m.SOPClassUID = mediaStorageDirectory }), o.Data), CodeDirectory, false},
		{"DICOMDIR of another name", "x", part10(with(func(m *dicom.FileMeta) { m.SOPClassUID = mediaStorageDirectory }), o.Data), CodeDirectory, false},
		{"no identity", "x", part10(with(func(m *dicom.FileMeta) { m.SOPInstanceUID = "" }), o.Data[:8]), CodeNoIdentity, false},
		{"identity that is none", "x", part10(with(func(m *dicom.FileMeta) { m.SOPInstanceUID = "../../etc\x01" }), o.Data), CodeNoIdentity, false},
		{"SOP class that is not stored", "x", part10(with(func(m *dicom.FileMeta) { m.SOPClassUID = dicom.VerificationSOPClass }), o.Data), CodeRefused, false},
		{"transfer syntax that is refused", "x", part10(with(func(m *dicom.FileMeta) { m.TransferSyntaxUID = "1.2.3.4" }), o.Data), CodeRefused, false},
		{"header only", "x", part10(meta, nil), CodeIncomplete, true},
		{"cut in the header", "x", part10(meta, nil)[:200], CodeMalformed, true},
		{"cut in the data set", "x", part10(meta, o.Data[:len(o.Data)-1]), CodeIncomplete, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newInstanceBench(t)
			b.write(tc.file, tc.content)
			b.settle()
			if tc.patience {
				b.has(tc.file) // its copying may go on
				b.after(10 * time.Minute)
			}
			b.has("rejected/"+tc.file, "rejected/"+tc.file+".reason.txt")
			reason, err := os.ReadFile(b.path("rejected/" + tc.file + ".reason.txt"))
			must(t, err)
			if !strings.Contains(string(reason), "Code: "+tc.code+"\n") {
				t.Errorf("reason is %q", reason)
			}
			content, err := os.ReadFile(b.path("rejected/" + tc.file))
			if err != nil || string(content) != tc.content {
				t.Errorf("the file was changed (%v)", err)
			}
			if len(b.receipts) != 0 {
				t.Error("it was stored")
			}
		})
	}
}

// A copy that stalls for longer than the quiet time is not taken before it has gone on to its end.
func TestStalledCopy(t *testing.T) {
	b := newInstanceBench(t)
	o := template.Object(1, 1, 1)
	file := o.Part10()
	for _, n := range []int{150, 300, 1000, len(file) - 1} {
		b.write("x", string(file[:n]))
		b.settle()
		b.after(time.Minute)
		b.has("x")
	}
	b.write("x", string(file))
	b.settle()
	b.has()
	if got := b.stored(o.SOPInstanceUID); len(got) != 1 || !bytes.Equal(got[0], o.Data) {
		t.Error("not stored as it is")
	}
}

// Delimiters that a writer leaves out do not come later: the file is taken in the end.
func TestMissingDelimiters(t *testing.T) {
	b := newInstanceBench(t)
	o := template.Object(1, 1, 1)
	o.Data = append(o.Data, 0xfc, 0xff, 0xfc, 0xff, 'S', 'Q', 0, 0, 0xff, 0xff, 0xff, 0xff)
	b.write("x", string(o.Part10()))
	b.settle()
	b.has("x")
	b.after(11 * time.Minute)
	b.has()
	if got := b.stored(o.SOPInstanceUID); len(got) != 1 || !bytes.Equal(got[0], o.Data) {
		t.Error("not stored as it is")
	}
}

func TestSpoolThatTakesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		set     func(s *intake)
		trouble string
	}{
		{"pressure", func(s *intake) { s.level = spool.LevelReject }, "nearly full"},
		{"full", func(s *intake) { s.begin = fmt.Errorf("begin: %w", spool.ErrFull) }, "is full"},
		{"index", func(s *intake) { s.begin = spool.ErrUnhealthy }, "storing fails"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newInstanceBench(t)
			tc.set(b.spool)
			o := template.Object(1, 1, 1)
			b.write("x", string(o.Part10()))
			b.settle()
			b.after(time.Hour)
			b.has("x")
			if s := b.Status(); !strings.Contains(s.Trouble, tc.trouble) {
				t.Errorf("status %+v", s)
			}
			b.spool.level, b.spool.begin = spool.LevelNone, nil
			b.after(time.Hour)
			b.has()
			if len(b.receipts) != 1 {
				t.Errorf("%d receipts", len(b.receipts))
			}
		})
	}
}

// Taking a large file takes no more memory than taking a small one.
func TestLargeFileTakesNoMemory(t *testing.T) {
	const size = 200 << 20
	b := newInstanceBench(t)
	data, _, o := synth.Stream(size, 1)
	meta := dicom.FileMeta{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: synth.ExplicitVRLittleEndian}
	f, err := os.Create(b.path("large"))
	must(t, err)
	_, err = io.Copy(f, io.MultiReader(bytes.NewReader(meta.Append(nil)), data))
	must(t, err)
	must(t, f.Close())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.settle()
	runtime.ReadMemStats(&after)
	b.has()
	if n := after.TotalAlloc - before.TotalAlloc; n > size/10 {
		t.Errorf("%d bytes were allocated", n)
	}
}

func BenchmarkInstances(bench *testing.B) {
	const size = 512 << 10
	t := synth.NewTemplate(size, 1)
	for _, workers := range []int{1, 2, 4, 8} {
		bench.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			s, err := spool.Open(b.TempDir(), spool.Options{ReserveBytes: -1, MinFree: -1, MaxWriters: workers})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			o := Options{Name: "b", Folder: b.TempDir(), Workers: workers, Quiet: time.Nanosecond}
			w, err := New(o, NewInstances(InstanceOptions{
				Store: s, Accepts: func(_, _ dicom.UID) bool { return true },
				Jobs: func() []spool.JobSpec { return nil }, Stored: func(spool.Receipt) {},
			}).Take)
			if err != nil {
				b.Fatal(err)
			}
			defer w.hints.reset()
			w.begin()
			object := t.Object(1, 1, 1)
			for i := range b.N {
				t.Fill(&object, 1, 1, i)
				if err := os.WriteFile(filepath.Join(o.Folder, fmt.Sprint(i)), object.Part10(), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(t.Size()))
			b.ResetTimer()
			for w.Status().Taken < int64(b.N) {
				w.pass(context.Background())
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

// Files as DCMTK writes them, in every encoding and without File Meta Information.
func TestFilesOfDCMTK(t *testing.T) {
	dcmconv := peertest.Require(t, "dcmconv")
	b := newInstanceBench(t)
	source := filepath.Join(t.TempDir(), "source.dcm")
	o := template.Object(1, 1, 1)
	must(t, os.WriteFile(source, o.Part10(), 0o644))
	for i, arguments := range [][]string{{"+te"}, {"+ti"}, {"+tb"}, {"+td"}, {"+te", "-F"}, {"+ti", "-F"}, {"+te", "+p", "512", "16"}} {
		name := fmt.Sprintf("f%d", i)
		if out, code := peertest.Run(t, nil, dcmconv, append(arguments, source, b.path(name))...); code != 0 {
			t.Fatalf("dcmconv %v: %s", arguments, out)
		}
		content, err := os.ReadFile(b.path(name))
		must(t, err)
		_, header, err := dicom.ReadFileMeta(bytes.NewReader(content))
		must(t, err)
		before := len(b.receipts)
		b.settle()
		b.has()
		if len(b.receipts) != before+1 {
			t.Fatalf("dcmconv %v: not taken", arguments)
		}
		found := false
		for _, data := range b.stored(o.SOPInstanceUID) {
			found = found || bytes.Equal(data, content[header:])
		}
		if !found {
			t.Errorf("dcmconv %v: no version has the file's bytes", arguments)
		}
	}
}
