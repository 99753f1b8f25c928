// Package qr is the Query/Retrieve service class (PS3.4 annex C) over the spool's index: as SCP of C-FIND, C-MOVE and C-GET in
// the Patient Root, Study Root and Patient/Study Only models.
//
//	scp, err := qr.New(qr.Options{Index: spool, AETitle: "DCMGATE"})
//	service := scp.Find(qr.Caller{...}, request)   // a dimse.Service for one association
//
// A query goes through four steps, a file each:
//
//   - identifier.go reads the identifier, whose text is in a character set of its own, within bounds.
//   - query.go holds it to the rules of its model and level (model.go), and makes a matcher of every key that has a value
//     (match.go, datetime.go, personname.go). attributes.go is the table of what can be asked for.
//   - search.go walks the index from what narrows the query most, study, series, instance, and yields matches one by one.
//     At the level of images a match is an instance. Attributes that the index does not hold are read from the stored data
//     set (header.go, storedattributes.go), those of all instances of a study for the regions that it shows (regions.go).
//   - answer.go writes the identifier of a match, and service.go sends it.
//
// Nothing is gathered: memory does not depend on how much matches, and a caller that is slow to take answers slows the
// walk down. Attributes are those the spool has scanned when the instance came (dicom.DefaultTags). Those of a study or
// series are read from the instance of it that was received last.
//
// A retrieval is a query at the level of images that nobody is answered: retrieval.go holds its identifier to the rules and
// makes that query of it, retrieve.go answers the caller, suboperations.go walks the index, once to count and to plan presentation
// contexts and once to send, move.go and mover.go send over associations with a move destination, get.go over the one that the
// request came over, both by the pump of package transfer, and tally.go counts. holdings.go knows what the spool mostly holds. What is known of an
// instance ends with its sub-operation; of those that failed a bounded list of UIDs is kept.
//
// Where the caller may ask through, an Upstream has its say, too: upstream.go puts the query in its terms, beyond.go merges what
// it answers behind the matches of the index, relay.go holds that against the query, and gather.go has what a retrieval lacks
// brought to the spool, from where it is sent in rounds like anything else. Of what was answered or sent a hash each is kept
// then, and of what is to come its UID, within bounds.
//
// Identifiers are patient data: log lines name keys and counts, never values.
package qr
