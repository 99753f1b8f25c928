package web

import (
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"dcmgate/cloud"
)

// A clock that is set, by an hour or by a year, revives no address that has expired, ends none before its time but by being
// set ahead, and lets those work that are made afterwards.
func TestLinksWhileTheClockIsSet(t *testing.T) {
	const lifetime, year = 24 * time.Hour, 365 * 24 * time.Hour
	for name, row := range map[string]struct {
		before, jump, after time.Duration // passed, set by, passed
		old                 error         // of a link made at first
	}{
		"not set":                           {time.Hour, 0, time.Hour, nil},
		"an hour ahead":                     {time.Hour, time.Hour, time.Hour, nil},
		"a year ahead":                      {time.Hour, year, time.Hour, errExpired},
		"an hour back":                      {time.Hour, -time.Hour, time.Hour, nil},
		"an hour back, after it expired":    {lifetime + time.Minute, -time.Hour, 0, errExpired},
		"a year back":                       {time.Hour, -year, time.Hour, nil},
		"a year back, after it expired":     {2 * lifetime, -year, time.Minute, errExpired},
		"a year back, and it expires later": {time.Hour, -year, lifetime, errExpired},
	} {
		t.Run(name, func(t *testing.T) {
			wall, passed := time.Date(2026, 7, 1, 8, 0, 0, 0, time.UTC), time.Duration(0)
			a := newAges(func() time.Time { return wall }, func() time.Duration { return passed })
			pass := func(d time.Duration) { wall, passed = wall.Add(d), passed+d }
			old := link{kind: kindDICOM, made: a.now()}
			pass(row.before)
			a.now() // somebody asks, so that the time before the jump is known
			wall = wall.Add(row.jump)
			fresh := link{kind: kindDICOM, made: a.now()}
			pass(row.after)
			if err := old.valid(a.now(), lifetime); !errors.Is(err, row.old) {
				t.Errorf("made before: %v, want %v", err, row.old)
			}
			pass(lifetime - row.after)
			if err := fresh.valid(a.now(), lifetime); err != nil {
				t.Errorf("made after: %v", err)
			}
			pass(time.Minute)
			if err := fresh.valid(a.now(), lifetime); !errors.Is(err, errExpired) {
				t.Errorf("made after, once its time is over: %v", err)
			}
		})
	}
}

// What is revoked remains so, and what is made afterwards works, wherever the clock was at either moment, and after a start.
func TestRevokingWhileTheClockIsSet(t *testing.T) {
	const study, year = "1.2.3", 365 * 24 * time.Hour
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, clock := range map[string]struct{ revoked, other, made time.Time }{
		"right":                     {noon, noon, noon},
		"revoked ahead":             {noon.Add(73 * year), noon, noon},
		"revoked behind":            {noon.Add(-year), noon, noon},
		"another study, far ahead":  {noon, noon.Add(73 * year), noon},
		"all behind what was there": {noon.Add(-year), noon.Add(-year), noon.Add(-year)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "links.json")
			s, _, err := OpenLinks(path)
			if err != nil {
				t.Fatal(err)
			}
			old := link{kind: kindZIP, turn: s.turn(study), made: noon}
			for range 2 {
				if s.revoked(study, old) {
					t.Error("revoked before anybody did")
				}
				if err := s.Revoke(study, clock.revoked); err != nil {
					t.Fatal(err)
				}
				if err := s.Revoke("1.2.4", clock.other); err != nil {
					t.Fatal(err)
				}
				fresh := link{kind: kindZIP, turn: s.turn(study), made: clock.made}
				if s, _, err = OpenLinks(path); err != nil {
					t.Fatal(err)
				}
				if !s.revoked(study, old) || s.revoked(study, fresh) {
					t.Errorf("made before: revoked %v; made after: revoked %v", s.revoked(study, old), s.revoked(study, fresh))
				}
				old = fresh
			}
		})
	}
}

// A study whose links are revoked more often than a link can tell gets another secret, with all others.
func TestRevokingMoreOftenThanLinksTell(t *testing.T) {
	s, _, err := OpenLinks(filepath.Join(t.TempDir(), "links.json"))
	if err != nil {
		t.Fatal(err)
	}
	before := string(s.file.Key)
	for range maxTurn + 1 {
		if string(s.file.Key) != before {
			t.Fatal("another secret before it was needed")
		}
		if err := s.Revoke("1.2.3", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if string(s.file.Key) == before || s.turn("1.2.3") != 0 {
		t.Errorf("turn %d; another secret: %v", s.turn("1.2.3"), string(s.file.Key) != before)
	}
}

// A state and a link of a version without turns go on as they were.
func TestLinksOfAVersionWithoutTurns(t *testing.T) {
	s := &LinkState{path: filepath.Join(t.TempDir(), "links.json"), file: linkFile{Revoked: []revocation{{Study: studyHash("1.2.3"), Before: 1000}}}}
	for ms, want := range map[int64]bool{999: true, 1000: true, 1001: false} {
		if got := s.revoked("1.2.3", link{kind: kindDICOM, made: time.UnixMilli(ms)}); got != want {
			t.Errorf("made at %d: revoked %v", ms, got)
		}
	}
	if err := s.Revoke("1.2.3", time.UnixMilli(500)); err != nil {
		t.Fatal(err)
	}
	if !s.revoked("1.2.3", link{kind: kindDICOM, made: time.UnixMilli(2000)}) {
		t.Error("a link of before is not revoked")
	}
}

// The time of a request is compared with the clock as it is: after it was set, those are let in whose time is right by it.
func TestTimeStampsFollowTheClock(t *testing.T) {
	s := newSite(t, func(o *Options) { o.TimeStampNeeded = true })
	study, _ := s.study(1, 1000)
	noon := time.Now().Truncate(time.Second)
	const year = 365 * 24 * time.Hour
	for _, step := range []struct {
		clock, stamp time.Duration
		let          bool
	}{
		{0, 0, true}, {0, -time.Hour, false}, {time.Hour, 0, false}, {time.Hour, time.Hour, true},
		{-time.Hour, -time.Hour, true}, {-time.Hour, 0, false}, {0, 0, true}, {year, year, true}, {0, 0, true},
	} {
		s.setClock(noon.Add(step.clock))
		a, _ := s.ask(signed(hospital, study, "timeStamp", strconv.FormatInt(noon.Add(step.stamp).Unix(), 10)))
		if ok := a.Code == cloud.CodeOK; ok != step.let {
			t.Errorf("clock %v, timeStamp %v: %s", step.clock, step.stamp, a.Code)
		} else if ok {
			if resp, _, err := s.get(http.MethodGet, a.Result[0].DownloadURL); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("clock %v: the address answers %v, %v", step.clock, resp, err)
			}
		}
	}
}
