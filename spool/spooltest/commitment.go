package spooltest

import (
	"errors"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// commitments are the jobs of a destination that await storage commitment.
type commitments struct {
	*suite
	destination string
	now         time.Time
	jobs        []spool.Job
}

// awaiting stores four instances and delivers them: each is to be committed to, from a minute after the one before on.
func (s *suite) awaiting() *commitments {
	c := &commitments{suite: s, destination: "a", now: time.Now().Truncate(time.Millisecond)}
	for n := range 4 {
		s.store(s.object(n), to(c.destination))
	}
	c.jobs = s.claim(c.destination, 4)
	for i := range c.jobs {
		s.complete(spool.Await(c.jobs[i].Key(), 0, c.now.Add(time.Duration(i)*time.Minute)))
	}
	s.flush()
	s.reopen()
	s.wantCounts(c.destination, spool.JobCounts{Awaiting: 4})
	return c
}

func (c *commitments) wantAwaiting(until time.Duration, limit int, want ...int) {
	c.Helper()
	got, err := c.Awaiting(c.destination, c.now.Add(until), limit)
	if err != nil || len(got) != len(want) {
		c.Fatalf("%d awaited, want %d, %v", len(got), len(want), err)
	}
	for i, w := range want {
		if got[i].Instance.ID != c.jobs[w].Instance.ID || got[i].State != spool.JobAwaiting {
			c.Errorf("%d: %v %v, want %v", i, got[i].Instance.ID, got[i].State, c.jobs[w].Instance.ID)
		}
	}
}

func (c *commitments) begin(uid dicom.UID, asked, until time.Duration, of ...int) {
	c.Helper()
	t := spool.Transaction{UID: uid, Destination: c.destination, Asked: c.now.Add(asked), Until: c.now.Add(until)}
	for _, i := range of {
		t.Instances = append(t.Instances, c.jobs[i].Instance.ID)
	}
	if err := c.BeginCommitment(t); err != nil {
		c.Fatal(err)
	}
}

func (c *commitments) conclude(uid dicom.UID, results ...spool.Commitment) {
	c.Helper()
	if err := c.ConcludeCommitment(uid, results); err != nil {
		c.Fatal(uid, err)
	}
}

func (c *commitments) result(i int, r spool.CommitmentResult, at time.Time) spool.Commitment {
	return spool.Commitment{ID: c.jobs[i].Instance.ID, Result: r, At: at, Code: "commitment-0112", Reason: "no such instance"}
}

func awaitsCommitment(s *suite) {
	c := s.awaiting()
	c.wantAwaiting(-time.Minute, 9)
	c.wantAwaiting(time.Minute, 9, 0, 1)
	c.wantAwaiting(time.Hour, 3, 0, 1, 2)
	c.begin("2.25.1", 0, time.Hour, 0, 1, 2, 3)
	s.reopen()
	c.wantAwaiting(30*time.Minute, 9)
	c.begin("2.25.9", time.Second, time.Hour, 3)
	s.WithdrawCommitment("2.25.9", c.now.Add(time.Minute))
	s.flush()
	c.wantAwaiting(time.Minute, 9, 3)
}

func concludesCommitment(s *suite) {
	const early, late = dicom.UID("2.25.1"), dicom.UID("2.25.2")
	c := s.awaiting()
	c.begin(early, 0, time.Hour, 0, 1, 2, 3)
	c.begin(late, 2*time.Second, 2*time.Hour, 2, 3)
	s.reopen()
	if t, left, err := s.Transaction(late); err != nil || t.Concluded() || len(left) != 2 || left[0].Asks != 2 {
		s.Errorf("%+v, %d jobs, %v", t, len(left), err)
	}
	// Of what was asked for again since, the early request counts where it says yes.
	c.conclude(early, c.result(0, spool.ResultCommitted, c.now), c.result(1, spool.ResultRefused, c.now),
		c.result(2, spool.ResultRefused, c.now), c.result(3, spool.ResultCommitted, c.now))
	s.wantCounts(c.destination, spool.JobCounts{Awaiting: 1, Committed: 2, Refused: 1})
	c.conclude(late, c.result(2, spool.ResultSendAgain, time.Time{}), c.result(3, spool.ResultRefused, c.now))
	c.conclude(late, c.result(2, spool.ResultCommitted, c.now)) // the same report again
	s.reopen()
	s.wantCounts(c.destination, spool.JobCounts{Pending: 1, Committed: 2, Refused: 1})
	if again := s.claim(c.destination, 9); len(again) != 1 || again[0].Instance.ID != c.jobs[2].Instance.ID || again[0].Refusals != 1 {
		s.Errorf("sent again: %d", len(again))
	}
	if t, left, err := s.Transaction(late); err != nil || !t.Concluded() || len(left) != 0 || t.Destination != c.destination {
		s.Errorf("%+v, %v", t, err)
	}
	if err := s.ConcludeCommitment("2.25.3", nil); !errors.Is(err, spool.ErrNotFound) {
		s.Errorf("a request that nobody made: %v", err)
	}
	refused, _, err := s.Jobs(spool.JobFilter{State: spool.JobRefused}, "", 9)
	if err != nil || len(refused) != 1 || refused[0].LastError != "no such instance" || refused[0].Code != "commitment-0112" {
		s.Errorf("%d refused, %v", len(refused), err)
	}
	if n, _, err := s.Redrive(s.Context(), spool.JobFilter{Destination: c.destination}, "again"); n != 1 || err != nil {
		s.Errorf("redriven %d, %v", n, err)
	}
}
