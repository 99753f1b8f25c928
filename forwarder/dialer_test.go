package forwarder

import "testing"

func TestMaximumLengthBoundsBothWays(t *testing.T) {
	d := (&DIMSE{}).dialer(Destination{Name: "cloud", MaximumLength: 4096})
	if d.MaximumLength != 4096 || d.MaximumSentLength != 4096 {
		t.Errorf("receives %d bytes, sends %d", d.MaximumLength, d.MaximumSentLength)
	}
}
