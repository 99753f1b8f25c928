package forwarder

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

func TestReportOnTheSameAssociation(t *testing.T) {
	for _, first := range []bool{false, true} { // PS3.7 leaves the order of response and report to the SCP
		t.Run(fmt.Sprint("before the response: ", first), func(t *testing.T) {
			v := &vault{take: func(_ int, rq *dimse.Request, r *commitment.Request) error {
				if !first {
					reportOn(rq, all(r))
					return nil
				}
				return commitment.Report(context.Background(), rq.Association, all(r))
			}}
			r := startCustody(t, 40, v, nil)
			r.untilCounts(spool.JobCounts{Committed: 40})
			r.wantCounted("dcmgate_destination_commitment_instances_total", "committed", 40)
			r.until("counted", func() bool {
				return r.counted("dcmgate_destination_commitment_requests_total", "accepted") == len(v.made())
			})
			r.until("without open requests", func() bool { return r.running.Load().Status()[0].Commitment.Requests == 0 })
			var asked []dicom.UID
			for _, rq := range v.made() {
				for _, ref := range rq.References {
					asked = append(asked, ref.SOPInstanceUID)
					if ref.SOPClassUID != synth.CTImageStorage {
						t.Errorf("asked for %+v", ref)
					}
				}
			}
			if slices.Sort(asked); !slices.Equal(asked, r.sent) {
				t.Errorf("asked for %d instances, want each of the %d once", len(asked), len(r.sent))
			}
		})
	}
}

func TestBatches(t *testing.T) {
	v := &vault{take: func(_ int, rq *dimse.Request, r *commitment.Request) error { reportOn(rq, all(r)); return nil }}
	r := startCustody(t, 25, v, func(d *Destination) { d.Commitment.Batch, d.Commitment.Wait = 10, 300*time.Millisecond })
	r.untilCounts(spool.JobCounts{Committed: 25})
	seen := map[dicom.UID]bool{}
	for _, rq := range v.made() {
		if len(rq.References) > 10 || seen[rq.TransactionUID] || rq.TransactionUID.Valid() != nil {
			t.Errorf("transaction %s of %d instances", rq.TransactionUID, len(rq.References))
		}
		seen[rq.TransactionUID] = true
	}
}

func TestReportOnAnotherAssociation(t *testing.T) {
	v := &vault{together: 3, take: func(int, *dimse.Request, *commitment.Request) error { return nil }}
	r := startCustody(t, 3, v, nil)
	r.until("asked", func() bool { return len(v.made()) == 1 })
	result := all(v.made()[0])
	if got := r.report("OTHER", result); got != dimse.StatusInvalidArgumentValue {
		t.Errorf("another application entity's report is answered %v", got)
	}
	if got := r.report("CLOUD", &commitment.Result{TransactionUID: "2.25.1", Committed: result.Committed}); got != dimse.StatusInvalidArgumentValue {
		t.Errorf("a report on what nobody asked is answered %v", got)
	}
	r.untilCounts(spool.JobCounts{Awaiting: 3})
	for i := range 2 { // the SCP repeats what it has not seen answered
		if got := r.report("CLOUD", result); got != dimse.StatusSuccess {
			t.Errorf("report %d is answered %v", i, got)
		}
	}
	r.untilCounts(spool.JobCounts{Committed: 3})
	for outcome, want := range map[string]int{reportTaken: 1, reportRepeated: 1, reportUnknown: 1, reportForeign: 1, reportFailed: 0} {
		r.wantCounted("dcmgate_destination_commitment_reports_total", outcome, want)
	}
}

