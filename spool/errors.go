package spool

import (
	"errors"

	"dcmgate/spool/segment"
)

var (
	// ErrFull says that there is no room for another instance. As a rule Begin gives it, before anything is stored; a
	// storage SCP has to take the data set off the association all the same, and answers A700 (PS3.4 B.2.3) behind it.
	ErrFull = errors.New("spool: full")
	// ErrUnhealthy says that the last write to the index failed and no later one has succeeded yet: new instances are
	// refused meanwhile. A failed write to a segment refuses the instance concerned alone. Nothing that was acknowledged
	// is lost; Health tells the cause of either.
	ErrUnhealthy = errors.New("spool: not healthy")
	// ErrNotFound says that no such instance or job is known.
	ErrNotFound = errors.New("spool: not found")
	// ErrEvicted says that the instance is known but its bytes were given up after delivery.
	ErrEvicted = errors.New("spool: evicted")
	// ErrDamaged says that the bytes on disk are not those that were committed.
	ErrDamaged = segment.ErrDamaged
	// ErrClosed says that the spool was closed.
	ErrClosed = errors.New("spool: closed")
	// ErrNotClaimed says that an outcome names a job that nobody has claimed.
	ErrNotClaimed = errors.New("spool: job is not claimed")
	// ErrBadDestination says that a destination's name is empty, too long or holds control characters.
	ErrBadDestination = errors.New("spool: bad destination name")
	// ErrTooManyJobs says that an instance was given more than MaxJobs jobs.
	ErrTooManyJobs = errors.New("spool: too many jobs for one instance")
	// ErrBadTransaction says that a request for commitment has no valid UID, no instances, or more than MaxTransaction.
	ErrBadTransaction = errors.New("spool: bad request for commitment")
	// ErrBadFilter says that a filter or cursor cannot be understood.
	ErrBadFilter = errors.New("spool: bad filter or cursor")
	// ErrChangesPruned says that the changes asked for are no longer kept; the reader has to start again from the
	// instances.
	ErrChangesPruned = errors.New("spool: changes no longer kept")
	// ErrLocked says that another process has the spool open.
	ErrLocked = segment.ErrLocked
)
