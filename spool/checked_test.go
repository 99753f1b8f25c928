package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/iotest"

	"dcmgate/internal/synth"
	"dcmgate/spool/segment"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestCheckedReadsWhatWasCommitted(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	for i, size := range []int{700, 20_000, checkedChunk, 1_000_000} {
		o := synth.NewTemplate(size, uint64(i)).Object(1, 1, 1)
		r, err := s.Open(mustSend(t, s, o).Instance.ID)
		if err != nil {
			t.Fatal(err)
		}
		for name, read := range map[string]func(io.Reader) io.Reader{
			"at once":        func(r io.Reader) io.Reader { return r },
			"byte by byte":   iotest.OneByteReader,
			"in large parts": func(r io.Reader) io.Reader { return io.MultiReader(r) },
		} {
			if b, err := io.ReadAll(read(r.Checked())); err != nil || !bytes.Equal(b, o.Data) {
				t.Errorf("%d bytes %s: %d bytes, %v", len(o.Data), name, len(b), err)
			}
		}
		for _, known := range []bool{true, false} { // a checksum, or only the digest as of dcmgate 0.1
			r.in.checksum.known = known
			exact := make([]byte, len(o.Data)) // as whoever knows the length reads
			if _, err := io.ReadFull(r.Checked(), exact); err != nil || !bytes.Equal(exact, o.Data) {
				t.Errorf("%d bytes, checksum known %v: %v", len(o.Data), known, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCheckedHoldsBackWhatIsDamaged reads damaged instances as a sender does: exactly as many bytes as there are.
func TestCheckedHoldsBackWhatIsDamaged(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	for i, size := range []int{5000, 20_000, 1_000_000} {
		o := synth.NewTemplate(size, uint64(i)).Object(1, 1, 1)
		id := mustSend(t, s, o, to("cloud")...).Instance.ID
		flush(t, s)
		in, err := s.instance(id)
		if err != nil {
			t.Fatal(err)
		}
		damage(t, s, in.location)
		for _, chunk := range []int{1, 1000, 1 << 20} {
			in.checksum.known = chunk != 1000 // else by the digest
			r, err := s.openInstance(in)      // as it was opened before the damage was known
			if err != nil {
				t.Fatal(err)
			}
			got, total, c := make([]byte, chunk), int64(0), r.Checked()
			for err == nil {
				var n int
				n, err = c.Read(got[:min(int64(chunk), in.Size-total)])
				total += int64(n)
			}
			if !errors.Is(err, ErrDamaged) || total >= in.Size {
				t.Errorf("%d of %d bytes, %v", total, in.Size, err)
			}
			if _, again := c.Read(got); again != err {
				t.Errorf("then %v", again)
			}
			r.Close()
		}
		flush(t, s)
		if now, err := s.Instance(id); err != nil || now.Flags&FlagDamaged == 0 {
			t.Errorf("not marked: %+v, %v", now.Flags, err)
		}
		if n := testutil.ToFloat64(s.metrics.damaged); n != float64(i+1) {
			t.Errorf("%v counted", n)
		}
	}
}

// TestAnUnreadableHeaderIsNoDamage has the disk fail to read a record's header once.
func TestAnUnreadableHeaderIsNoDamage(t *testing.T) {
	s, f := openFaulty(t, t.TempDir(), small())
	o := synth.NewTemplate(20_000, 1).Object(1, 1, 1)
	id := mustSend(t, s, o, to("cloud")...).Instance.ID
	flush(t, s)
	f.set(func() {
		f.open = func() error {
			return fmt.Errorf("open: %w", &segment.DamageError{Err: syscall.EIO})
		}
	})
	if _, err := s.Open(id); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	f.set(func() { f.open = nil })
	flush(t, s)
	sameBytes(t, dataSet(t, s, id), o.Data)
}
