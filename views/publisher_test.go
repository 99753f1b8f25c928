package views

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

func TestRowsFollowTheSpool(t *testing.T) {
	s := openSpool(t, spool.Options{})
	store(t, s, image(1, 1, 1))
	source := sqliteFile(t)
	set := settings()
	set.Quiet = time.Hour
	o := Options{Source: source, Spool: s, Settings: set, Files: Address("https://images/{study}/{instance}")}
	p, stop := runPublisher(t, o)
	caughtUp(t, s, p)
	for k := 2; k <= 5; k++ {
		store(t, s, image(1, k%2, k))
	}
	store(t, s, image(2, 1, 1))
	caughtUp(t, s, p)
	want := [][]any{
		{hospital.Code, hospital.Name, "A1", "1.1", "P1", "CT", "2024-01-31", "2024-01-31 23:59:01", int64(2), int64(5)},
		{hospital.Code, hospital.Name, "A2", "1.2", "P1", "CT", "2024-01-31", "2024-01-31 23:59:01", int64(1), int64(1)},
	}
	got := exported(t, source, "V_StudyInfo")
	if len(got) != 2 || !reflect.DeepEqual(got[0][:10], want[0]) || !reflect.DeepEqual(got[1][:10], want[1]) {
		t.Fatalf("%v", got)
	}
	if n := len(exported(t, source, "V_DocImage")); n != 6 {
		t.Errorf("%d images", n)
	}

	// Nothing changes by publishing it again, and what came while nobody published follows.
	before := p.Status()
	if err := p.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if after := p.Status(); after.StudyRows != before.StudyRows || after.ImageRows != before.ImageRows {
		t.Errorf("changes %d, %d after a rebuild, %d, %d before", after.StudyRows, after.ImageRows, before.StudyRows, before.ImageRows)
	}
	stop()
	store(t, s, image(3, 1, 1))
	p, _ = runPublisher(t, o)
	caughtUp(t, s, p)
	if n := len(exported(t, source, "V_StudyInfo")); n != 3 {
		t.Errorf("%d studies after a restart", n)
	}

	fresh := sqliteFile(t)
	o.Source = fresh
	again, _ := runPublisher(t, o)
	caughtUp(t, s, again)
	a, b := exported(t, source, "V_StudyInfo"), exported(t, fresh, "V_StudyInfo")
	for i := range a {
		if !reflect.DeepEqual(a[i][:10], b[i][:10]) {
			t.Errorf("a new database has %v, the first %v", b[i], a[i])
		}
	}
}

func TestScanOfALargeStudy(t *testing.T) {
	s := openSpool(t, spool.Options{})
	const instances, writers = 2*scanned + 7, 16 // that share syncs
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for k := w; k < instances; k += writers {
				store(t, s, image(1, 1+k%3, k))
			}
		})
	}
	group.Wait()
	store(t, s, image(2, 1, 1))
	source := sqliteFile(t)
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Files: Address("/i/{id}")})
	caughtUp(t, s, p)
	if n := len(exported(t, source, "V_DocImage")); n != instances+1 {
		t.Errorf("%d images, want %d", n, instances+1)
	}
}

// testClock is a clock that a test moves.
type testClock struct{ ms atomic.Int64 }

func (c *testClock) now() time.Time { return time.UnixMilli(c.ms.Load()) }

func TestStudiesBecomeComplete(t *testing.T) {
	clock := &testClock{}
	clock.ms.Store(time.Now().UnixMilli())
	s := openSpool(t, spool.Options{Now: clock.now})
	source := sqliteFile(t)
	store(t, s, image(1, 1, 1))
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Now: clock.now})
	caughtUp(t, s, p)
	row := func() []any { return exported(t, source, "V_StudyInfo")[0] }
	first := row()
	if first[12] != int64(0) {
		t.Errorf("complete at once: %v", first)
	}
	clock.ms.Add(2 * time.Minute.Milliseconds())
	peertest.Eventually(t, 10*time.Second, "the study is complete", func() bool { return row()[12] == int64(1) })
	second := row()
	if second[10].(int64) != first[10].(int64)+1 || second[11].(string) <= first[11].(string) {
		t.Errorf("number and time of the change: %v, before %v", second, first)
	}
	store(t, s, image(1, 1, 2))
	caughtUp(t, s, p)
	if third := row(); third[12] != int64(0) || third[10].(int64) <= second[10].(int64) {
		t.Errorf("%v after another image, %v before", third, second)
	}
}