// TestNoReport has a destination that takes requests and falls silent. It is asked again, ever more rarely; that a report
// comes late is as good as that it comes.
func TestNoReport(t *testing.T) {
	v := &vault{together: 3, take: func(int, *dimse.Request, *commitment.Request) error { return nil }}
	r := startCustody(t, 3, v, func(d *Destination) {
		d.Commitment.Linger, d.Commitment.Timeout = time.Millisecond, 100*time.Millisecond
	})
	r.until("asked three times", func() bool { return len(v.made()) >= 3 })
	s := r.running.Load().Status()[0]
	if s.Commitment.Trouble == nil || s.Commitment.Trouble.Code != "commitment-unreported" || s.Trouble != nil || s.Breaker != BreakerClosed {
		t.Errorf("%+v, commitment %+v", s, s.Commitment)
	}
	for i, want := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		if asked, _, err := r.spool.Transaction(v.made()[i].TransactionUID); err != nil || asked.Until.Sub(asked.Asked) != want {
			t.Errorf("report %d is waited for %v, want %v; %v", i, asked.Until.Sub(asked.Asked), want, err)
		}
	}
	if got := r.report("CLOUD", all(v.made()[0])); got != dimse.StatusSuccess {
		t.Errorf("the late report is answered %v", got)
	}
	r.untilCounts(spool.JobCounts{Committed: 3})
	r.until("out of trouble", func() bool { // which the requests since can bring back
		for _, rq := range v.made() {
			r.report("CLOUD", all(rq))
		}
		return r.running.Load().Status()[0].Commitment.Trouble == nil
	})
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		reason dimse.Status
		times  int // that it is reported for one instance; 0 for ever
		copies int // of that instance at the destination in the end
		asks   int
		want   spool.JobCounts
		code   string
	}{
		{0x0112, 1, 2, 2, spool.JobCounts{Committed: 4}, ""},
		{0x0110, 2, 3, 3, spool.JobCounts{Committed: 4}, ""},
		{0x0112, 0, 3, 3, spool.JobCounts{Committed: 3, Refused: 1}, "commitment-0112"},
		{0x0119, 0, 3, 3, spool.JobCounts{Committed: 3, Refused: 1}, "commitment-0119"},
		{0x0122, 0, 1, 1, spool.JobCounts{Committed: 3, Refused: 1}, "commitment-0122"},
		{0x0213, 1, 1, 2, spool.JobCounts{Committed: 4}, ""},
		{0x0131, 1, 1, 2, spool.JobCounts{Committed: 4}, ""},
		{0xC123, 0, 3, 3, spool.JobCounts{Committed: 3, Refused: 1}, "commitment-C123"},
	} {
		t.Run(fmt.Sprintf("%04X %d times", uint16(row.reason), row.times), func(t *testing.T) {
			t.Parallel()
			var bad dicom.UID
			var mu sync.Mutex
			failed, asked := 0, 0
			v := &vault{}
			v.take = func(_ int, rq *dimse.Request, r *commitment.Request) error {
				mu.Lock()
				defer mu.Unlock()
				if bad == "" {
					bad = r.References[0].SOPInstanceUID
				}
				reportOn(rq, except(r, row.reason, func(uid dicom.UID) bool {
					if uid != bad {
						return false
					}
					if asked++; row.times > 0 && failed == row.times {
						return false
					}
					failed++
					return true
				}))
				return nil
			}
			r := startCustody(t, 4, v, func(d *Destination) {
				d.Commitment.Attempts = 2
			})
			if reasonOf(row.reason).result == spool.ResultAskAgain { // after a minute, which an operator does not wait
				again := spool.JobFilter{Destination: "cloud", State: spool.JobAwaiting}
				r.untilCounts(spool.JobCounts{Awaiting: 1, Committed: 3})
				if n, _, err := r.spool.Redrive(t.Context(), again, "now"); n != 1 || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
			r.untilCounts(row.want)
			mu.Lock()
			defer mu.Unlock()
			if got := v.copiesOf(bad); got != row.copies || asked != row.asks {
				t.Errorf("sent %d times, want %d; asked for %d times, want %d", got, row.copies, asked, row.asks)
			}
			jobs, _, err := r.spool.Jobs(spool.JobFilter{State: spool.JobRefused}, "", 9)
			if err != nil || len(jobs) != int(row.want.Refused) {
				t.Fatal(len(jobs), err)
			}
			for _, j := range jobs {
				if j.Code != row.code || j.Instance.SOPInstanceUID != bad || j.LastError == "" {
					t.Errorf("refused: %+v", j)
				}
			}
		})
	}
}

