package segment

// Info describes a segment in use.
type Info struct {
	ID         ID
	Generation uint64
	End        int64 // offset behind the last record
	Size       int64 // of the file
	Allocated  int64 // bytes the file system gave to it, when last asked
	Open       bool  // takes further records
}

// Segments lists the segments in use, the oldest generation first. The pool is not among them. End means little
// before Replay.
func (s *Store) Segments() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var infos []Info
	for _, g := range s.byGeneration() {
		infos = append(infos, Info{
			ID: g.id, Generation: g.generation, End: g.end, Size: g.size, Allocated: g.allocated, Open: g.open,
		})
	}
	return infos
}

// Stats are figures for metrics and for decisions about quotas. Sizes are in bytes.
type Stats struct {
	Segments     int   // in use
	RecordBytes  int64 // of records in them, freed ones included
	Allocated    int64 // given by the file system to segments in use, space reserved ahead included
	PoolSegments int
	PoolBytes    int64 // given by the file system to the pool
	LanesOpen    int   // segments that take further records
	LanesLeased  int   // of these, with a writer
	LanesRetired int   // by failed writes and syncs since Open
	FreeBytes    int64 // of the file system, as far as this user may have them
	TotalBytes   int64 // of the file system
}

// Stats gathers the figures. It asks the file system once and reads no segment; Allocated may lag behind a lane that is
// being written by what it reserved last.
func (s *Store) Stats() (Stats, error) {
	if err := s.enter(); err != nil {
		return Stats{}, err
	}
	defer s.leave()
	free, total, err := s.disk.usage()
	if err != nil {
		return Stats{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Segments: len(s.segments), PoolSegments: len(s.pool), PoolBytes: s.poolBytes(),
		LanesLeased: s.leased, LanesOpen: len(s.idle) + s.leased, LanesRetired: s.retired,
		FreeBytes: free, TotalBytes: total,
	}
	for _, g := range s.segments {
		st.RecordBytes += max(0, g.end-firstRecord)
		st.Allocated += max(g.allocated, min(g.size, g.end))
	}
	return st, nil
}
