package spool

// storedOp enters a durable instance into the index.
type storedOp struct {
	s    *Spool
	in   *Instance
	kind ChangeKind
}

func (o *storedOp) apply(t *tx) error {
	in := o.in
	k := in.identity()
	if err := o.replaceRestored(t, k); err != nil {
		return err
	}
	vs, err := readVersions(t.txn, k)
	if err != nil {
		return err
	}
	repeat := stored(vs)
	t.putVersions(k, len(vs) > 0, setVersion(vs, in.version()))
	t.set(entryKey(in.ID), appendEntry(make([]byte, 0, 256+len(in.Metadata.Elements)*24), in))
	t.set(placeKey(in.location.Segment, in.location.Offset), appendID(nil, in.ID))
	if err := t.addToTree(in, repeat); err != nil {
		return err
	}
	open := o.addJobs(t)
	t.checkpoint(in.location)
	t.segmentUse(in.location, func(u *segmentUse) {
		u.live++
		u.bytes += in.location.Length
		u.newest = max(u.newest, in.Received.UnixMilli())
	})
	o.s.pressure.unindexed.Add(-in.location.Length)
	t.total(func(c *totals) {
		c.instances++
		c.bytes += uint64(in.location.Length)
		c.highest = max(c.highest, uint64(in.ID))
	})
	if !open {
		t.accountDone(in, 1)
	}
	t.change(o.kind, in.ID)
	t.onDurable(func() { o.s.indexed(in) })
	return nil
}

// addJobs writes the instance's jobs and tells whether one of them is to be done.
func (o *storedOp) addJobs(t *tx) (open bool) {
	for _, j := range o.in.jobs {
		r := newJobRecord(j, o.in.Received)
		t.putJob(o.in.ID, j.destination, nil, &r)
		open = open || !r.state.terminal()
	}
	return open
}

// replaceRestored drops the custody record of the evicted copy that this instance restores, or the damaged copy; its
// delivered outcomes, and what is still to be sent, are among the new one's jobs. While an index is rebuilt the copy that
// was replaced may seem whole; it goes all the same.
func (o *storedOp) replaceRestored(t *tx, k identity) error {
	if o.in.restores == 0 {
		return nil
	}
	old, err := t.entry(o.in.restores)
	if err != nil {
		return skipMissing(err)
	}
	if old.State != InstanceEvicted {
		return o.s.discard(t, old, k)
	}
	return o.s.purge(t, old, k)
}

func (o *storedOp) failed(error) {} // the record is durable: it is replayed at the next start

// checkpointOp passes over a record that cannot or need not be indexed.
type checkpointOp struct{ in *Instance }

func (o checkpointOp) apply(t *tx) error {
	t.checkpoint(o.in.location)
	return nil
}

func (o checkpointOp) failed(error) {}

// purge removes every trace of an evicted instance but its changes.
func (s *Spool) purge(t *tx, in *Instance, k identity) error {
	vs, err := readVersions(t.txn, k)
	if err != nil {
		return err
	}
	t.putVersions(k, true, withoutVersion(vs, in.ID))
	for _, j := range in.jobs {
		r, ok, err := readJob(t.txn, in.ID, j.destination)
		if err != nil {
			return err
		}
		if ok {
			s.purgeJob(t, in.ID, j.destination, &r)
		}
	}
	t.delete(entryKey(in.ID))
	t.delete(tombstoneKey(in))
	t.total(func(c *totals) { c.evicted = dec(c.evicted) })
	return nil
}

// purgeJob removes a job for ever; the counts are of jobs that are on record.
func (s *Spool) purgeJob(t *tx, id InstanceID, destination string, r *jobRecord) {
	t.delete(jobKey(id, destination))
	if key := queueKey(id, destination, r); key != nil {
		t.delete(key)
	}
	t.count(destination, r.state, 0)
	state := r.state
	t.onDurable(func() { s.queue(destination).purged(id, state) })
}

// identity is what deduplication goes by.
func (in *Instance) identity() identity {
	return identityOf(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
}

func (in *Instance) version() version {
	evicted := in.State == InstanceEvicted
	return version{id: in.ID, evicted: evicted, damaged: !evicted && in.damaged(), digest: in.Digest, syntax: string(in.TransferSyntaxUID)}
}

// kindOfFlags tells which change storing the instance was.
func kindOfFlags(f Flags) ChangeKind {
	switch {
	case f&FlagRestored != 0:
		return ChangeRestored
	case f&FlagNewVersion != 0:
		return ChangeNewVersion
	}
	return ChangeStored
}
