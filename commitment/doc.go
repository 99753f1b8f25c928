// Package commitment is the Storage Commitment Push Model (PS3.4 J.3): how a keeper of instances is asked whether it has
// them for good, and how it reports.
//
//	SCU                                                SCP
//	 │  N-ACTION-RQ: transaction UID, references  ──►   │
//	 │  ◄──  N-ACTION-RSP: the request was taken        │
//	 │                                                  │ looks the instances up
//	 │  ◄──  N-EVENT-REPORT-RQ: committed, failed       │ over the same association, or one that the SCP requests
//	 │  N-EVENT-REPORT-RSP  ──►                         │
//
// A [Request] and a [Result] are the two data sets. [Ask] and [Requests] are the two ends of N-ACTION, [Report] and
// [Reports] those of N-EVENT-REPORT. [Context] and [ReportingRole] are what an association needs: who requests it only to
// report has to propose the role of SCP (PS3.7 D.3.3.4).
//
// A [Keeper] is the SCP for what a spool holds. It makes a request durable before it answers, and reports until the peer
// has taken the result.
//
// Data sets come from the network: they are bounded, and errors about them hold no values.
package commitment
