// Package audit keeps the audit trail: who associated, stored, queried, moved, downloaded and changed what. Its messages
// have the form of the Audit Trail Message Format Profile (PS3.15 A.5) and are kept one a line, each a syslog message
// (RFC 5424) as the profiles for sending them want it (PS3.15 A.6, A.7).
//
// A [Log] never holds up what it tells of: [Log.Record] and [Log.Count] only queue. What does not fit into the queue,
// because the disk is full or too slow, is counted, and the log itself says how many messages are missing and of which
// time. Instances are told of by study and not one by one, as PS3.15 A.5.3.7 has it.
//
// The messages hold AE titles, addresses, access keys and UIDs, and no names of patients.
package audit