// TestOddReports are what no SCP should send.
func TestOddReports(t *testing.T) {
	v := &vault{together: 4, take: func(int, *dimse.Request, *commitment.Request) error { return nil }}
	r := startCustody(t, 4, v, func(d *Destination) { d.Commitment.Timeout = time.Hour })
	r.until("asked", func() bool { return len(v.made()) == 1 })
	rq := v.made()[0]
	contradicted, otherClass, unmentioned, committed := rq.References[0], rq.References[1], rq.References[2], rq.References[3]
	result := &commitment.Result{
		TransactionUID: rq.TransactionUID,
		Committed: []commitment.Reference{
			contradicted, {SOPClassUID: "1.2.3", SOPInstanceUID: otherClass.SOPInstanceUID}, committed, committed,
			{SOPClassUID: "1.2.3", SOPInstanceUID: "1.2.3.4"},
		},
		Failed: []commitment.Failure{
			{Reference: contradicted, Reason: 0x0122}, {Reference: commitment.Reference{SOPClassUID: "1.2", SOPInstanceUID: "9.9"}, Reason: 0x0112},
		},
	}
	if got := r.report("CLOUD", result); got != dimse.StatusSuccess {
		t.Errorf("answered %v", got)
	}
	r.untilCounts(spool.JobCounts{Awaiting: 2, Committed: 1, Refused: 1})
	waiting, err := r.spool.Awaiting("cloud", time.Now().Add(48*time.Hour), 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range waiting {
		if uid := j.Instance.SOPInstanceUID; uid != otherClass.SOPInstanceUID && uid != unmentioned.SOPInstanceUID || j.Code != "commitment-unmentioned" {
			t.Errorf("%s awaits: %s", uid, j.Code)
		}
		if time.Until(j.NotBefore) < 20*time.Minute {
			t.Errorf("asked again at %v", j.NotBefore)
		}
	}
}

// TestDestinationsThatCannotBeAsked deliver all the same, and are not pestered.
func TestDestinationsThatCannotBeAsked(t *testing.T) {
	for name, row := range map[string]struct {
		vault   *vault
		code    string
		outcome string
	}{
		"SOP class not accepted": {&vault{unsupported: true}, "commitment-unsupported", requestRefused},
		"refused": {&vault{take: func(int, *dimse.Request, *commitment.Request) error {
			return &dimse.StatusError{Status: dimse.StatusNotAuthorized}
		}}, "commitment-request", requestRefused},
		"association aborted": {&vault{take: func(_ int, rq *dimse.Request, _ *commitment.Request) error {
			return rq.Association.Abort()
		}}, "abort-user", requestFailed},
		"association rejected": {&vault{archive: archive{admitRQ: func(rq *dimse.AssociationRequest) error {
			if rq.RQ.PresentationContexts[0].AbstractSyntax == string(commitment.SOPClass) {
				return dimse.RejectCallingAETitle("no")
			}
			return nil
		}}}, "rejected-calling-ae", requestFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startCustody(t, 5, row.vault, func(d *Destination) {
				d.Policy.Probe, d.Commitment.Timeout = d.Policy.LongProbe, 50*time.Millisecond
			})
			r.untilCounts(spool.JobCounts{Awaiting: 5})
			begun := time.Now()
			r.until("tried three times", func() bool { return r.counted("dcmgate_destination_commitment_requests_total", row.outcome) >= 3 })
			if took := time.Since(begun); took < 50*time.Millisecond {
				t.Errorf("three times within %v", took)
			}
			s := r.running.Load().Status()[0]
			if s.Commitment.Trouble == nil || s.Commitment.Trouble.Code != row.code || s.Breaker != BreakerClosed || s.Trouble != nil {
				t.Errorf("%+v, commitment %+v", s, s.Commitment.Trouble)
			}
			store(t, r.spool, synth.NewTemplate(2000, 9).Object(9, 9, 9))
			r.untilCounts(spool.JobCounts{Awaiting: 6})
			if jobs, _, err := r.spool.Jobs(spool.JobFilter{State: spool.JobAwaiting}, "", 9); err != nil || len(jobs) != 6 {
				t.Error(len(jobs), err)
			}
		})
	}
}

