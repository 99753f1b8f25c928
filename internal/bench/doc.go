// Package bench measures a machine: how fast a gateway on it stores instances durably, delivers them and does both at once,
// beside what the machine's disk, network and processor give to programs that do nothing else, in the same run.
//
// Each case is one size of data sets and one number of associations. Its five measurements follow each other, so that a disk
// or a processor with a bad moment is as slow for the limit as for the gateway:
//
//	disk        as many writers append data sets to a file each, with an fdatasync after every one
//	network     as many associations store to a sink that only counts
//	ingest      the same to a gateway, which is durable before it answers
//	forward     that gateway, started again, delivers what it has stored to the sink
//	end to end  a new gateway stores and delivers at the same time
//
// The gateway is a process of its own, so that its processor time and memory are known. Sender and sink are dcmgate's own
// engine in this process. Everything is written below one temporary folder and removed; only the loopback interface is used.
package bench
