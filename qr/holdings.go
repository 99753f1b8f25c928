package qr

import (
	"context"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/transfer"
)

// Bounds of the sample that Prevailing looks at.
const (
	sampleTime  = 50 * time.Millisecond
	sampleAge   = time.Minute
	samplePairs = 1024
)

// holdings are numbers of instances by SOP class and transfer syntax, of a sample.
type holdings struct {
	mu    sync.Mutex
	taken time.Time
	pairs map[transfer.Pair]int
}

// Prevailing returns that of the offered transfer syntaxes in which most instances of a SOP class are stored, as the studies
// tell that were received last; false if they have none. A caller that offers several in one presentation context gets one
// of them for good when it is negotiated, and C-GET sends in no other.
func (s *SCP) Prevailing(ctx context.Context, sopClass dicom.UID, offered []dicom.UID) (ts dicom.UID, ok bool) {
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	if time.Since(s.held.taken) > sampleAge {
		s.held.pairs = s.sample(ctx)
		s.held.taken = time.Now()
	}
	most := 0
	for _, o := range offered {
		if n := s.held.pairs[transfer.Pair{SOPClassUID: sopClass, TransferSyntaxUID: o}]; n > most {
			ts, most = o, n
		}
	}
	return ts, most > 0
}

// sample counts each series as what its newest instance is, of so many studies as can be looked at in time.
func (s *SCP) sample(ctx context.Context) map[transfer.Pair]int {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	pairs := map[transfer.Pair]int{}
	q := &query{level: LevelSeries}
	for e, err := range q.matches(ctx, s.o.Index, "") {
		if err != nil {
			break
		}
		if p := pairOf(e.in); pairs[p] > 0 || len(pairs) < samplePairs {
			pairs[p] += e.series.Instances
		}
	}
	return pairs
}