func TestHeldRows(t *testing.T) {
	s := openSpool(t, spool.Options{})
	source := sqliteFile(t)
	set := settings()
	set.Quiet, set.Hold = time.Hour, true
	store(t, s, image(1, 1, 1).with(object{"AccessionNumber": ""}))
	store(t, s, image(2, 1, 1))
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Settings: set})
	caughtUp(t, s, p)
	if rows := exported(t, source, "V_StudyInfo"); len(rows) != 1 || rows[0][3] != "1.2" {
		t.Fatalf("%v", rows)
	}
	peertest.Eventually(t, 10*time.Second, "the row that is held is counted", func() bool {
		l := p.Status().Lacking
		return len(l) == 1 && l[0].Held && l[0].Rows == 1 && l[0].Reason == "AccessionNumber missing" && l[0].Examples[0] == "1.1"
	})
	// It is published once it is whole, and not taken back when it is lacking again.
	store(t, s, image(1, 1, 2))
	caughtUp(t, s, p)
	store(t, s, image(1, 1, 3).with(object{"AccessionNumber": ""}))
	caughtUp(t, s, p)
	if rows := exported(t, source, "V_StudyInfo"); len(rows) != 2 || rows[0][2] != nil || rows[0][9] != int64(3) {
		t.Errorf("%v", rows)
	}
}

// TestAStudyIsNamedOnce has two images of a study lack the same.
func TestAStudyIsNamedOnce(t *testing.T) {
	s := openSpool(t, spool.Options{})
	for i := range 2 {
		store(t, s, image(1, 1, i+1).with(object{"AccessionNumber": ""}))
	}
	p, _ := runPublisher(t, Options{Source: sqliteFile(t), Spool: s, Settings: settings(), Files: Address("/i/{id}")})
	peertest.Eventually(t, 10*time.Second, "the images are counted and the study is named", func() bool {
		return slices.ContainsFunc(p.Status().Lacking, func(l Lacking) bool {
			return l.View == "V_DocImage" && l.Rows == 2 && slices.Equal(l.Examples, []string{"1.1"})
		})
	})
}

