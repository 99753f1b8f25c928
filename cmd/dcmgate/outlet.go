package main

import (
	"fmt"
	"io"
	"os"
)

// outlet is the standard output of a command. It remembers the first error, so that what was redirected into a file on a full
// disk never passes for complete: not every command looks at each line it prints.
type outlet struct {
	out io.Writer
	err error
}

// Write implements io.Writer.
func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.out.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// close ends the output. Network file systems tell only then that there was no room.
func (o *outlet) close() error {
	err := o.err
	if f, ok := o.out.(*os.File); ok && err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("the output is not complete: %w", err)
	}
	return nil
}
