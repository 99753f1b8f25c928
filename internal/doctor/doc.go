// Package doctor examines a gateway's machine and what it is connected to, step by step, and says in words what is wrong and
// what to do about it: name resolution, TCP, TLS and certificates, AE titles, presentation contexts, C-ECHO; databases and the
// cloud's HTTP interface; files, disk, clock and limits of the machine.
//
// It changes nothing. To application entities it sends nothing but A-ASSOCIATE-RQ and C-ECHO-RQ, each step in bounded time.
package doctor
