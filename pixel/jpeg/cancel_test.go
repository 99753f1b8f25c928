package jpeg

import (
	"context"
	"errors"
	"testing"
)

// countdown is a context that ends when it has been asked so many times.
type countdown struct {
	context.Context
	left *int
}

func (c countdown) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Decoding ends wherever the context does, at each row of it, and the decoder is good for another frame.
func TestDecodingEndsWithItsContext(t *testing.T) {
	for name, data := range sampleFrames(t) {
		var d Decoder
		f := formatOf(name)
		out := make([]byte, f.Size())
		asked := 1 << 20
		if err := d.Decode(countdown{t.Context(), &asked}, out, data, f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if asked = 1<<20 - asked; asked < 2 {
			t.Errorf("%s: the context was heeded %d times", name, asked)
		}
		for n := range asked {
			left := n
			if err := d.Decode(countdown{t.Context(), &left}, out, data, f); !errors.Is(err, context.Canceled) || left != -1 {
				t.Fatalf("%s, ended at row %d: %v, asked %d times more", name, n, err, -1-left)
			}
		}
		if err := d.Decode(t.Context(), out, data, f); err != nil {
			t.Errorf("%s again: %v", name, err)
		}
	}
}
