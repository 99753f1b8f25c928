package views

import (
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	dcmimages "dcmgate/images"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// otherPoller reads V_DocImage_F as the cloud does: it remembers one number, and asks again where the server does not answer.
type otherPoller struct {
	last int64
	seen map[string]string // FileState by FilePath
	bad  []string
}

func (p *otherPoller) poll(db *sql.DB, d *dialect) error {
	rows, err := db.Query(fmt.Sprintf("SELECT %s FROM %s WHERE %s > %s ORDER BY %s", d.names([]string{"FilePath", "FileState", "ChangeSeq"}),
		d.name1("V_DocImage_F"), d.name1("ChangeSeq"), d.parameters(1, 1), d.name1("ChangeSeq")), p.last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var path, state string
		var number int64
		if err := rows.Scan(&path, &state, &number); err != nil {
			return err
		}
		if number <= p.last {
			p.bad = append(p.bad, fmt.Sprintf("number %d behind %d", number, p.last))
		}
		if p.seen[path] == state {
			p.bad = append(p.bad, fmt.Sprintf("%s is %s twice", path, state))
		}
		p.last, p.seen[path] = number, state
	}
	return rows.Err()
}

// otherPollersMissNothing has two pollers read while images come and go and the server stops for a while. Both end with
// what the store has.
func otherPollersMissNothing(t *testing.T, source *Source, d *peertest.Database) {
	s, kept := openSpool(t, spool.Options{}), openOthers(t)
	others := served(kept)
	p, stop := runPublisher(t, Options{Source: source, Spool: s, Others: others, Settings: settings()})
	defer stop()
	db, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	addOther(t, kept, 99, dcmimages.Identifiers{AccessionNumber: "A", StudyInstanceUID: "1.78", PatID: "P"}) // shows that the store is another one
	othersCaughtUp(t, kept, p)
	start := p.Status().OtherRows

	done := make(chan struct{})
	var polling sync.WaitGroup
	pollers := [2]*otherPoller{}
	for i := range pollers {
		w := &otherPoller{last: start, seen: map[string]string{}}
		pollers[i] = w
		polling.Go(func() {
			for ended := false; !ended; time.Sleep(time.Duration(1+6*i) * time.Millisecond) {
				select {
				case <-done:
					ended = true
				default:
				}
				if err := w.poll(db, source.dialect); err != nil && (ended || d == nil) {
					t.Error(err)
				}
			}
		})
	}
	const images = 40
	want := map[string]string{}
	for i := range images {
		in := addOther(t, kept, 1+i, dcmimages.Identifiers{AccessionNumber: "A", StudyInstanceUID: fmt.Sprintf("1.77.%d", i), PatID: "P"})
		want[others.Address(&in)] = string(FileReady)
		if i%4 == 3 {
			if _, err := kept.Withdraw(t.Context(), in.ID, "wrong patient"); err != nil {
				t.Fatal(err)
			}
			want[others.Address(&in)] = string(FileWithdrawn)
		}
		switch {
		case d == nil:
		case i == 10:
			peertest.Eventually(t, 20*time.Second, "rows come", func() bool { return p.Status().OtherRows > start })
			d.Stop()
		case i == 25:
			peertest.Eventually(t, 20*time.Second, "the outage is noticed", func() bool { return p.Status().State == StateFailing })
			d.Start()
		}
	}
	othersCaughtUp(t, kept, p)
	close(done)
	polling.Wait()
	for i, w := range pollers {
		for _, bad := range w.bad {
			t.Errorf("poller %d: %s", i, bad)
		}
		if w.last != p.Status().OtherRows || len(w.seen) != len(want) {
			t.Errorf("poller %d has %d images up to %d, want %d up to %d", i, len(w.seen), w.last, len(want), p.Status().OtherRows)
		}
		for path, state := range want {
			if w.seen[path] != state {
				t.Errorf("poller %d: %s is %q, want %s", i, path, w.seen[path], state)
			}
		}
	}
}
