package restore

import (
	"context"
	"errors"
	"testing"

	"dcmgate/dicom"
)

// answers is a source that answers with what it was made of.
type answers struct {
	report Report
	err    error
	asked  int
}

func (a *answers) Study(_ context.Context, _ dicom.UID, progress func(Report)) (Report, error) {
	a.asked++
	progress(Report{Listed: a.report.Listed, Restored: a.report.Restored})
	return a.report, a.err
}

// One source after another is asked until the study is whole; what the first has brought is present to the second.
func TestSources(t *testing.T) {
	down := errors.New("down")
	lost := []Failure{{Instance: "1.1", Reason: "not sent"}}
	for _, row := range []struct {
		name    string
		sources []answers
		whole   bool // what is stored, after any source
		want    Report
		asked   int
		failed  bool
	}{
		{"the first has it", []answers{{report: Report{Listed: 3, Restored: 3, Bytes: 30}}, {report: Report{Listed: 3}}}, true, Report{Listed: 3, Restored: 3, Bytes: 30}, 1, false},
		{"the first does not have it", []answers{{}, {report: Report{Listed: 3, Restored: 2, Present: 1}}}, true, Report{Listed: 3, Restored: 2, Present: 1}, 2, false},
		{"the first is down", []answers{{err: down}, {report: Report{Listed: 3, Restored: 3}}}, true, Report{Listed: 3, Restored: 3}, 2, false},
		{"the first has a part", []answers{{report: Report{Listed: 3, Restored: 2, Failed: 1, Failures: lost, Bytes: 20}}, {report: Report{Listed: 3, Restored: 1, Present: 2, Bytes: 10}}}, true,
			Report{Listed: 3, Restored: 3, Bytes: 30}, 2, false},
		{"the second has nothing more", []answers{{report: Report{Listed: 3, Restored: 2, Failed: 1, Failures: lost, Bytes: 20}}, {}}, true,
			Report{Listed: 3, Restored: 2, Failed: 1, Failures: lost, Bytes: 20}, 2, false},
		{"more was stored once", []answers{{report: Report{Listed: 2, Restored: 1, Present: 1}}, {report: Report{Listed: 3, Present: 2, Restored: 1}}}, false, Report{Listed: 3, Restored: 2, Present: 1}, 2, false},
		{"nobody has it", []answers{{}, {}}, false, Report{}, 2, false},
		{"one is down and the other does not have it", []answers{{err: down}, {}}, false, Report{}, 2, true},
		{"both are down", []answers{{err: down}, {err: down}}, false, Report{}, 2, true},
		{"all is here, and the first is down", []answers{{err: down}, {report: Report{Listed: 3, Present: 3}}}, true, Report{Listed: 3, Present: 3}, 2, false},
		{"a remark remains", []answers{{report: Report{Remark: "pacs: off"}}, {report: Report{Listed: 1, Restored: 1}}}, true, Report{Listed: 1, Restored: 1, Remark: "pacs: off"}, 2, false},
	} {
		s := Sources{Whole: func(context.Context, dicom.UID) (bool, error) { return row.whole, nil }}
		for i := range row.sources {
			s.In = append(s.In, &row.sources[i])
		}
		last := Report{}
		got, err := s.Study(t.Context(), "1.2", func(r Report) {
			if r.Restored < last.Restored {
				t.Errorf("%s: goes back to %+v", row.name, r)
			}
			last = r
		})
		if (err != nil) != row.failed || row.failed && !errors.Is(err, down) {
			t.Errorf("%s: %v", row.name, err)
		}
		if len(got.Failures) != len(row.want.Failures) {
			t.Errorf("%s: %+v", row.name, got.Failures)
		}
		got.Failures, row.want.Failures = nil, nil
		asked := 0
		for i := range row.sources {
			asked += row.sources[i].asked
		}
		if !equalReports(got, row.want) || asked != row.asked {
			t.Errorf("%s: got %+v of %d sources, want %+v of %d", row.name, got, asked, row.want, row.asked)
		}
	}
}

func equalReports(a, b Report) bool {
	return a.Listed == b.Listed && a.Restored == b.Restored && a.Present == b.Present && a.Failed == b.Failed && a.Bytes == b.Bytes && a.Remark == b.Remark
}

// An index that cannot be read is no study that is whole.
func TestSourcesWithoutIndex(t *testing.T) {
	broken := errors.New("broken")
	first, second := &answers{report: Report{Listed: 1, Restored: 1}}, &answers{}
	s := Sources{In: []Source{first, second}, Whole: func(context.Context, dicom.UID) (bool, error) { return false, broken }}
	if _, err := s.Study(t.Context(), "1.2", nil); !errors.Is(err, broken) || second.asked != 0 {
		t.Errorf("%v, the second asked %d times", err, second.asked)
	}
}
