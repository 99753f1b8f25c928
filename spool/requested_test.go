package spool

import (
	"testing"

	"dcmgate/internal/synth"
)

// What came on request is evicted although it never had a job, and a copy that somebody is to get takes its place.
func TestRequestedInstances(t *testing.T) {
	o := small()
	o.KeepUnrouted = true
	dir := t.TempDir()
	s := openSpool(t, dir, o)
	template := synth.NewTemplate(64<<10, 1)
	kept := mustSend(t, s, template.Object(1, 1, 1))
	object := template.Object(1, 1, 2)
	in := incoming(object)
	in.Requested = true
	first, err := send(s, in, object.Data)
	if err != nil || first.Outcome != Stored || first.Instance.Flags != FlagRequested {
		t.Fatalf("%+v, %v", first, err)
	}
	flush(t, s)
	totals := s.ledger.snapshot()
	if all, unrouted := totals.evictable, totals.unrouted; all <= unrouted || unrouted == 0 {
		t.Errorf("evictable %d, unrouted %d", all, unrouted)
	}
	if again, err := send(s, in, object.Data); err != nil || again.Outcome != Duplicate {
		t.Errorf("again: %v, %v", again.Outcome, err)
	}
	routed := mustSend(t, s, object, to("cloud")...)
	if routed.Outcome != Restored || routed.Instance.ID == first.Instance.ID {
		t.Errorf("routed: %v", routed.Outcome)
	}
	flush(t, s)
	if n := s.Counts()["cloud"].Pending; n != 1 {
		t.Errorf("%d jobs", n)
	}
	if again := mustSend(t, s, object, to("cloud")...); again.Outcome != Duplicate || again.Instance.ID != routed.Instance.ID {
		t.Errorf("routed again: %+v", again)
	}
	if st := s.Stats(); st.Instances != 2 {
		t.Errorf("%d instances", st.Instances)
	}
	if in, err := s.Instance(kept.Instance.ID); err != nil || !in.unrouted() {
		t.Errorf("%+v, %v", in, err)
	}
	verifyClean(t, s)
}
