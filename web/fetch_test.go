package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
)

// partial is an index that lacks something of every study.
type partial struct{ Index }

func (partial) Whole(context.Context, dicom.UID) (bool, error) { return false, nil }

// What is not whole is fetched before it is listed: what may yet come is worth asking again, what nobody has is left out, and
// what is whole waits for nobody.
func TestFetchedBeforeListed(t *testing.T) {
	down := errors.New("the archive is down")
	for _, row := range []struct {
		name    string
		whole   bool // what is stored
		later   bool
		err     error
		code    cloud.Code
		again   bool // Retry-After
		fetched int
	}{
		{"whole", true, false, down, cloud.CodeOK, false, 0},
		{"brought", false, false, nil, cloud.CodeOK, false, 1},
		{"to be had from nobody", false, false, down, cloud.CodeOK, false, 1},
		{"under way", false, true, errors.New("ask again"), cloud.CodeFailed, true, 1},
	} {
		fetched := 0
		s := newSite(t, func(o *Options) {
			if !row.whole {
				o.Index = partial{o.Index}
			}
			o.FetchWait = time.Minute
			o.Fetch = func(ctx context.Context, study dicom.UID) (bool, error) {
				if _, ok := ctx.Deadline(); !ok {
					t.Errorf("%s: waits for ever", row.name)
				}
				fetched++
				return row.later, row.err
			}
		})
		study, _ := s.study(3, 4<<10)
		a, response := s.ask(signed(hospital, study))
		want := 3
		if row.code != cloud.CodeOK {
			want = 0
		}
		if a.Code != row.code || len(a.Result) != want || response.StatusCode != http.StatusOK || (response.Header.Get("Retry-After") != "") != row.again || fetched != row.fetched {
			t.Errorf("%s: %s with %d images, %v, fetched %d times", row.name, a.Code, len(a.Result), response.Header, fetched)
		}
	}
}

// Of what is not stored at all, that it cannot be had now is no empty list; that nobody has it is.
func TestFetchedFromNobody(t *testing.T) {
	for _, err := range []error{nil, errors.New("the archive is down")} {
		s := newSite(t, func(o *Options) {
			o.FetchWait = time.Minute
			o.Fetch = func(context.Context, dicom.UID) (bool, error) { return false, err }
		})
		a, _ := s.ask(signed(hospital, "1.2.3"))
		if err == nil && (a.Code != cloud.CodeOK || len(a.Result) != 0) || err != nil && (a.Code != cloud.CodeFailed || !strings.Contains(a.Message, "down")) {
			t.Errorf("%v: %+v", err, a)
		}
	}
}
