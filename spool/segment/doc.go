// Package segment keeps durable records in segment files written in lanes.
package segment
