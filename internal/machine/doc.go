// Package machine asks Linux about the machine: file systems, and what processes use.
package machine
