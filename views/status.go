package views

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// State is what a publisher is about.
type State string

// The states.
const (
	StateStarting State = "starting"
	StateRunning  State = "running"
	StateScanning State = "publishing everything"
	StateFailing  State = "failing"
)

// Status says how publishing to one database goes.
type Status struct {
	Name      string    `json:"name"`
	Database  string    `json:"database"` // kind and name
	State     State     `json:"state"`
	Error     string    `json:"error,omitempty"` // while failing
	Failures  int       `json:"failures,omitempty"`
	Since     time.Time `json:"since,omitzero"` // of failing
	Sequence  uint64    `json:"sequence"`       // of the spool's changes, published
	Behind    uint64    `json:"behind"`         // changes to go
	StudyRows int64     `json:"study_changes"`  // the highest ChangeSeq of V_StudyInfo
	ImageRows int64     `json:"image_changes"`  // of V_DocImage
	OtherRows int64     `json:"other_changes"`  // of V_DocImage_F
	UpdateAt  string    `json:"update_at,omitempty"`
	Lacking   []Lacking `json:"lacking,omitempty"`

	others uint64 // change of images that are not DICOM, published
}

// Lacking counts rows that lack something, with examples.
type Lacking struct {
	View     string   `json:"view"`
	Reason   string   `json:"reason"`
	Held     bool     `json:"held"` // not published
	Rows     int64    `json:"rows"`
	Examples []string `json:"examples,omitempty"` // Study Instance UIDs
}

// RowsLacking counts the rows that lack something.
func (s Status) RowsLacking() (n int64) {
	for _, l := range s.Lacking {
		n += l.Rows
	}
	return n
}

// Status returns a snapshot. What rows lack is as of the last minute.
func (p *Publisher) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Behind = p.behind()
	return s
}

// note takes the state over into the status; "" keeps what the publisher is about.
func (s *session) note(now State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.State == StateFailing && now != "" {
		s.log.Info("the database works again", "failures", s.status.Failures)
	}
	if now != "" {
		s.status.State, s.status.Error, s.status.Failures, s.status.Since = now, "", 0, time.Time{}
	}
	st := &s.status
	st.Sequence, st.StudyRows, st.ImageRows, st.UpdateAt = s.state.sequence, s.state.studySeq, s.state.imageSeq, s.state.updated
	st.OtherRows, st.others = s.state.otherSeq, s.state.otherSequence
	if s.fill {
		st.Sequence = 0
	}
	s.metrics.up.Set(1)
	s.metrics.behind.Set(float64(s.behind()))
}

// behind is how many changes are to be published; the status is locked.
func (p *Publisher) behind() (n uint64) {
	if last := p.o.Spool.LastSequence(); last > p.status.Sequence {
		n = last - p.status.Sequence
	}
	if p.o.Others == nil {
		return n
	}
	if last := p.o.Others.LastSequence(); last > p.status.others {
		n += last - p.status.others
	}
	return n
}

// failed notes a failure; only the first of several is logged.
func (p *Publisher) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.status
	if s.State != StateFailing {
		s.State, s.Since = StateFailing, p.o.Now()
		p.log.Warn("the database fails; rows follow when it works", "error", speakable(err))
	}
	s.Error = speakable(err)
	s.Failures++
	p.metrics.up.Set(0)
	p.metrics.behind.Set(float64(p.behind()))
}

// speakable is an error's text without the values of rows, which some of MySQL's errors quote.
func speakable(err error) string {
	var e *mysql.MySQLError
	if errors.As(err, &e) && slices.Contains(quoting, e.Number) {
		return fmt.Sprintf("the server refuses a value (error %d)", e.Number)
	}
	return err.Error()
}

// quoting are the errors of MySQL that quote values: duplicate entry, incorrect value, incorrect string value.
var quoting = []uint16{1062, 1292, 1366}

// survey counts what rows lack, for status and metrics.
func (s *session) survey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	list, err := survey(ctx, s.d, s.db)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.status.Lacking = list
	s.mu.Unlock()
	s.metrics.lacking.DeletePartialMatch(map[string]string{"database": s.metrics.name})
	for _, l := range list {
		for _, reason := range strings.Split(l.Reason, "; ") {
			s.metrics.lacking.WithLabelValues(s.metrics.name, l.View, fmt.Sprint(l.Held), reason).Add(float64(l.Rows))
		}
	}
	return nil
}

// Bounds of a survey.
const (
	surveyReasons  = 50
	surveyExamples = 3
)

// survey counts the rows of both tables by what they lack, the most frequent first.
func survey(ctx context.Context, d *dialect, db *sql.DB) (list []Lacking, err error) {
	for _, t := range tables {
		gaps, held := d.name1("Gaps"), d.name1("Held")
		rows, err := db.QueryContext(ctx, fmt.Sprintf("SELECT %s, %s, COUNT(*) FROM %s WHERE %s IS NOT NULL GROUP BY %s, %s ORDER BY 3 DESC LIMIT %d",
			gaps, held, d.name1(t.name), gaps, gaps, held, surveyReasons))
		if err != nil {
			return nil, fmt.Errorf("count what rows lack: %w", err)
		}
		for rows.Next() {
			l := Lacking{View: t.view.Name}
			if err := rows.Scan(&l.Reason, &l.Held, &l.Rows); err != nil {
				return nil, errors.Join(err, rows.Close())
			}
			list = append(list, l)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	for i := range list {
		if err := list[i].find(ctx, d, db); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b Lacking) int { return cmp.Compare(b.Rows, a.Rows) })
	return list, nil
}

// find names some studies of the rows.
func (l *Lacking) find(ctx context.Context, d *dialect, db *sql.DB) error {
	t := tables[slices.IndexFunc(tables[:], func(t *table) bool { return t.view.Name == l.View })]
	rows, err := db.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s AND %s = %s LIMIT %d", d.name1("StudyInstanceUID"), d.name1(t.name),
		d.name1("Gaps"), d.parameters(1, 1), d.name1("Held"), d.parameters(2, 1), surveyExamples), l.Reason, flag(l.Held))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var uid sql.NullString
		if err := rows.Scan(&uid); err != nil {
			return err
		}
		if !slices.Contains(l.Examples, uid.String) { // V_DocImage has many rows of a study
			l.Examples = append(l.Examples, uid.String)
		}
	}
	return rows.Err()
}

// rebuildRequest asks for a scan.
type rebuildRequest struct {
	progress func(studies int64)
	done     chan error
}

// Rebuild publishes everything that the spool holds, and returns when that is done. progress, which may be nil, is told
// how many studies were looked at. Rows that are as they should be do not change.
func (p *Publisher) Rebuild(ctx context.Context, progress func(studies int64)) error {
	r := &rebuildRequest{progress: progress, done: make(chan error, 1)}
	select {
	case p.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-r.done
}
