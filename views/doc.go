// Package views publishes what the spool holds as rows of the standard's views, in databases that the cloud polls.
//
// # From an instance to a row
//
// A [Publisher] follows the spool's change sequence. It makes rows of the index's records with pure functions ([Settings])
// and puts them into one database ([Sink]). Each batch is one transaction that holds the rows, the numbers they get and
// the place in the spool's sequence, so that a crash, a lost connection or a server that was down for a day changes
// nothing: what was committed is known from the database itself, and the rest follows.
//
// # Numbers without gaps
//
// ChangeSeq of a view rises by one with each change of a row. A transaction takes its numbers under a lock of the state's
// record and keeps that lock until it is committed: the order of the numbers is that of the commits, and a reader that
// sees number n sees every change up to n. A poller that remembers the highest number it has read misses none.
//
// # One definition
//
// standard.json is the standard's own list of columns, as it was extracted from its text. Tables, views, upserts, and the
// page docs/views.md are generated from it for SQLite, PostgreSQL and MySQL or MariaDB.
package views