// TestGoesOnAfterARestart stops the forwarder between request and report.
func TestGoesOnAfterARestart(t *testing.T) {
	v := &vault{together: 3, take: func(int, *dimse.Request, *commitment.Request) error { return nil }}
	var d Destination
	r := startCustody(t, 3, v, func(given *Destination) {
		given.Commitment.Batch = 2
		d = *given
	})
	r.until("asked twice", func() bool { return len(v.made()) == 2 })
	r.stop() // without waiting for Linger
	d.Commitment.Timeout = 100 * time.Millisecond
	other := d // has the same AE title, and nothing to do with it
	other.Name = "other"
	r.start(other, d)
	first := v.made()[0]
	if got := r.report("CLOUD", all(first)); got != dimse.StatusSuccess {
		t.Errorf("answered %v", got)
	}
	r.untilCounts(spool.JobCounts{Awaiting: int64(3 - len(first.References)), Committed: int64(len(first.References))})
	// A minute has not passed: nothing is asked for yet. An operator need not wait.
	if n, _, err := r.spool.Redrive(t.Context(), spool.JobFilter{Destination: "cloud", State: spool.JobAwaiting}, "now"); n != 3-len(first.References) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	r.until("asked again", func() bool { return len(v.made()) >= 3 })
	if got := r.report("CLOUD", all(v.made()[2])); got != dimse.StatusSuccess {
		t.Errorf("answered %v", got)
	}
	r.untilCounts(spool.JobCounts{Committed: 3})
}

// TestOneAssociation never opens two where one is allowed, and lets deliveries go first.
func TestOneAssociation(t *testing.T) {
	v := &vault{serves: 1, together: 5, take: func(int, *dimse.Request, *commitment.Request) error { return nil }} // never reports
	r := startCustody(t, 5, v, func(d *Destination) {
		d.Associations, d.Linger, d.Commitment.Linger = 1, time.Minute, time.Minute
	})
	r.until("asked, beside an association that lingers", func() bool { return len(v.made()) == 1 })
	store(t, r.spool, synth.NewTemplate(2000, 9).Object(9, 9, 9))
	r.untilCounts(spool.JobCounts{Awaiting: 6})
	r.until("asked again", func() bool { return len(v.made()) == 2 })
	r.stop()
	if n := v.overfull.Load(); n != 0 {
		t.Errorf("%d associations were requested beside another", n)
	}
}

// TestAskedBesideABacklog has deliveries go on all the time over the one association there may be.
func TestAskedBesideABacklog(t *testing.T) {
	const n = 120
	delivered := make(chan int, n) // when a request came
	v := &vault{serves: 1}
	v.take = func(_ int, rq *dimse.Request, r *commitment.Request) error {
		v.mu.Lock()
		delivered <- len(v.copies)
		v.mu.Unlock()
		reportOn(rq, all(r))
		return nil
	}
	v.archive.receive = func(int, *dimse.Request) dimse.Status { time.Sleep(5 * time.Millisecond); return dimse.StatusSuccess }
	r := startCustody(t, n, v, func(d *Destination) { d.Associations, d.Commitment.Wait = 1, 50*time.Millisecond })
	if <-delivered == n {
		t.Error("everything was delivered first")
	}
	r.untilCounts(spool.JobCounts{Committed: n})
	if n := v.overfull.Load(); n != 0 {
		t.Errorf("%d associations were requested beside another", n)
	}
}

func TestCommitmentOptions(t *testing.T) {
	good := Destination{Name: "cloud", CalledAETitle: "CLOUD", Address: "cloud:104", Commitment: Commitment{Enabled: true}}
	if _, err := New(Options{Queue: newMemQueue(t), Dialer: &peer{}, Destinations: []Destination{good}}); err == nil {
		t.Error("commitment without custody")
	}
	for _, bad := range []Commitment{{Batch: -1}, {Batch: spool.MaxTransaction + 1}, {Wait: -1}, {Timeout: -1}} {
		d := good
		d.Commitment = bad
		if _, err := d.withDefaults(); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
}
