package views

import (
	"database/sql"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

func itoa(n int) string { return strconv.Itoa(n) }

// poller reads a view as the cloud does: it remembers one number.
type poller struct {
	last int64
	seen map[string]int64 // study, and imagecount as read last
	bad  []string
}

func (p *poller) poll(db *sql.DB, d *dialect) error {
	rows, err := db.Query(fmt.Sprintf("SELECT %s FROM %s WHERE %s > %s ORDER BY %s", d.names([]string{"StudyInstanceUID", "imagecount", "ChangeSeq"}),
		d.name1("V_StudyInfo"), d.name1("ChangeSeq"), d.parameters(1, 1), d.name1("ChangeSeq")), p.last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var study string
		var images, number int64
		if err := rows.Scan(&study, &images, &number); err != nil {
			return err
		}
		if number <= p.last {
			p.bad = append(p.bad, fmt.Sprintf("number %d behind %d", number, p.last))
		}
		if images <= p.seen[study] {
			p.bad = append(p.bad, fmt.Sprintf("study %s has %d images, had %d", study, images, p.seen[study]))
		}
		p.last, p.seen[study] = number, images
	}
	return rows.Err()
}

// pollersMissNothing has two pollers read while 16 senders store, and both end with what the view says.
func pollersMissNothing(t *testing.T, source *Source, d *peertest.Database) {
	s := openSpool(t, spool.Options{})
	set := settings()
	set.Quiet = time.Hour
	p, stop := runPublisher(t, Options{Source: source, Spool: s, Settings: set})
	defer stop()
	db, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	caughtUp(t, s, p)
	start := p.Status().StudyRows

	done := make(chan struct{})
	var polling, sending sync.WaitGroup
	pollers := [2]*poller{}
	for i := range pollers {
		w := &poller{last: start, seen: map[string]int64{}}
		pollers[i] = w
		polling.Go(func() {
			for ended := false; ; time.Sleep(time.Duration(1+6*i) * time.Millisecond) {
				select {
				case <-done:
					ended = true
				default:
				}
				if err := w.poll(db, source.dialect); err != nil {
					t.Error(err)
					return
				}
				if ended {
					return
				}
			}
		})
	}
	const senders, studies, instances = 16, 3, 12
	for i := range senders {
		sending.Go(func() {
			for k := range instances {
				for j := range studies {
					store(t, s, image(5000+i*studies+j, 1, k))
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	sending.Wait()
	caughtUp(t, s, p)
	close(done)
	polling.Wait()
	for i, w := range pollers {
		for _, bad := range w.bad {
			t.Errorf("poller %d: %s", i, bad)
		}
		if len(w.seen) != senders*studies || w.last != p.Status().StudyRows {
			t.Errorf("poller %d has %d studies up to %d, want %d up to %d", i, len(w.seen), w.last, senders*studies, p.Status().StudyRows)
		}
		for study, images := range w.seen {
			if images != instances {
				t.Errorf("poller %d: study %s has %d images", i, study, images)
			}
		}
	}
}
