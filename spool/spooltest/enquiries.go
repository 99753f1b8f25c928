package spooltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

func keepsEnquiries(s *suite) {
	request := make([]byte, spool.MaxEnquiry)
	_, _ = rand.Read(request)
	at := time.UnixMilli(1_700_000_000_123)
	kept := []spool.Enquiry{
		{Peer: "CT1", TransactionUID: "1.2", Received: at, Request: []byte("a")},
		{Peer: "CT1", TransactionUID: "1.20", Received: at.Add(time.Hour), Request: request},
		{Peer: "CT10", TransactionUID: "1.2", Received: at, Request: nil},
	}
	for _, e := range kept {
		if err := s.KeepEnquiry(e); err != nil {
			s.Fatal(err)
		}
	}
	replaced := kept[0]
	replaced.Request = []byte("b")
	kept[0] = replaced
	if err := s.KeepEnquiry(replaced); err != nil {
		s.Fatal(err)
	}
	for range 2 {
		s.wantEnquiries(kept)
		for _, e := range kept {
			if got, err := s.Enquiry(e.Peer, e.TransactionUID); err != nil || !same(got, e) {
				s.Errorf("%s %s: %v", e.Peer, e.TransactionUID, err)
			}
		}
		s.reopen()
	}
	if _, err := s.Enquiry("CT", "1.2"); !errors.Is(err, spool.ErrNotFound) {
		s.Errorf("an enquiry of nobody: %v", err)
	}
	if err := s.ForgetEnquiry("CT1", "1.20"); err != nil {
		s.Fatal(err)
	}
	if err := s.ForgetEnquiry("CT", "1.2"); err != nil {
		s.Fatal(err)
	}
	s.reopen()
	s.wantEnquiries([]spool.Enquiry{kept[0], kept[2]})
	for name, bad := range map[string]spool.Enquiry{
		"no peer":        {TransactionUID: "1.2"},
		"no transaction": {Peer: "CT1"},
		"a NUL":          {Peer: "CT\x001", TransactionUID: "1.2"},
		"a long peer":    {Peer: strings.Repeat("A", 129), TransactionUID: "1.2"},
		"a long UID":     {Peer: "CT1", TransactionUID: dicom.UID(strings.Repeat("1", 129))},
		"too much":       {Peer: "CT1", TransactionUID: "1.2", Request: make([]byte, spool.MaxEnquiry+1)},
	} {
		if err := s.KeepEnquiry(bad); !errors.Is(err, spool.ErrBadEnquiry) {
			s.Errorf("%s: %v", name, err)
		}
	}
}

func same(a, b spool.Enquiry) bool {
	return a.Peer == b.Peer && a.TransactionUID == b.TransactionUID && a.Received.Equal(b.Received) && bytes.Equal(a.Request, b.Request)
}

func (s *suite) wantEnquiries(want []spool.Enquiry) {
	s.Helper()
	var got []spool.Enquiry
	for e, err := range s.Enquiries(context.Background()) {
		if err != nil {
			s.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != len(want) {
		s.Fatalf("%d enquiries, want %d", len(got), len(want))
	}
	for i := range want {
		if !same(got[i], want[i]) {
			s.Errorf("enquiry %d: %s %s, want %s %s", i, got[i].Peer, got[i].TransactionUID, want[i].Peer, want[i].TransactionUID)
		}
	}
}

func tellsDelivered(s *suite) {
	both := s.store(s.object(1), to("a"), to("b")).Instance.ID
	none := s.store(s.object(2)).Instance.ID
	s.flush()
	want := func(id spool.InstanceID, delivered bool) {
		s.Helper()
		if got, err := s.DeliveredEverywhere(id); err != nil || got != delivered {
			s.Errorf("%s: %t, %v; want %t", id, got, err, delivered)
		}
	}
	want(none, false)
	want(both, false)
	for i, destination := range []string{"a", "b"} {
		jobs := s.claim(destination, 1)
		s.complete(spool.Delivered(jobs[0].Key(), 0))
		s.flush()
		want(both, i == 1)
	}
	s.reopen()
	want(both, true)
	if _, err := s.DeliveredEverywhere(1); !errors.Is(err, spool.ErrNotFound) {
		s.Errorf("an instance that nobody sent: %v", err)
	}
	dropped := s.store(s.object(3), to("a"), to("b")).Instance.ID
	s.flush()
	s.complete(spool.Delivered(s.claim("a", 1)[0].Key(), 0))
	if n, err := s.Drop(context.Background(), spool.JobFilter{Destination: "b"}, "not wanted"); err != nil || n != 1 {
		s.Fatalf("dropped %d, %v", n, err)
	}
	want(dropped, false)
}