func TestEvictedInstancesKeepTheirRows(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	open := func(o spool.Options) *spool.Spool {
		o.SegmentSize, o.AllocateStep, o.ReserveBytes, o.MinFree, o.Now = 16<<20, 1<<20, -1, -1, func() time.Time { return now }
		s, err := spool.Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(spool.Options{})
	store(t, s, image(1, 1, 1))
	store(t, s, image(1, 1, 2))
	source := sqliteFile(t)
	o := Options{Source: source, Spool: s, Settings: settings(), Files: Address("https://images/{id}"), Now: func() time.Time { return now }}
	p, stop := runPublisher(t, o)
	caughtUp(t, s, p)
	stop()
	studies, images := exported(t, source, "V_StudyInfo"), exported(t, source, "V_DocImage")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	now = now.Add(48 * time.Hour)
	s = open(spool.Options{Retention: time.Hour})
	defer s.Close()
	peertest.Eventually(t, 10*time.Second, "both are evicted", func() bool { return s.Stats().Evicted == 2 })
	o.Spool = s
	p, stop = runPublisher(t, o)
	defer stop()
	caughtUp(t, s, p)
	for range 2 { // and a rebuild leaves them
		rows := exported(t, source, "V_DocImage")
		if len(rows) != 2 {
			t.Fatalf("%d rows", len(rows))
		}
		for i, r := range rows {
			if r[18] != nil || r[23] != int64(0) || r[24] != "evicted" || r[21].(int64) <= 2 {
				t.Errorf("row of an evicted instance: %v", r)
			}
			if !reflect.DeepEqual(r[:18], images[i][:18]) {
				t.Errorf("%v was %v", r[:18], images[i][:18])
			}
		}
		if now := exported(t, source, "V_StudyInfo"); !reflect.DeepEqual(now[0][:10], studies[0][:10]) {
			t.Errorf("study %v was %v", now[0], studies[0])
		}
		if err := p.Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhatWasEvictedFirstIsCounted: three images of two studies go before a database is there.
func TestWhatWasEvictedFirstIsCounted(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	o := spool.Options{SegmentSize: 16 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1, Now: func() time.Time { return now }}
	s, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range [][2]int{{1, 1}, {1, 2}, {2, 1}} {
		store(t, s, image(at[0], 1, at[1]))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(48 * time.Hour)
	o.Retention = time.Hour
	if s, err = spool.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	peertest.Eventually(t, 10*time.Second, "all are evicted", func() bool { return s.Stats().Evicted == 3 })

	// The database has seen the begin of this spool, so that there is nothing to publish anew.
	source := sqliteFile(t)
	empty := openSpool(t, spool.Options{})
	p, stop := runPublisher(t, Options{Source: source, Spool: empty, Settings: settings()})
	caughtUp(t, empty, p)
	stop()
	registry := prometheus.NewRegistry()
	p, _ = runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Files: Address("/i/{id}"), Registerer: registry})
	caughtUp(t, s, p)
	threeOfTwoStudiesLost(t, registry)
}

func TestAnotherSpoolIsNoticed(t *testing.T) {
	source := sqliteFile(t)
	set := settings()
	for i := range 2 {
		s := openSpool(t, spool.Options{})
		for k := range 3 {
			store(t, s, image(10*i+k, 1, 1))
		}
		p, stop := runPublisher(t, Options{Source: source, Spool: s, Settings: set})
		caughtUp(t, s, p)
		peertest.Eventually(t, 10*time.Second, "its studies are there", func() bool { return len(exported(t, source, "V_StudyInfo")) == 3*(i+1) })
		stop()
	}
}

// threeOfTwoStudiesLost looks whether three images and two studies are counted as lost.
func threeOfTwoStudiesLost(t *testing.T, registry *prometheus.Registry) {
	t.Helper()
	const want = `# HELP dcmgate_views_lost_total Studies (V_StudyInfo) and images (V_DocImage) that were evicted before they could be published, by database and view.
# TYPE dcmgate_views_lost_total counter
dcmgate_views_lost_total{database="test",view="V_DocImage"} 3
dcmgate_views_lost_total{database="test",view="V_StudyInfo"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "dcmgate_views_lost_total"); err != nil {
		t.Error(err)
	}
}

// lateFiles are files that cannot be written at first.
type lateFiles struct {
	Address
	ready atomic.Bool
	asked atomic.Int64
}

func (f *lateFiles) Ready(ctx context.Context, in *spool.Instance) (File, error) {
	if f.asked.Add(1); !f.ready.Load() {
		return File{}, errors.New("no space left on device")
	}
	return f.Address.Ready(ctx, in)
}

// TestWhatIsEvictedDuringTheFirstScanIsCounted: three of five images go while a new database cannot be filled, as the disk
// of its files is full.
func TestWhatIsEvictedDuringTheFirstScanIsCounted(t *testing.T) {
	var clock testClock
	clock.ms.Store(time.Now().UnixMilli())
	s := openSpool(t, spool.Options{Now: clock.now})
	for _, at := range [][2]int{{1, 1}, {1, 2}, {2, 1}} {
		store(t, s, image(at[0], 1, at[1]))
	}
	if err := s.Flush(t.Context()); err != nil { // what is behind is counted by changes that can be read
		t.Fatal(err)
	}
	files, registry := &lateFiles{Address: Address("/i/{id}")}, prometheus.NewRegistry()
	source := sqliteFile(t)
	o := Options{Source: source, Spool: s, Settings: settings(), Files: files, Registerer: registry}
	p, stop := runPublisher(t, o)
	peertest.Eventually(t, 10*time.Second, "a scan that fails", func() bool { return p.Status().State == StateFailing && files.asked.Load() > 0 })
	if st := p.Status(); st.Behind != s.LastSequence() {
		t.Errorf("%d changes behind of %d before the first scan has ended", st.Behind, s.LastSequence())
	}
	stop()
	clock.ms.Add((2 * time.Hour).Milliseconds())
	for _, at := range [][2]int{{3, 1}, {3, 2}} {
		store(t, s, image(at[0], 1, at[1]))
	}
	s.SetLimits(spool.Limits{MinFree: -1, Retention: time.Hour})
	peertest.Eventually(t, 10*time.Second, "the older ones are evicted", func() bool { return s.Stats().Evicted == 3 })
	files.ready.Store(true)
	p, _ = runPublisher(t, o)
	caughtUp(t, s, p)
	if rows := exported(t, source, "V_DocImage"); len(rows) != 2 {
		t.Errorf("%d rows", len(rows))
	}
	threeOfTwoStudiesLost(t, registry)
}
