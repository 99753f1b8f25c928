package views

import (
	"context"
	"errors"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// batch is what one transaction publishes.
type batch struct {
	studies []Row
	images  []Row
	evicted []*spool.Instance // whose files go
	gone    []*spool.Instance // whose eviction is one of the changes: lost if they have no row
	arrived []time.Time       // of the instances, for the lag
}

// studiesAtOnce bounds the studies that are asked for in one query of the spool.
const studiesAtOnce = 64

// publish brings the database to the last of the first n changes, as many as can be made in time.
func (s *session) publish(ctx context.Context, changes []spool.Change) (n int, err error) {
	b, n, err := s.gather(ctx, changes)
	if err != nil {
		return 0, err
	}
	err = s.commit(ctx, b, func(st *state) { st.passed(changes[n-1]) })
	if err != nil {
		return 0, err
	}
	now := s.o.Now()
	for _, at := range b.arrived {
		s.metrics.lag.Observe(now.Sub(at).Seconds())
	}
	return n, nil
}

// gather makes the rows that the first n changes concern, as things are now: a row may say more than its change, never less.
func (s *session) gather(ctx context.Context, changes []spool.Change) (b *batch, n int, err error) {
	b = &batch{}
	touched := map[dicom.UID]bool{}
	for began := time.Now(); n < len(changes) && (n == 0 || time.Since(began) < gatherTime); n++ {
		c := changes[n]
		in, err := s.o.Spool.Instance(c.ID)
		if errors.Is(err, spool.ErrNotFound) {
			continue // a later copy took its place, which has a change of its own
		}
		if err != nil {
			return nil, 0, err
		}
		if c.Kind != spool.ChangeEvicted {
			touched[in.StudyInstanceUID] = true
			b.arrived = append(b.arrived, in.Received)
		}
		if err := s.gatherImage(ctx, b, &in); err != nil {
			return nil, 0, err
		}
		if c.Kind == spool.ChangeEvicted && in.State != spool.InstanceStored {
			b.gone = append(b.gone, &in)
		}
	}
	return b, n, s.gatherStudies(ctx, b, touched)
}

// gatherImage makes the row of an instance, or of the version that is left in its place.
func (s *session) gatherImage(ctx context.Context, b *batch, in *spool.Instance) error {
	if s.o.Files == nil {
		return nil
	}
	if in.State != spool.InstanceStored {
		b.evicted = append(b.evicted, in)
		versions, err := s.o.Spool.Lookup(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
		if err != nil {
			return err
		}
		left := -1
		for i := range versions {
			if versions[i].State == spool.InstanceStored {
				left = i
			}
		}
		if left < 0 {
			return nil
		}
		in = &versions[left]
	}
	file, err := s.o.Files.Ready(ctx, in)
	if err != nil {
		return err
	}
	b.images = append(b.images, s.o.Settings.ImageRow(in, file))
	return nil
}

func (s *session) gatherStudies(ctx context.Context, b *batch, touched map[dicom.UID]bool) error {
	delete(touched, "") // nothing can be asked for without a Study Instance UID
	var uids []dicom.UID
	for uid := range touched {
		if uids = append(uids, uid); len(uids) == studiesAtOnce {
			if err := s.gatherSome(ctx, b, uids); err != nil {
				return err
			}
			uids = uids[:0]
		}
	}
	return s.gatherSome(ctx, b, uids)
}

func (s *session) gatherSome(ctx context.Context, b *batch, uids []dicom.UID) error {
	if len(uids) == 0 {
		return nil
	}
	for study, err := range s.o.Spool.Studies(ctx, spool.StudyFilter{UIDs: uids}) {
		if err == nil {
			err = s.addStudy(ctx, b, &study)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) addStudy(ctx context.Context, b *batch, study *spool.Study) error {
	series, instances, err := s.o.Spool.Known(ctx, study.StudyInstanceUID)
	if err != nil {
		return err
	}
	// What is stored but not indexed yet is known as well.
	series, instances = max(series, study.Series), max(instances, 1)
	b.studies = append(b.studies, s.o.Settings.StudyRow(study, series, instances, s.o.Now()))
	return nil
}

// commit publishes a batch in one transaction. Files are durable before it and go behind it, so that no row that is to be
// seen names a file that is not there.
func (s *session) commit(ctx context.Context, b *batch, move func(*state)) error {
	if s.o.Files != nil {
		if err := s.o.Files.Sync(); err != nil {
			return err
		}
	}
	var lost [len(tables)]int
	err := s.update(ctx, func(w *writer) error {
		if err := w.put(studies, b.studies, s.o.Settings.Hold); err != nil {
			return err
		}
		if err := w.put(images, b.images, s.o.Settings.Hold); err != nil {
			return err
		}
		for _, in := range b.evicted {
			if err := w.evict(in); err != nil {
				return err
			}
		}
		move(&w.state)
		var err error
		lost, err = s.lost(ctx, w, b.gone)
		return err
	})
	if err != nil {
		return err
	}
	if s.metrics.lose(lost) {
		s.log.Warn("evicted before it was published", "studies", lost[0], "images", lost[1])
	}
	for _, in := range b.evicted {
		if err := s.o.Files.Remove(in); err != nil {
			return err
		}
	}
	return nil
}

// scanned is how many rows a scan publishes in one transaction at most.
const scanned = 1024

// scan publishes everything that the spool holds. Rows of what was evicted stay as they are: the spool no longer knows
// what they say. It begins anew if it is interrupted, and then finds most rows as they should be. The changes since its
// first begin are followed when it is done, so that what goes meanwhile is seen to go.
func (s *session) scan(ctx context.Context, progress func(studies int64)) error {
	s.note(StateScanning)
	from, err := s.lastChange()
	if err != nil {
		return err
	}
	if err := s.o.Spool.Flush(ctx); err != nil { // what is behind from is readable now
		return err
	}
	s.state.scan = true
	err = s.update(ctx, func(w *writer) error {
		if w.state.scan = true; !s.begun {
			w.state.passed(from)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.begun = true
	b, n := &batch{}, int64(0)
	flush := func(least int) error {
		if len(b.studies)+len(b.images) < least {
			return nil
		}
		err := s.commit(ctx, b, func(*state) {})
		*b = batch{}
		return err
	}
	for study, err := range s.o.Spool.Studies(ctx, spool.StudyFilter{}) {
		if err != nil {
			return err
		}
		if n++; progress != nil && n%64 == 0 {
			progress(n)
		}
		if err := s.scanStudy(ctx, b, &study, func() error { return flush(scanned) }); err != nil {
			return err
		}
	}
	if err := flush(1); err != nil {
		return err
	}
	if err := s.update(ctx, func(w *writer) error { w.state.scan = false; return nil }); err != nil {
		return err
	}
	s.fill = false
	s.note(StateRunning)
	s.log.Info("everything stored is published", "studies", n)
	return nil
}

// lastChange is the last change of the spool, without an instance if that is not known.
func (s *session) lastChange() (last spool.Change, err error) {
	last.Sequence = s.o.Spool.LastSequence()
	if last.Sequence == 0 {
		return last, nil
	}
	changes, err := s.o.Spool.Changes(last.Sequence-1, 1)
	if errors.Is(err, spool.ErrChangesPruned) {
		return last, nil
	}
	if err == nil && len(changes) == 1 {
		last = changes[0]
	}
	return last, err
}

func (s *session) scanStudy(ctx context.Context, b *batch, study *spool.Study, flush func() error) error {
	if study.StudyInstanceUID != "" {
		if err := s.addStudy(ctx, b, study); err != nil {
			return err
		}
	}
	if s.o.Files == nil {
		return flush()
	}
	for in, err := range s.o.Spool.Latest(ctx, study.StudyInstanceUID, "") {
		if err == nil {
			err = s.gatherImage(ctx, b, &in)
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
	return flush()
}
