package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

// damageHeader spoils the header of a record, which every look at it meets.
func damageHeader(t *testing.T, s *Spool, l segment.Location) {
	t.Helper()
	l.Offset -= l.PayloadOffset() - l.Offset + 1000
	damage(t, s, l)
}

func TestDamagedCopyIsReplaced(t *testing.T) {
	tests := map[string]func(t *testing.T, s *Spool, in *Instance){
		"found by verify": func(t *testing.T, s *Spool, in *Instance) {
			damage(t, s, in.location)
			r, err := s.Verify(t.Context(), nil)
			if err != nil || r.ProblemCount != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			if _, err := s.Open(in.ID); !errors.Is(err, segment.ErrDamaged) {
				t.Errorf("a damaged instance would be delivered: %v", err)
			}
		},
		"found by a read": func(t *testing.T, s *Spool, in *Instance) {
			damageHeader(t, s, in.location)
			if _, err := s.Open(in.ID); !errors.Is(err, segment.ErrDamaged) {
				t.Error(err)
			}
		},
		"found by sending": func(t *testing.T, s *Spool, in *Instance) {
			damage(t, s, in.location)
			r, err := s.Open(in.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			b, err := io.ReadAll(r.Checked())
			if !errors.Is(err, ErrDamaged) || int64(len(b)) >= in.Size {
				t.Errorf("%d of %d bytes, %v", len(b), in.Size, err)
			}
		},
		"given up": func(t *testing.T, s *Spool, in *Instance) {
			if err := s.MarkDamaged(in.ID); err != nil {
				t.Fatal(err)
			}
		},
		"found by its copy": func(t *testing.T, s *Spool, in *Instance) { damageHeader(t, s, in.location) },
		"freed": func(t *testing.T, s *Spool, in *Instance) {
			if err := s.payloads.Free(in.location); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openSpool(t, dir, small())
			tpl := synth.NewTemplate(30_000, 1)
			o := tpl.Object(1, 1, 1)
			mustSend(t, s, tpl.Object(1, 1, 2), to("cloud")...)
			first := mustSend(t, s, o, to("cloud", "pacs", "parked", "gone")...)
			flush(t, s)
			for _, end := range []func(JobKey) Outcome{
				func(k JobKey) Outcome { k.Destination = "pacs"; return Delivered(k, 0) },
				func(k JobKey) Outcome { k.Destination = "parked"; return Park(k, "local-read", "") },
			} {
				outcome := end(JobKey{ID: first.Instance.ID})
				mustClaim(t, s, outcome.Job.Destination, 1)
				if err := s.Complete(outcome); err != nil {
					t.Fatal(err)
				}
			}
			mustClaim(t, s, "gone", 1) // under way while the copy comes
			flush(t, s)
			in, err := s.instance(first.Instance.ID)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, s, in)
			flush(t, s)

			again := mustSend(t, s, o, to("cloud", "pacs", "parked", "new")...)
			if again.Outcome != Restored || again.Instance.ID == first.Instance.ID {
				t.Fatalf("%v", again.Outcome)
			}
			flush(t, s)
			if _, err := s.Instance(first.Instance.ID); !errors.Is(err, ErrNotFound) {
				t.Errorf("the damaged copy: %v", err)
			}
			sameBytes(t, dataSet(t, s, again.Instance.ID), o.Data)
			if r := mustSend(t, s, o); r.Outcome != Duplicate || r.Instance.ID != again.Instance.ID {
				t.Errorf("third: %v", r.Outcome)
			}
			check := func(s *Spool) {
				t.Helper()
				for name, want := range map[string]JobCounts{
					"cloud": {Pending: 2}, "pacs": {Delivered: 1}, "parked": {Pending: 1}, "gone": {Pending: 1}, "new": {Pending: 1},
				} {
					if got := s.Counts()[name]; got != want {
						t.Errorf("%s: %+v, want %+v", name, got, want)
					}
				}
				verifyClean(t, s)
			}
			check(s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openSpool(t, dir, small())
			check(s)
			for _, name := range []string{"cloud", "parked", "gone", "new"} {
				for _, j := range mustClaim(t, s, name, 10) {
					dataSet(t, s, j.Instance.ID)
					if j.Instance.ID == first.Instance.ID {
						t.Errorf("%s: a job of the damaged copy", name)
					}
				}
			}
		})
	}
}

// TestMarkIsTakenBack marks an instance whose record is whole: a read may fail for a while.
func TestMarkIsTakenBack(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	o := synth.NewTemplate(30_000, 1).Object(1, 1, 1)
	r := mustSend(t, s, o, to("cloud")...)
	in := &r.Instance
	for range 2 { // once more changes nothing
		if err := s.noteDamage(in, true); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Instance(in.ID); err != nil || got.Flags&FlagDamaged == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	verifyClean(t, s)
	sameBytes(t, dataSet(t, s, in.ID), o.Data)
	if r := mustSend(t, s, o); r.Outcome != Duplicate {
		t.Error(r.Outcome)
	}
}

// TestSuccessorOfAMissingSegment takes a segment's file away, and has its number given to another one.
func TestSuccessorOfAMissingSegment(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, small())
	tpl := synth.NewTemplate(30_000, 1)
	other, err := s.Begin(incoming(tpl.Object(2, 1, 1))) // has the first segment, which stays
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		mustSend(t, s, tpl.Object(1, 1, i), to("cloud")...)
	}
	other.Abort()
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, segmentsDir, "*.seg"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, small())
	if other, err = s.Begin(incoming(tpl.Object(2, 1, 1))); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if r := mustSend(t, s, tpl.Object(1, 1, i), to("cloud")...); r.Outcome != Restored {
			t.Errorf("%d: %v", i, r.Outcome)
		}
	}
	other.Abort()
	flush(t, s)
	if use, ok := s.ledger.use(2); !ok || use.live != 5 {
		t.Errorf("accounts %+v", use)
	}
	if c := s.Counts()["cloud"]; c != (JobCounts{Pending: 5}) {
		t.Errorf("%+v", c)
	}
	verifyClean(t, s)
	if n := deliverAll(t, s, "cloud"); n != 5 {
		t.Errorf("%d delivered", n)
	}
}

func TestVersionsKeepTheirState(t *testing.T) {
	in := []version{{id: 1, syntax: "1.2"}, {id: 2, evicted: true}, {id: 3, damaged: true}}
	out, err := decodeVersions(appendVersions(nil, in))
	if err != nil || len(out) != 3 || out[0] != in[0] || out[1] != in[1] || out[2] != in[2] {
		t.Errorf("%+v, %v", out, err)
	}
	if v, ok := findContent(in[1:], [32]byte{}, ""); !ok || v.present() {
		t.Errorf("%+v", v)
	}
	if b := appendVersions(nil, in[:2]); !bytes.Equal(b[8:9], []byte{0}) {
		t.Errorf("% x", b[:9])
	}
}

// BenchmarkDuplicate sends an instance again that is stored.
func BenchmarkDuplicate(b *testing.B) {
	s := openSpool(b, b.TempDir(), benchOptions())
	o := synth.NewTemplate(20<<10, 1).Object(1, 1, 1)
	mustSend(b, s, o)
	flush(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if r := mustSend(b, s, o); r.Outcome != Duplicate {
			b.Fatal(r.Outcome)
		}
	}
}
